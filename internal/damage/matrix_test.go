package damage

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrand"
)

var (
	cases = flag.Int("damage.cases", 600, "how many cases of damage to try")
	seed  = flag.Uint64("damage.seed", 0, "repeats the choices of a run; 0 draws one. Keys, and so all bytes, are new each time")
	trace = flag.Bool("damage.trace", false, "print every case before it is tried")
)

func theSeed(t testing.TB) uint64 {
	t.Helper()
	if *seed != 0 {
		return *seed
	}
	return testrand.Seed(t)
}

// maxHeap is how much memory the whole run may ever take: no damage makes a reader allocate without bound.
const maxHeap = 1 << 30

func TestMatrix_AnyDamage_IsNoticedAndRestoresNoWrongByte(t *testing.T) {
	s := theSeed(t)
	t.Logf("-damage.seed=%d -damage.cases=%d", s, *cases)
	w := newWorld(t, s)
	tab := newTable(w.rows)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), 4) { // more of them would need more than maxHeap
		wg.Go(func() {
			for n := int(next.Add(1)) - 1; n < *cases && !t.Failed(); n = int(next.Add(1)) - 1 {
				if c := w.newCase(s, n); c != nil {
					tab.add(c, c.try(t.Context()))
				}
			}
		})
	}
	wg.Wait()
	tab.verify(t)
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	if ms.HeapSys > maxHeap {
		t.Errorf("the heap grew to %d MiB", ms.HeapSys>>20)
	}
	t.Logf("%d objects, heap at most %d MiB\n%s", len(w.all), ms.HeapSys>>20, tab)
}

// one is one case of damage.
type one struct {
	w    *world
	n    int
	rng  *rand.Rand
	it   item
	kind kind

	changed       map[string][]byte // nil: removed
	partner       string            // the object whose bytes it has now
	noCheckpoints bool              // all checkpoints are lost as well, so that the log counts
	oldCache      bool              // of a client that knows the repository
	maintainer    bool              // repairs with a key that can not read files
	store         *mem.Store
}

func (c *one) String() string {
	s := fmt.Sprintf("case %d: %s: %s (%s)", c.n, c.it.name, c.kind.name, c.it.row)
	if c.partner != "" {
		s += ", " + c.partner
	}
	if c.noCheckpoints {
		s += ", and no checkpoints"
	}
	if c.oldCache {
		s += ", with the old cache"
	}
	return s
}

// newCase makes case n: the rows and kinds take turns, all else is drawn. It returns nil if the kind does not
// apply to the row.
func (w *world) newCase(seed uint64, n int) *one {
	rng := rand.New(rand.NewPCG(seed, uint64(n)+1))
	row := w.rows[n%len(w.rows)]
	c := &one{w: w, n: n, rng: rng, kind: kinds[n/len(w.rows)%len(kinds)], changed: map[string][]byte{}}
	for range 20 {
		c.it = w.items[row][rng.IntN(len(w.items[row]))]
		if !c.draw() {
			continue
		}
		c.oldCache, c.maintainer = rng.IntN(4) == 0, rng.IntN(2) == 0
		c.noCheckpoints = strings.HasPrefix(row, "log entry") && rng.IntN(2) == 0
		c.store = w.store.Clone()
		for name, data := range c.changed {
			c.store.Tamper(name, data)
		}
		if c.noCheckpoints {
			for _, o := range w.items["checkpoint"] {
				c.store.Tamper(o.name, nil)
			}
		}
		return c
	}
	return nil
}

// draw makes the damage, and reports whether there is any.
func (c *one) draw() bool {
	clear(c.changed)
	switch {
	case c.kind.missing:
		c.changed[c.it.name] = nil
	case c.kind.partners != nil:
		others := c.kind.partners(c.w, &c.it)
		if len(others) == 0 {
			return false
		}
		o := others[c.rng.IntN(len(others))]
		c.partner = o.name
		c.changed[c.it.name] = o.data
		if c.kind.swaps {
			c.changed[o.name] = c.it.data
		}
		return !bytes.Equal(o.data, c.it.data)
	default:
		data := c.kind.change(c.rng, bytes.Clone(c.it.data))
		c.changed[c.it.name] = data
		return data != nil && !bytes.Equal(data, c.it.data)
	}
	return true
}

// advisory are rows of which no snapshot needs anything.
var advisory = []string{"checkpoint", "parity of a group", "record of checks", "sign of life", "quarantine"}

// harmless reports whether nobody has to notice the damage.
func (c *one) harmless() bool {
	switch c.it.row {
	case "sign of life": // says that somebody is at work; damaged, it says nothing
		return true
	case "quarantine": // damaged bytes, to which nothing refers
		return true
	case "checkpoint", "record of checks", "parity of a group": // any number of them may be there, or none
		return c.kind.missing
	}
	// Without its last entry and without checkpoints it is the repository of before; who saw it later says so.
	return c.tail() && c.kind.missing && c.noCheckpoints && !c.wouldMissTail()
}

// wouldMissTail reports whether the client has seen the last entry, and knows that it was durable.
func (c *one) wouldMissTail() bool { return c.oldCache && c.w.sawTail }

// tail reports whether the object is the last log entry.
func (c *one) tail() bool {
	last := ""
	for _, o := range c.w.all {
		if strings.HasPrefix(o.name, object.LogPrefix) {
			last = o.name
		}
	}
	return c.it.name == last
}

// mendable reports whether nothing is lost by the damage.
func (c *one) mendable() bool {
	switch {
	case slices.Contains(advisory, c.it.row):
		return true
	case c.it.row == "config" || c.it.row == "key slot": // the copy is there
		return true
	case len(c.changed) > 1:
		return false
	case strings.HasSuffix(c.it.row, " in a group"):
		return true
	}
	return within(c.it.data, c.changed[c.it.name])
}

// repairable reports whether everything is to be as it was after a repair: the index can be made again.
func (c *one) repairable() bool { return c.mendable() || classOf(c.it.name) == "index" }

// outcome is what became of a case.
type outcome struct {
	detected, whole, refused bool
	repairable, repaired     bool
	wrong                    error // what must never be
	panicked                 bool
	missed                   error // detection or repair that should have been
}

func (c *one) try(ctx context.Context) (out *outcome) {
	if *trace {
		fmt.Fprintln(os.Stderr, c)
	}
	out = &outcome{}
	defer func() {
		if p := recover(); p != nil {
			stack := make([]byte, 8<<10)
			out.panicked = true
			out.wrong = fmt.Errorf("panic: %v\n%s", p, stack[:runtime.Stack(stack, false)])
		}
	}()
	dir, err := os.MkdirTemp(c.w.dir, "case-")
	if err != nil {
		out.wrong = err
		return out
	}
	defer os.RemoveAll(dir)
	cache := filepath.Join(dir, "cache")
	if c.oldCache {
		if err := os.CopyFS(cache, os.DirFS(c.w.cache)); err != nil {
			out.wrong = err
			return out
		}
	}
	got := c.look(ctx, cache, out)
	out.refused, out.whole = got.refused != nil, got.refused == nil
	if out.wrong == nil {
		out.wrong = got.wrong
	}
	if out.wrong != nil {
		return out
	}
	switch {
	case !out.detected && !c.harmless():
		out.missed = fmt.Errorf("check said nothing")
	case c.mendable() && out.refused:
		out.missed = fmt.Errorf("could have been mended on reading: %w", got.refused)
	default:
		c.repair(ctx, dir, got, out)
	}
	return out
}
