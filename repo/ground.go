package repo

import (
	"cmp"
	"slices"
	"sync"

	"github.com/kura-backup/kura/index/local"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/pack"
)

// A copy of a blob that is a delta counts only as long as its bases do: each must have a copy of less depth, in a
// live pack, that counts itself. The ground of a blob is such a chain of copies, down to plain ones;
// docs/protocol.md, section 3.1, has the rule and the reasons.

// anyDepth is more than any copy's depth.
const anyDepth = pack.MaxDepth + 1

// depths remembers of blobs that are deltas how deep the least deep copy is that counts, from one search for ground to
// the next: what whoever holds a writer's key lists can take long to follow, and must not each time. It is safe for
// concurrent use.
type depths struct {
	mu  sync.Mutex
	ids map[object.BlobID]leastDepth
}

// leastDepth says that no copy of less than a depth counts, and whether it is known that one of that depth does.
type leastDepth struct {
	depth  uint8
	counts bool
}

// maxDepths bounds how many blobs are remembered, at some 60 bytes each.
const maxDepths = 1 << 18

func (d *depths) of(id object.BlobID) leastDepth {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ids[id]
}

func (d *depths) note(id object.BlobID, l leastDepth) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ids == nil || len(d.ids) >= maxDepths {
		d.ids = map[object.BlobID]leastDepth{}
	}
	d.ids[id] = l
}

// ground looks for the ground of blobs. Not for concurrent use.
type ground struct {
	ix    *Index
	avoid func(packNo uint32) bool // packs that do not count, besides those that are not live; nil: none
	known map[groundKey]local.Place
	none  map[groundKey]struct{}
}

// groundKey asks for a copy of a blob of less than a depth.
type groundKey struct {
	id    object.BlobID
	below uint8
}

func newGround(ix *Index, avoid func(uint32) bool) *ground {
	return &ground{ix: ix, avoid: avoid}
}

// find returns the copy of least depth that counts, and is below the given depth.
func (g *ground) find(id object.BlobID, below uint8) (local.Place, bool) {
	key := groundKey{id, below}
	if p, ok := g.known[key]; ok {
		return p, true
	}
	if _, ok := g.none[key]; ok {
		return local.Place{}, false
	}
	var least leastDepth
	if g.avoid == nil {
		least = g.ix.depths.of(id)
	}
	if least.depth >= below {
		return local.Place{}, false
	}
	var buf [8]local.Place
	places := g.ix.Listed(id, buf[:0])
	slices.SortStableFunc(places, func(a, b local.Place) int { return cmp.Compare(a.Depth, b.Depth) })
	for i, p := range places {
		if p.Depth < least.depth || p.Depth >= below {
			continue
		}
		only := i+1 == len(places) || places[i+1].Depth > p.Depth
		if least.counts && p.Depth == least.depth && only || g.counts(p) {
			if g.known == nil {
				g.known = map[groundKey]local.Place{}
			}
			g.known[key] = p
			g.note(id, places, leastDepth{p.Depth, true})
			return p, true
		}
	}
	if g.none == nil {
		g.none = map[groundKey]struct{}{}
	}
	g.none[key] = struct{}{}
	g.note(id, places, leastDepth{below, false})
	return local.Place{}, false
}

// note remembers what was found out about a blob, if that took more than to look it up.
func (g *ground) note(id object.BlobID, places []local.Place, l leastDepth) {
	if g.avoid == nil && len(places) > 0 && places[len(places)-1].Depth > 0 {
		g.ix.depths.note(id, l)
	}
}

// counts reports whether a copy does.
func (g *ground) counts(p local.Place) bool {
	if !g.ix.isLive(p) || g.avoid != nil && g.avoid(p.Pack) {
		return false
	}
	for i := range p.Bases.Len() {
		if _, ok := g.find(p.Bases.At(i), p.Depth); !ok {
			return false
		}
	}
	return true
}

// packs calls visit with the number of each pack of the ground of a copy that counts, some more than once.
func (g *ground) packs(p local.Place, visit func(packNo uint32)) {
	visit(p.Pack)
	if p.Bases.Len() == 0 {
		return
	}
	seen := map[groundKey]struct{}{}
	var below func(p local.Place)
	below = func(p local.Place) {
		for i := range p.Bases.Len() {
			key := groundKey{p.Bases.At(i), p.Depth}
			if _, ok := seen[key]; ok {
				continue
			}
			seen[key] = struct{}{}
			if q, ok := g.find(key.id, key.below); ok {
				visit(q.Pack)
				below(q)
			}
		}
	}
	below(p)
}

// toMake returns how many segments are decoded to read a copy that counts, if nothing is at hand; or any number above
// limit, if there are more.
func (g *ground) toMake(p local.Place, limit int) int {
	n := 1
	for i := 0; i < p.Bases.Len() && n <= limit; i++ {
		if q, ok := g.find(p.Bases.At(i), p.Depth); ok {
			n += g.toMake(q, limit-n)
		}
	}
	return n
}

// deepest returns the deepest copy that counts of those below a depth. A writer takes that for how deep a base is, also
// if it has not read it: what only claims to be a copy, and to be less deep, must not be all that its delta counts on.
func (g *ground) deepest(id object.BlobID, below uint8) (deepest local.Place, ok bool) {
	for _, p := range g.ix.Listed(id, nil) {
		if p.Depth < below && (!ok || p.Depth > deepest.Depth) && g.counts(p) {
			deepest, ok = p, true
		}
	}
	return deepest, ok
}

// chain returns the deepest copies from a blob down to a plain one, along the first base of each, with the blobs that
// they are of.
func (g *ground) chain(id object.BlobID) (places []local.Place, ids []object.BlobID) {
	for p, ok := g.deepest(id, anyDepth); ok; p, ok = g.deepest(id, p.Depth) {
		places, ids = append(places, p), append(ids, id)
		if p.Bases.Len() == 0 {
			break
		}
		id = p.Bases.At(0)
	}
	return places, ids
}

// maxGround bounds what a writer looks at to rely on a base: what it is made of is a few dozen blobs (maxToMake), unless
// somebody lists copies of them that are made of very many.
const maxGround = 1024

// allPacks calls visit with the number of each pack in which there is a copy that counts of a blob, or of what such a
// copy is made of, some more than once. It gives up and reports false where these are too many blobs.
func (g *ground) allPacks(id object.BlobID, visit func(packNo uint32)) bool {
	seen := map[object.BlobID]struct{}{id: {}}
	for todo := []object.BlobID{id}; len(todo) > 0; {
		if len(seen) > maxGround {
			return false
		}
		id, todo = todo[len(todo)-1], todo[:len(todo)-1]
		for _, p := range g.ix.Listed(id, nil) {
			if !g.counts(p) {
				continue
			}
			visit(p.Pack)
			for i := range p.Bases.Len() {
				base := p.Bases.At(i)
				if _, ok := seen[base]; !ok {
					seen[base] = struct{}{}
					todo = append(todo, base)
				}
			}
		}
	}
	return true
}

// Ground calls visit with the numbers of the packs that a blob is read from: of one with all of its bases, some
// more than once. It reports false, and does not call, if no copy counts. Packs that avoid reports do not count.
func (ix *Index) Ground(id object.BlobID, avoid func(packNo uint32) bool, visit func(packNo uint32)) bool {
	var buf [8]local.Place
	deltas := false
	for _, p := range ix.lookUp(id, buf[:0]) {
		if p.Depth > 0 {
			deltas = true
			continue
		}
		if ix.isLive(p) && (avoid == nil || !avoid(p.Pack)) {
			visit(p.Pack)
			return true
		}
	}
	if !deltas {
		return false
	}
	g := newGround(ix, avoid)
	p, ok := g.find(id, anyDepth)
	if ok {
		g.packs(p, visit)
	}
	return ok
}
