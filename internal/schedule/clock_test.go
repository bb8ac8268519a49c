package schedule

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/gc"
)

// clocks shows each client its own time.
type clocks struct{}

func (clocks) Now() time.Time {
	now := time.Now()
	if c := running.Load(); c != nil {
		now = now.Add(c.ahead)
	}
	return now
}

// storeClock is the store's.
type storeClock struct{}

func (storeClock) Now() time.Time { return time.Now().Add(time.Duration(storeAhead.Load())) }

// storeAhead is by how much it is wrong.
var storeAhead atomic.Int64

// usual is how long kura prune waits before it takes a session for dead.
const usual = 0

// sleepy worlds are those in which people's time matters. Collectors believe the store's clock.
func sleepy() []*world {
	two := func(p *past) { p.commit("old", 1, 2); p.commit("kept", 2, 3); p.forget("old") }
	return []*world{
		{name: "a writer and a collector", base: two, clients: []member{writer("a", 1, 4), collector("gc", usual)}},
		{name: "two writers and two collectors", base: two, clients: []member{writer("a", 1, 4), writer("b", 4, 5), collector("gc1", usual), collector("gc2", usual)}},
		{name: "a long run and a collector", base: two, clients: []member{longWriter("a", 1, 1, 4), collector("gc1", usual), collector("gc2", usual)}},
		{
			name: "an orphan, two writers and a collector", base: func(p *past) { p.orphan(1, 2) },
			clients: []member{writer("a", 1, 2), writer("b", 2, 3), collector("gc", usual)},
		},
		{
			name: "forgetting and unforgetting beside collectors that hold", base: two,
			clients: []member{unforgetter("u", "old"), forgetter("f", "kept"), reader("r", "kept"), holder("gc1"), holder("gc2")},
		},
	}
}

// holder collects with a time to hold.
func holder(name string) member {
	return member{name, func(_ *run, c *client) error {
		_, err := gc.Run(c.ctx, c.repo, gc.Options{Hold: 7 * 24 * time.Hour, MaxUnused: -1, Packing: sessionOptions.Packing}, gc.Events{})
		if errors.Is(err, gc.ErrRevoked) {
			return nil
		}
		return err
	}}
}

// TestSleepersAndWrongClocks_LoseNothing lets clients sleep for up to ten days before an operation, or between it
// and its answer; and clocks, each client's and the store's, are wrong by a year from the beginning, or jump by up to a
// year in either direction.
func TestSleepersAndWrongClocks_LoseNothing(t *testing.T) {
	from, odd := seed(t), 0
	worlds := sleepy()
	for _, w := range worlds {
		w.wrong = true
	}
	for n := range *runsFlag / 3 {
		w := worlds[n%len(worlds)]
		out := random(t, w, from, n, 8, oddities)
		if out.err != nil {
			t.Fatalf("schedule %d of seed %d: %s", n, from, report(w, out))
		}
		odd += out.odd
	}
	t.Logf("%d schedules, %d sleeps and jumps of clocks", *runsFlag/3, odd)
	if *runsFlag >= 100 && odd == 0 {
		t.Error("nobody slept, and no clock jumped: that shows nothing")
	}
}

// sleeper is a plan in which one client sleeps once.
type sleeper struct {
	client string
	kind   kind
	prefix string
	how    fault
	done   bool
}

// next lets the sleeper come as far as he comes, and then the others do all that they want.
func (p *sleeper) next(cs []choice) (int, fault) {
	for i, c := range cs {
		if c.op == nil || c.op.client.name != p.client {
			continue
		}
		if !p.done && c.kind == p.kind && strings.HasPrefix(c.name, p.prefix) {
			p.done = true
			return i, p.how
		}
		return i, none
	}
	return 0, none
}

// TestSleeper_AtEachPlace_CostsWorkOnly lets a writer, and a collector, sleep for days at each kind of operation, while
// others take it for dead and collect what it has stored.
func TestSleeper_AtEachPlace_CostsWorkOnly(t *testing.T) {
	base := func(p *past) { p.commit("old", 1, 2); p.commit("kept", 2, 3); p.forget("old") }
	slept := 0
	for _, who := range []string{"a", "gc1"} {
		w := &world{name: who + " sleeps", base: base, clients: []member{writer("a", 1, 4), collector("gc1", usual), collector("gc2", nobody), writer("b", 5)}}
		for _, at := range []struct {
			kind   kind
			prefix string
		}{
			{put, "sessions/"},
			{put, "data/"},
			{put, "tree/"},
			{put, "index/"},
			{put, "log/"},
			{list, "log/"},
			{list, "sessions/"},
			{list, "data/"},
			{get, "index/"},
			{get, "log/"},
			{del, "data/"},
			{del, "index/"},
		} {
			for _, how := range []fault{sleepsBefore, sleepsAfter} {
				p := &sleeper{client: who, kind: at.kind, prefix: at.prefix, how: how}
				out := w.run(t, newRNG(1, 0), false, p)
				if p.done {
					slept++
				}
				if out.err != nil {
					t.Errorf("%v %v %s: %s", how, at.kind, at.prefix, report(w, out))
				}
			}
		}
	}
	t.Logf("slept at %d places", slept)
	if slept < 30 {
		t.Error("hardly anybody slept: the test shows little")
	}
}

// TestHold_WrongClocks_KeepsAsDocumented forgets a snapshot and prunes with --hold 7d after six and after eight days.
func TestHold_WrongClocks_KeepsAsDocumented(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		name                  string
		client, store         time.Duration // by how much clocks are ahead all the time
		clientJumps, jumps    time.Duration // after forgetting
		heldAtSix, heldAtNine bool
	}{
		{"right clocks", 0, 0, 0, 0, true, false},
		{"client a year ahead", year, 0, 0, 0, true, false},
		{"client a year behind", -year, 0, 0, 0, true, false},
		{"client jumps ahead", 0, 0, year, 0, true, false},
		{"client jumps back", 0, 0, -year, 0, true, false},
		{"store a year ahead", 0, year, 0, 0, true, false},
		{"store a year behind", 0, -year, 0, 0, true, false},
		{"store jumps back: held for longer", 0, 0, 0, -year, true, true},
		{"store jumps ahead: held no longer", 0, 0, 0, year, false, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			defer storeAhead.Store(0)
			defer running.Store(nil)
			me := &client{ahead: c.client}
			running.Store(me)
			storeAhead.Store(int64(c.store))
			store := mem.NewWithClock(storeClock{})
			r := testrepo.Init(t, store)
			snap := testrepo.CommitFile(t, r, chunk(1))
			if _, err := r.Forget(t.Context(), []object.SessionID{snap.ID}); err != nil {
				t.Fatal(err)
			}
			me.ahead += c.clientJumps
			storeAhead.Add(int64(c.jumps))
			time.Sleep(6 * day)
			if got := held(t, r, snap); got != c.heldAtSix {
				t.Errorf("%s: after six days: held: %v", c.name, got)
			}
			time.Sleep(3 * day)
			if got := held(t, r, snap); got != c.heldAtNine {
				t.Errorf("%s: after nine days: held: %v", c.name, got)
			}
		})
	}
}

// held prunes and reports whether the snapshot could still be brought back.
func held(t *testing.T, r *repo.Repository, snap *repo.Snapshot) bool {
	t.Helper()
	if _, err := gc.Run(context.Background(), r, gc.Options{Hold: 7 * 24 * time.Hour}, gc.Events{}); err != nil {
		t.Fatal(err)
	}
	return r.State().Snapshots[snap.ID] != nil
}
