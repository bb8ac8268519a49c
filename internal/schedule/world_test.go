package schedule

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/backends/retry"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/log"
)

// world is a repository and the clients that work on it at once.
type world struct {
	name    string
	base    func(*past)
	clients []member
	opening bool // whether clients open the repository within the schedule
	wrong   bool // whether clocks are right, a year ahead or a year behind from the beginning

	// wrap breaks a rule of the store, or of a client.
	wrap func(s *scheduler, c *client, store backends.Store) backends.Store
	once sync.Once
	past *past
}

// member is a client of a world.
type member struct {
	name   string
	script func(*run, *client) error
}

// past is a repository before the schedule begins, and what is known of it.
type past struct {
	t     testing.TB
	r     *repo.Repository
	store *mem.Store
	snaps map[string]object.SessionID // by label
	facts
}

// facts are what must be true at the end.
type facts struct {
	mu        sync.Mutex
	content   map[object.SessionID][][]byte // what a session means to commit
	promised  map[object.SessionID]string   // snapshots, by who was told that they are committed, or live again
	forgotten map[object.SessionID]bool     // those that somebody wanted to forget
}

func (f *facts) means(id object.SessionID, chunks [][]byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.content[id] = chunks
}

func (f *facts) promise(who string, ids ...object.SessionID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range ids {
		f.promised[id] = who
	}
}

func (f *facts) forgets(ids ...object.SessionID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range ids {
		f.forgotten[id] = true
	}
}

func (f *facts) clone() facts {
	return facts{content: maps.Clone(f.content), promised: maps.Clone(f.promised), forgotten: maps.Clone(f.forgotten)}
}

// chunk returns bytes that are the same for the same number. They are small, so that a session has one data
// pack: where blobs lie is not random then. Those from grown on are generations of something that is large enough to
// be stored as a delta of the one before.
func chunk(n int) []byte {
	if n < grown {
		return testrepo.Random(uint64(n), 900+n)
	}
	growing.Lock()
	defer growing.Unlock()
	for len(generations) <= n-grown {
		if len(generations) == 0 {
			generations = append(generations, testrepo.Random(grown, 66<<10))
			continue
		}
		generations = append(generations, testrepo.Edited(uint64(len(generations)), generations[len(generations)-1]))
	}
	return generations[n-grown]
}

const grown = 1000

var (
	growing     sync.Mutex // guards generations
	generations [][]byte
)

// manifest saves a file of the chunks.
func manifest(r *repo.Repository, s *repo.Session, ns []int) (*repo.Manifest, error) {
	earlier := make([][]byte, len(ns))
	for i, n := range ns {
		if n > grown {
			earlier[i] = chunk(n - 1)
		}
	}
	return testrepo.TryManifestLike(r, s, chunks(ns...), earlier)
}

func chunks(ns ...int) (out [][]byte) {
	for _, n := range ns {
		out = append(out, chunk(n))
	}
	return out
}

// sessionOptions make sessions that do one thing at a time, in small buffers.
var sessionOptions = repo.SessionOptions{Workers: 1, Packing: repo.Packing{Size: repo.MinPackSize}}

func (p *past) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// commit adds a snapshot under a label.
func (p *past) commit(label string, ns ...int) {
	p.t.Helper()
	s, err := p.r.NewSession(p.t.Context(), sessionOptions)
	p.must(err)
	m, err := manifest(p.r, s, ns)
	p.must(err)
	snap, err := s.Commit(repo.CommitOptions{Manifest: m})
	p.must(err)
	p.snaps[label] = snap.ID
	p.means(snap.ID, chunks(ns...))
	p.promise("the past", snap.ID)
}

func (p *past) forget(label string) {
	p.t.Helper()
	_, err := p.r.Forget(p.t.Context(), []object.SessionID{p.snaps[label]})
	p.must(err)
	p.forgets(p.snaps[label])
}

// orphan leaves the packs of a session that died before its commit.
func (p *past) orphan(ns ...int) {
	p.t.Helper()
	s, err := p.r.NewSession(p.t.Context(), sessionOptions)
	p.must(err)
	_, err = manifest(p.r, s, ns)
	p.must(err)
	p.must(s.Flush())
}

// begin makes the past of a world, once.
func (w *world) begin(t *testing.T) {
	w.once.Do(func() {
		synctest.Test(t, func(t *testing.T) {
			w.past = &past{
				t: t, store: mem.NewWithClock(storeClock{}), snaps: map[string]object.SessionID{},
				facts: facts{content: map[object.SessionID][][]byte{}, promised: map[object.SessionID]string{}, forgotten: map[object.SessionID]bool{}},
			}
			r, err := repo.Init(t.Context(), w.past.store, repo.InitOptions{Credential: testrepo.Credential})
			w.past.must(err)
			w.past.r = r
			if w.base != nil {
				w.base(w.past)
			}
			w.past.must(r.Close())
		})
	})
}

// run is one schedule of a world.
type run struct {
	*scheduler
	w     *world
	store *mem.Store
	facts facts
	snaps map[string]object.SessionID
}

// outcome is what came of a schedule.
type outcome struct {
	err     error
	steps   int
	trace   []string
	covered bool // ended early, since other schedules cover it
	died    int  // clients
	unclear int  // answers that were lost, and what came late or twice
	odd     int  // sleeps, and jumps of clocks
}

// run runs one schedule.
func (w *world) run(t *testing.T, rng *rand.Rand, weak bool, p plan) (out outcome) {
	w.begin(t)
	synctest.Test(t, func(t *testing.T) {
		// What is started with this context ends with the schedule, not with the test.
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		r := &run{w: w, store: w.past.store.Clone(), facts: w.past.facts.clone(), snaps: w.past.snaps}
		r.scheduler = &scheduler{ctx: ctx, rng: rng, plan: p, weak: weak, numbers: map[string]int{}}
		for _, info := range r.list(ctx) {
			r.plain(access{name: info})
		}
		if w.wrong {
			storeAhead.Store(int64(rng.IntN(3)-1) * int64(year))
		}
		for i, m := range w.clients {
			c := &client{id: i, name: m.name, s: r.scheduler}
			if w.wrong {
				c.ahead = time.Duration(rng.IntN(3)-1) * year
			}
			c.ctx, c.kill = context.WithCancelCause(ctx)
			store := backends.Store(r.store)
			if w.wrap != nil {
				store = w.wrap(r.scheduler, c, store)
			}
			c.gate = &gate{inner: store, client: c}
			c.script = func(c *client) error {
				err := c.work(r, m.script)
				for errors.Is(err, log.ErrRotated) { // whoever was opened before has to open it again
					if err = c.close(); err == nil {
						err = c.work(r, m.script)
					}
				}
				return errors.Join(err, c.close())
			}
			if !w.opening {
				c.free = true
				if err := c.open(); err != nil {
					t.Fatal(err)
				}
				c.free = false
			}
			r.clients = append(r.clients, c)
		}
		r.scheduler.run()
		running.Store(nil)
		storeAhead.Store(0)
		if s, ok := p.(*search); ok && s.ended() {
			out.covered = true
			return
		}
		out = r.verify(ctx)
	})
	return out
}

func (r *run) list(ctx context.Context) (names []string) {
	for info := range r.store.List(ctx, "", "") {
		names = append(names, info.Name)
	}
	return names
}

// open opens the repository, unless it is open.
func (c *client) open() (err error) {
	if c.repo == nil {
		c.repo, err = repo.Open(c.ctx, c.store(), repo.OpenOptions{Credential: testrepo.Credential})
	}
	return err
}

func (c *client) work(r *run, script func(*run, *client) error) error {
	if err := c.open(); err != nil {
		return err
	}
	return script(r, c)
}

func (c *client) close() error {
	if c.repo == nil {
		return nil
	}
	r := c.repo
	c.repo = nil
	return r.Close()
}

// store is the store as location.Open makes it, but that nobody gives up because he slept for too long.
func (c *client) store() backends.Store {
	return retry.New(c.gate, retry.Options{Total: 10 * year, Unproven: 10 * year})
}

// sortedIDs returns the keys of a map in order.
func sortedIDs[V any](m map[object.SessionID]V) []object.SessionID {
	return slices.SortedFunc(maps.Keys(m), object.SessionID.Compare)
}
