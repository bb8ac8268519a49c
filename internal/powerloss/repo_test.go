package powerloss_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/durable/lossy"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/gc"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/seal"
)

// history is a run of a repository: what was committed and forgotten, and when.
type history struct {
	*run
	t      testing.TB
	temp   string
	pool   [][]byte // chunks, so that snapshots share some
	keys   *seal.Keyring
	inited int // when Init had returned
	caches []cacheCopy
	folds  map[string]*folded

	mu    sync.Mutex
	snaps map[object.SessionID]*snapshot
}

type snapshot struct {
	content             []byte
	committed           int // when Commit had returned
	forgetting, forgone int // when Forget was called, and had returned
}

// cacheCopy is a client's cache as it was at some moment.
type cacheCopy struct {
	at   int
	dir  string
	seen uint64 // the last log entry that it remembers
	by   *client
}

func newHistory(t testing.TB, rng *rand.Rand) *history {
	h := &history{run: newRun(rng), t: t, temp: testsys.MemoryDir(t), inited: never, folds: map[string]*folded{}, snaps: map[object.SessionID]*snapshot{}}
	for range 8 {
		h.pool = append(h.pool, h.bytes())
	}
	return h
}

// tempDir returns a new folder below that of this history.
func (h *history) tempDir() string {
	dir, err := os.MkdirTemp(h.temp, "")
	if err != nil {
		h.t.Fatal(err)
	}
	return dir
}

// close removes the folders: there are many of them in a long run.
func (h *history) close() {
	if err := os.RemoveAll(h.temp); err != nil {
		h.t.Error(err)
	}
}

// process is a client at work.
type process struct {
	*repo.Repository
	client *client
	mount  *lossy.Mount
	cache  string
}

// keepCache copies a client's cache.
func (h *history) keepCache(p *process) error {
	c := cacheCopy{at: h.disk.Ops(), dir: h.tempDir(), by: p.client}
	if err := os.CopyFS(c.dir, os.DirFS(p.cache)); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(c.dir, "*", "seen"))
	if err != nil {
		return err
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if _, err := fmt.Sscanf(string(b), "%d", &c.seen); err != nil {
			return err
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.caches = append(h.caches, c)
	return nil
}

// start opens the repository as another process, with a cache of its own.
func (h *history) start(ctx context.Context) (*process, error) {
	c, m := h.open()
	p := &process{client: c, mount: m, cache: h.tempDir()}
	var err error
	if p.Repository, err = repo.Open(ctx, c, repo.OpenOptions{Credential: testrepo.Credential, CacheDir: p.cache}); err != nil {
		return nil, err
	}
	return p, h.keepCache(p)
}

// draw picks the chunks of a backup.
func (h *history) draw() [][]byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	var chunks [][]byte
	for range 2 + h.rng.IntN(4) {
		chunks = append(chunks, h.pool[h.rng.IntN(len(h.pool))])
	}
	return append(chunks, h.bytes())
}

// backup makes a snapshot of a few old chunks and a new one.
func (h *history) backup(ctx context.Context, r *process, chunks [][]byte) error {
	for {
		s, err := r.NewSession(ctx, repo.SessionOptions{Workers: 2})
		if err != nil {
			return err
		}
		h.mu.Lock()
		snap := &snapshot{content: bytes.Join(chunks, nil), committed: never, forgetting: never, forgone: never}
		h.snaps[s.ID()] = snap
		h.mu.Unlock()
		m, err := testrepo.TryManifest(s, chunks...)
		if err != nil {
			s.Abort()
			return err
		}
		_, err = s.Commit(repo.CommitOptions{Manifest: m})
		if errors.Is(err, repo.ErrStale) {
			if err := r.Refresh(ctx); err != nil {
				return err
			}
			continue
		}
		if err == nil {
			at := h.led.ack()
			h.mu.Lock()
			snap.committed = at
			h.mu.Unlock()
		}
		return err
	}
}

// forget forgets the oldest snapshot.
func (h *history) forget(ctx context.Context, r *process) error {
	snaps, err := r.Snapshots(ctx)
	if err != nil || len(snaps) == 0 {
		return err
	}
	oldest := snaps[0]
	for _, s := range snaps {
		if s.Entry.N < oldest.Entry.N {
			oldest = s
		}
	}
	h.mu.Lock()
	snap := h.snaps[oldest.ID]
	h.mu.Unlock()
	snap.forgetting = min(snap.forgetting, h.disk.Ops())
	if _, err := r.Forget(ctx, []object.SessionID{oldest.ID}); err != nil {
		return err
	}
	snap.forgone = h.led.ack()
	return nil
}

func prune(ctx context.Context, r *process) error {
	_, err := gc.Run(ctx, r.Repository, gc.Options{MaxUnused: -1, Idle: time.Nanosecond}, gc.Events{})
	if errors.Is(err, gc.ErrRevoked) {
		return nil
	}
	return err
}

// folded is what a log says that consists of certain objects.
type folded struct {
	state *log.State
	err   error
	needs []string // packs and index segments
}

// verify looks at the store on a disk after a power failure, and returns the last log
// entry.
func (h *history) verify(ctx context.Context, at int, d *lossy.Disk) (last uint64, err error) {
	store := h.led.reopen(d, h.dir)
	there, err := h.led.verify(ctx, at, store)
	if err != nil {
		return 0, err
	}
	f := h.fold(ctx, store, there)
	if errors.Is(f.err, log.ErrNoLog) && h.inited > at {
		return 0, nil
	}
	if f.err != nil {
		return 0, f.err
	}
	for _, name := range f.needs {
		if !there[name] {
			return 0, fmt.Errorf("%s is missing, and the log names it up to entry %d", name, f.state.N)
		}
	}
	for _, c := range h.caches {
		if c.at > at || c.seen <= f.state.N {
			continue
		}
		return 0, fmt.Errorf("a client remembers entry %d since operation %d, now the last is %d: a false alarm", c.seen, c.at, f.state.N)
	}
	for id, s := range h.snaps {
		e := f.state.Snapshots[id]
		if s.committed <= at && s.forgetting >= at && (e == nil || !e.Live()) {
			return 0, fmt.Errorf("snapshot %s was committed at operation %d and is not there", id.Short(), s.committed)
		}
		if s.forgone <= at && e != nil && e.Live() {
			return 0, fmt.Errorf("snapshot %s was forgotten at operation %d and is there again", id.Short(), s.forgone)
		}
	}
	return f.state.N, nil
}

// fold folds the log in store. The bytes were compared by now: the names say which log
// it is.
func (h *history) fold(ctx context.Context, store backends.Store, there map[string]bool) *folded {
	var names []string
	for name := range there {
		if strings.HasPrefix(name, object.LogPrefix) || strings.HasPrefix(name, object.CheckpointsPrefix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	key := strings.Join(names, " ")
	f := h.folds[key]
	if f == nil {
		f = h.foldNow(ctx, store)
		h.folds[key] = f
	}
	return f
}

func (h *history) foldNow(ctx context.Context, store backends.Store) *folded {
	l, err := log.Open(ctx, store, h.keys, log.Mark{})
	if err != nil {
		return &folded{err: err}
	}
	f := &folded{state: l.State()}
	for ref := range f.state.Packs {
		f.needs = append(f.needs, ref.Name())
	}
	for ref := range f.state.Index {
		f.needs = append(f.needs, ref.Name())
	}
	return f
}

// fullEvery is how many states there are for each that is checked in full.
const fullEvery = 100

func TestRepository_PowerFailsAnywhere_NothingCommittedIsLost(t *testing.T) {
	seed := seeded(t)
	want := *statesFlag / 3
	if testing.Short() {
		want = min(want, 1000)
	}
	for _, s := range stories {
		n := tally{}
		for round := uint64(0); n.states < want/len(stories); round++ {
			h := newHistory(t, rand.New(rand.NewPCG(seed+round, hashOf(s.name))))
			if err := s.run(t.Context(), h); err != nil {
				t.Fatalf("%s, round %d: %v", s.name, round, err)
			}
			err := h.search(20, &n, func(at int, d *lossy.Disk) error {
				last, err := h.verify(t.Context(), at, d)
				if err != nil || n.states%fullEvery != 0 {
					return err
				}
				n.full++
				return h.fullCheck(t.Context(), at, last, d)
			})
			h.close()
			if err != nil {
				t.Fatalf("%s, round %d: %v", s.name, round, err)
			}
		}
		n.log(t, s.name, seed)
	}
}
