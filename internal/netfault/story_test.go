package netfault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/fault"
	"github.com/kura-backup/kura/backends/retry"
	"github.com/kura-backup/kura/backends/s3"
	"github.com/kura-backup/kura/backup"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/s3proxy"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/treecmp"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/check"
	"github.com/kura-backup/kura/repo/gc"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/restore"
)

// tries is how often the client sends a request at most.
const tries = 30

// stubborn is a client as stubborn as the real one, in less time. An impatient one does not wait for what stalls, but on
// a busy machine nor for what is only slow.
func stubborn(impatient bool) retry.Options {
	o := retry.Options{Tries: tries, Pause: time.Millisecond, MaxPause: 10 * time.Millisecond}
	if impatient {
		o.Idle = patience
	}
	return o
}

// story is a repository and what is known of it.
type story struct {
	t      *testing.T
	rng    *rand.Rand
	proxy  *s3proxy.Proxy
	retry  retry.Options
	place  string // bucket and prefix
	dir    string
	source string

	committed map[object.SessionID]string // the copy of the source, for each snapshot that must be there
	forgotten map[object.SessionID]bool   // or maybe
	unknown   int                         // commands whose outcome is unknown
	failed    []error
	calls     int // of the store
}

func newStory(t *testing.T, proxy *s3proxy.Proxy, k kind, bucket, dir string, seed uint64) *story {
	s := &story{
		t: t, rng: rand.New(rand.NewPCG(seed, 0)), proxy: proxy, retry: stubborn(k.stalls), place: bucket + "/some/prefix", dir: dir,
		committed: map[object.SessionID]string{}, forgotten: map[object.SessionID]bool{},
	}
	s.source = s.newDir()
	return s
}

func (s *story) newDir() string {
	dir, err := os.MkdirTemp(s.dir, "")
	if err != nil {
		s.t.Fatal(err)
	}
	return dir
}

// write gives some files new content.
func (s *story) write() {
	for range 6 {
		path := filepath.Join(s.source, fmt.Sprintf("d%d", s.rng.IntN(3)), fmt.Sprintf("f%d", s.rng.IntN(20)))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			s.t.Fatal(err)
		}
		if err := os.WriteFile(path, testrepo.Random(s.rng.Uint64(), 1+s.rng.IntN(40_000)), 0o644); err != nil {
			s.t.Fatal(err)
		}
	}
}

// open opens the store as a process does.
func (s *story) open(endpoint string) (backends.Store, error) {
	loc, err := s3.ParseLocation(endpoint + "/" + s.place)
	if err != nil {
		return nil, err
	}
	inner, err := s3.Open(s.t.Context(), loc, s3.Options{})
	if err != nil {
		return nil, err
	}
	return retry.New(inner, s.retry), nil
}

// command is a run of kura, with a repository that is open.
func (s *story) command(name string, cache string, do func(context.Context, *repo.Repository) error) error {
	return s.process(name, func(store backends.Store) error {
		r, err := repo.Open(s.t.Context(), store, repo.OpenOptions{Credential: testrepo.Credential, CacheDir: cache})
		if err != nil {
			return err
		}
		return errors.Join(do(s.t.Context(), r), r.Close())
	})
}

// process is a run of kura, of which it is noted what became of it.
func (s *story) process(name string, do func(backends.Store) error) error {
	store, err := s.open(s.proxy.URL)
	if err != nil {
		s.t.Fatal(err)
	}
	counted := fault.New(store)
	err = errors.Join(do(counted), store.Close())
	s.calls += len(counted.Calls())
	if errors.Is(err, log.ErrOutcomeUnknown) {
		s.unknown++
	}
	if err != nil {
		s.failed = append(s.failed, fmt.Errorf("%s: %w", name, err))
	}
	return err
}

// tell lives through the whole story.
func (s *story) tell() {
	cache := s.newDir()
	s.write()
	for range 5 { // as its user would
		if err := s.process("init", func(store backends.Store) error {
			r, err := repo.Init(s.t.Context(), store, repo.InitOptions{Credential: testrepo.Credential, CacheDir: cache})
			if errors.Is(err, repo.ErrExists) {
				return nil
			}
			if err != nil {
				return err
			}
			return r.Close()
		}); err == nil {
			break
		}
	}
	for range 3 {
		s.backup(cache)
	}
	s.forget(cache)
	s.prune(cache)
	s.backup(s.newDir()) // as another host
	s.forget(cache)
	s.prune(cache)
	_ = s.command("check", s.newDir(), s.check)
	for id, want := range s.committed {
		if !s.forgotten[id] {
			_ = s.command("restore", cache, func(ctx context.Context, r *repo.Repository) error { return s.restore(ctx, r, id, want) })
		}
	}
}

func (s *story) backup(cache string) {
	s.write()
	_ = s.command("backup", cache, func(ctx context.Context, r *repo.Repository) error {
		o := backup.Options{Paths: []string{s.source}, Host: "h"}
		o.Packing.Size = repo.MinPackSize
		res, err := backup.Run(ctx, r, o, backup.Events{})
		if err != nil {
			return err
		}
		dir := filepath.Join(s.newDir(), "copy")
		if err := os.CopyFS(dir, os.DirFS(s.source)); err != nil {
			s.t.Fatal(err)
		}
		s.committed[res.Snapshot.ID] = dir
		return nil
	})
}

// forget forgets one of the snapshots.
func (s *story) forget(cache string) {
	for id := range s.committed {
		if !s.forgotten[id] {
			s.forgotten[id] = true
			_ = s.command("forget", cache, func(ctx context.Context, r *repo.Repository) error {
				_, err := r.Forget(ctx, []object.SessionID{id})
				return err
			})
			return
		}
	}
}

func (s *story) prune(cache string) {
	_ = s.command("prune", cache, func(ctx context.Context, r *repo.Repository) error {
		_, err := gc.Run(ctx, r, gc.Options{Idle: time.Nanosecond, Packing: repo.Packing{Size: repo.MinPackSize}}, gc.Events{})
		return err
	})
}

// check is kura check --read-data.
func (s *story) check(ctx context.Context, r *repo.Repository) error {
	rep, err := check.Run(ctx, r, check.Options{Read: check.Choice{All: true}}, check.Events{})
	if err != nil {
		return err
	}
	for _, p := range rep.Problems {
		if !p.Hint {
			err = errors.Join(err, fmt.Errorf("check: %w", &repo.DamageError{Object: p.Object, Err: p.Err}))
		}
	}
	return err
}

// restore restores a snapshot and compares it with what was backed up.
func (s *story) restore(ctx context.Context, r *repo.Repository, id object.SessionID, want string) error {
	entry := r.State().Snapshots[id]
	if entry == nil || !entry.Live() {
		return fmt.Errorf("snapshot %s was lost", id.Short())
	}
	snap, err := r.OpenSnapshot(entry)
	if err != nil {
		return err
	}
	target := s.newDir()
	var failed error
	_, err = restore.Run(ctx, r, snap, restore.Options{Target: target, Path: s.source}, restore.Events{
		Error: func(path string, err error) { failed = errors.Join(failed, fmt.Errorf("%s: %w", path, err)) },
	})
	if err = errors.Join(err, failed); err != nil {
		return err
	}
	diffs, err := treecmp.Compare(want, target, treecmp.Options{Below: true, Skip: []treecmp.Kind{treecmp.ModTime}})
	if len(diffs) > 0 {
		s.t.Errorf("a restore of %s that succeeded differs: %v", id.Short(), diffs)
	}
	return err
}

// verify looks at the outcome without the proxy.
func (s *story) verify(endpoint string, k kind, strict bool) {
	t := s.t
	for _, err := range s.failed {
		if strict {
			t.Errorf("failed: %v", err)
		}
		if errors.As(err, new(*repo.DamageError)) && !k.altered {
			t.Errorf("the network was taken for damage: %v", err)
		}
	}
	store, err := s.open(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	r, err := repo.Open(t.Context(), store, repo.OpenOptions{Credential: testrepo.Credential, CacheDir: s.newDir()})
	if errors.Is(err, repo.ErrNoRepository) && len(s.failed) > 0 && len(s.committed) == 0 {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := s.check(t.Context(), r); err != nil {
		t.Error(err)
	}
	for id, want := range s.committed {
		if s.forgotten[id] {
			continue
		}
		if err := s.restore(t.Context(), r, id, want); err != nil {
			t.Error(err)
		}
	}
	for id, snap := range r.State().Snapshots {
		if _, ok := s.committed[id]; !ok && snap.Live() && s.unknown == 0 {
			t.Errorf("a backup that had failed has made snapshot %s", id.Short())
		}
	}
}
