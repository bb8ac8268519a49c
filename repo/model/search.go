package model

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
)

// result is what a search found.
type result struct {
	states    uint64
	steps     uint64
	depth     int
	exhausted bool   // every state was seen, none left out for want of room
	full      uint64 // steps left out for want of slots
	cleaned   uint64 // states from which a clean collection was tried
	counts    [actions]uint64
	bad       *violation
}

// violation is a state that must not be, and the way there.
type violation struct {
	why   string
	trace []string
}

func (v *violation) String() string {
	out := v.why + "\n"
	for i, line := range v.trace {
		out += fmt.Sprintf("%3d. %s\n", i+1, line)
	}
	return out
}

// visited is the set of hashes seen, each with the hash it was first reached
// from. It is safe for concurrent use.
type visited struct {
	count  atomic.Uint64
	shards [64]shard
}

type shard struct {
	mu    sync.Mutex
	slots []visit
	n     int
}

type visit struct{ hash, from uint64 }

// add reports whether h was new.
func (v *visited) add(h, from uint64) bool {
	if h == 0 {
		h = 1
	}
	sh := &v.shards[h>>58]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.n*10 >= len(sh.slots)*7 {
		sh.grow()
	}
	if !sh.put(visit{h, from}) {
		return false
	}
	sh.n++
	v.count.Add(1)
	return true
}

func (sh *shard) put(x visit) bool {
	mask := uint64(len(sh.slots) - 1)
	i := x.hash & mask
	for ; sh.slots[i].hash != 0; i = (i + 1) & mask {
		if sh.slots[i].hash == x.hash {
			return false
		}
	}
	sh.slots[i] = x
	return true
}

func (sh *shard) grow() {
	old := sh.slots
	sh.slots = make([]visit, max(256, 2*len(old)))
	for _, x := range old {
		if x.hash != 0 {
			sh.put(x)
		}
	}
}

func (v *visited) from(h uint64) uint64 {
	if h == 0 {
		h = 1
	}
	sh := &v.shards[h>>58]
	mask := uint64(len(sh.slots) - 1)
	i := h & mask
	for sh.slots[i].hash != h {
		i = (i + 1) & mask
	}
	return sh.slots[i].from
}

// searcher is one breadth-first search.
type searcher struct {
	c       *config
	limit   uint64
	seen    visited
	mu      sync.Mutex
	res     result
	badFrom uint64 // hash of the state before the violation
	badWhy  string
	stop    atomic.Bool
	recent  []*recent // one for each goroutine
}

// search visits the states of c breadth first, with the given number of
// goroutines, until there are no more of them, or limit, or ctx is done.
func search(ctx context.Context, c *config, limit uint64, workers int) result {
	f := &searcher{c: c, limit: limit}
	first := newState(c)
	first.canon()
	root := first.hash()
	f.seen.add(root, root)
	level := []state{first}
	for range workers {
		f.recent = append(f.recent, new(recent))
	}
	for len(level) > 0 && !f.stop.Load() {
		level = f.expand(ctx, level, workers)
		f.res.depth++
	}
	f.res.states = f.seen.count.Load()
	f.res.exhausted = len(level) == 0 && !f.stop.Load() && f.res.full == 0
	if f.badWhy != "" {
		f.res.bad = &violation{why: f.badWhy, trace: f.trace(root)}
	}
	return f.res
}

// expand returns the new states one step from a level.
func (f *searcher) expand(ctx context.Context, level []state, workers int) []state {
	var at atomic.Int64
	var wg sync.WaitGroup
	const batch = 256
	next := make([][]state, workers)
	for k := range workers {
		wg.Go(func() {
			g := newGenerator(f.c)
			var part result
			for !f.stop.Load() {
				from := int(at.Add(batch)) - batch
				if from >= len(level) {
					break
				}
				for i := from; i < min(from+batch, len(level)) && !f.stop.Load(); i++ {
					next[k] = f.step(g, f.recent[k], &part, &level[i], next[k])
				}
				if ctx.Err() != nil || f.seen.count.Load() >= f.limit {
					f.stop.Store(true)
				}
			}
			f.merge(g, &part)
		})
	}
	wg.Wait()
	all := next[0]
	for _, more := range next[1:] {
		all = append(all, more...)
	}
	return all
}

// step adds the successors of s that are new to next.
func (f *searcher) step(g *generator, recent *recent, part *result, s *state, next []state) []state {
	from := s.hash()
	for i := range g.steps(s) {
		x := &g.out[i]
		part.steps++
		part.counts[x.act]++
		if x.bad != "" {
			f.found(from, x.bad)
			return next
		}
		x.s.tidy()
		if raw := x.s.hash(); !recent.note(raw) {
			continue // the same slots hold the same things as in a state already seen
		}
		x.s.canon()
		h := x.s.hash()
		if !f.seen.add(h, from) {
			continue
		}
		why := x.s.check(g.strict)
		if why == "" && f.c.cleanEvery != 0 && h%f.c.cleanEvery == 0 {
			var done bool
			if why, done = g.clean(&x.s); done {
				part.cleaned++
			}
		}
		if why != "" {
			f.found(from, why)
			return next
		}
		next = append(next, x.s)
	}
	return next
}

// recent remembers hashes of states as they were before renaming, to save most
// of the renaming. It forgets freely. It is not safe for concurrent use.
type recent [1 << 16]uint64

// note reports whether h is not remembered, and remembers it.
func (r *recent) note(h uint64) bool {
	at := &r[h%uint64(len(r))]
	if *at == h {
		return false
	}
	*at = h
	return true
}

func (f *searcher) found(from uint64, why string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.badWhy == "" {
		f.badFrom, f.badWhy = from, why
	}
	f.stop.Store(true)
}

func (f *searcher) merge(g *generator, part *result) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.res.steps += part.steps
	f.res.full += g.full
	f.res.cleaned += part.cleaned
	for a := range part.counts {
		f.res.counts[a] += part.counts[a] + g.also[a]
	}
}
