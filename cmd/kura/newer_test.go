package main

import (
	"context"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/zst"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/seal"
)

// newer NAME commits a snapshot to the repository, a folder, with a manifest as a later version may write it: it has a key that must be
// understood. A variable gets its id.
func cmdNewer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: newer NAME")
	}
	ctx := context.Background()
	r, done := scriptRepository(ctx, ts)
	defer done()
	secret, err := r.Keys().NewSecret(seal.Meta)
	ts.Check(err)
	origin, key, err := secret.NewOrigin()
	ts.Check(err)
	e := &log.Entry{Kind: log.KindSnapshot, Session: object.NewSessionID(r.State().N), Clock: time.Now().UnixNano()}
	e.Manifest = log.SealedManifest{Origin: *origin, Ciphertext: key.Seal(nil, 0, zst.Encode(nil, []byte{0xa1, 0x20, 0x00}, zst.Default))} // {-1: 0}
	_, err = r.Commit(ctx, func(context.Context, *log.State) (*log.Entry, error) { return e, nil })
	ts.Check(err)
	ts.Setenv(args[0], e.Session.Short())
}
