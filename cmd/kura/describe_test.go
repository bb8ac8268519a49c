package main

import (
	"context"
	"os"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/kura-backup/kura/backends/local"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/seal"
)

// describe SOURCE PATH DETAILS commits a snapshot of a path to the repository, a folder, as if a source had said these details of it. It has the file /f.
func cmdDescribe(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: describe SOURCE PATH DETAILS")
	}
	ctx := context.Background()
	r, done := scriptRepository(ctx, ts)
	defer done()
	s, err := r.NewSession(ctx, repo.SessionOptions{})
	ts.Check(err)
	m, err := testrepo.TryManifest(s, []byte("content"))
	ts.Check(err)
	m.Time, m.Paths, m.Details, m.Source = time.Now().UnixNano(), [][]byte{[]byte(args[1])}, args[2], args[0]
	m.Host, err = os.Hostname()
	ts.Check(err)
	_, err = s.Commit(repo.CommitOptions{Manifest: m})
	ts.Check(err)
}

// scriptRepository opens the repository of a script, which is a folder.
func scriptRepository(ctx context.Context, ts *testscript.TestScript) (r *repo.Repository, done func()) {
	store, err := local.Open(ts.Getenv("KURA_REPOSITORY"))
	ts.Check(err)
	r, err = repo.Open(ctx, store, repo.OpenOptions{
		Credential: seal.Passphrase([]byte(ts.Getenv("KURA_PASSWORD"))), CacheDir: ts.MkAbs("described"),
	})
	if err != nil {
		store.Close()
	}
	ts.Check(err)
	return r, func() {
		r.Close()
		store.Close()
	}
}
