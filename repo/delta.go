package repo

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync/atomic"

	"github.com/kura-backup/kura/delta"
	"github.com/kura-backup/kura/index/local"
	"github.com/kura-backup/kura/internal/freelist"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/seal"
)

// How a session decides what is stored as a delta, and against what; docs/delta.md has the reasons.

// maxToMake bounds how many segments have to be decoded for a delta, it being one of them, if nothing is at hand. A chain of single
// bases takes far less; where each delta has several bases the number doubles with each step.
const maxToMake = 32

// deltaCoder is what a worker keeps from one delta to the next.
type deltaCoder struct {
	encoder delta.Encoder
	stream  freelist.Scratch
	joined  freelist.Scratch
	held    []madeBase // what the segment in hand is coded against
}

// release lets go of what the segment in hand was coded against.
func (d *deltaCoder) release() {
	for i := range d.held {
		d.held[i].release()
	}
	clear(d.held)
	d.held = d.held[:0]
}

// luck spares attempts after many that were in vain.
type luck struct{ misses, turns atomic.Uint32 }

// After so many misses in a row only one attempt in so many is made.
const (
	patience = 16
	seldom   = 8
)

// leastShare is the share of a blob from which on something is worth the time: what a base may have of it that is
// read beside others, or the room that is left in a chain.
const leastShare = 16

// newSketch: a delta on what lay at its place gets a sketch of its own only when its chain has grown by another such share of the blob.
// Whatever is like it is like the blob that got the last one as well, and next time it is found by its place again. Sketches took
// an eighth of the CPU time of such runs.
const newSketch = 8

func (l *luck) try() bool { return l.misses.Load() < patience || l.turns.Add(1)%seldom == 0 }

func (l *luck) note(hit bool) {
	if hit {
		l.misses.Store(0)
	} else {
		l.misses.Add(1)
	}
}

// mayBeDelta reports whether a job's segment is one that can be a delta, or the base of one.
func (s *Session) mayBeDelta(j *job) bool {
	return s.opts.Similar != SimilarNever && j.t == object.DataBlob && len(j.ids) == 1 && len(j.plain.B) >= delta.MinSize
}

// encodeDelta makes a segment a delta if there are bases for it: those that lay at its place, or else one that is similar.
func (s *Session) encodeDelta(j *job, c *coder, n *pack.NewSegment) error {
	if j.like != nil && s.near.try() {
		near := j.like.Near(j.offset, int64(len(n.Plain)))
		if len(near) > 0 {
			err := s.tryBases(j, c, n, near)
			s.near.note(n.Coding == pack.Delta)
			if err != nil || n.Coding == pack.Delta {
				return err
			}
		}
	}
	if len(j.given) > 0 {
		near := make([]Near, len(j.given))
		for i := range near {
			near[i] = j.given[i].near
		}
		if err := s.tryBases(j, c, n, near); err != nil || n.Coding == pack.Delta {
			return err
		}
	}
	if !s.ix.view.HasSketches() || !s.similar.try() {
		return nil
	}
	if j.sketch(n); !n.HasSketch {
		return nil
	}
	var buf [8]object.BlobID
	found := s.ix.view.Similar(n.Sketch, buf[:0])
	if len(found) == 0 {
		return nil // which costs little
	}
	by := &job{offset: j.offset, sketched: true}
	if j.like != nil {
		by.like = elsewhere{j.like, found[0]}
	}
	err := s.tryBases(by, c, n, []Near{{ID: found[0], Length: object.MaxBlobSize}})
	s.similar.note(n.Coding == pack.Delta)
	return err
}

// sketch sketches the segment, once, also if there is too little in it for one.
func (j *job) sketch(n *pack.NewSegment) {
	if !j.sketched {
		j.sketched = true
		n.Sketch, n.HasSketch = delta.SketchOf(n.Plain)
	}
}

// elsewhere tells a Like where a blob lies now that was found by its sketch: mostly it is part of the earlier content, at
// a place where nobody looked.
type elsewhere struct {
	Like
	id object.BlobID
}

// Moved is told an offset in the blob.
func (e elsewhere) Moved(now, was int64) { e.Known(now-was, e.id) }

// base is a blob that a delta may be coded against.
type base struct {
	near  Near
	id    object.BlobID // near's, or one of those that it is itself a delta of
	at    local.Place
	ratio float64 // of the plain blob at the end of the chain: stored by plain length
	plain []byte
}

// tryBases codes a segment against some of the blobs, if that is worth it. Of those that are near it tells the job's
// Like where they were.
func (s *Session) tryBases(j *job, c *coder, n *pack.NewSegment, near []Near) error {
	g := newGround(s.ix, s.r.avoided(s.ix))
	bases := chooseBases(g, n, near)
	if len(bases) == 0 {
		return nil
	}
	// What a chain may take: half of what the blob would without it, by what the chain's plain blob took.
	size, sum, depth := len(n.Plain), uint64(0), uint8(0)
	for i := range bases {
		sum, depth = max(sum, bases[i].at.ChainSum), max(depth, bases[i].at.Depth)
	}
	ratio := bases[0].ratio
	whole := float64(size) * ratio
	room := int64(whole/2) - int64(sum)
	if room < int64(whole/leastShare) {
		return nil
	}
	length := 0
	for i := range bases {
		b, err := s.loadBase(j, &bases[i])
		if err != nil || b.plain == nil {
			return err
		}
		bases[i].plain = b.plain
		c.delta.held = append(c.delta.held, b)
		// They were chosen by the lengths that lists say, which may be lies, and readers join no more than this.
		if length += len(b.plain); length > pack.MaxJoined {
			return nil
		}
	}
	slices.SortFunc(bases, func(a, b base) int { return cmp.Compare(a.near.Offset, b.near.Offset) })
	joined := bases[0].plain
	if len(bases) > 1 {
		joined = c.delta.joined.For(length)
		for i := range bases {
			joined = append(joined, bases[i].plain...)
		}
	}
	limit := min(int(float64(room)/ratio), size/2)
	stream, match, ok := c.delta.encoder.Encode(c.delta.stream.For(0), joined, n.Plain, limit)
	if !ok {
		return nil
	}
	c.delta.stream.Keep(stream)
	stored := pack.EncodeDelta(&c.coded, stream, s.opts.Compression.Level)
	if int64(len(stored)) > room {
		return nil
	}
	ids := make([]object.BlobID, len(bases))
	for i := range bases {
		if ids[i] = bases[i].id; !g.allPacks(ids[i], s.relyOn) {
			return nil
		}
	}
	n.Coding, n.Stored, n.Base, n.Bases, n.Depth, n.BasesSum = pack.Delta, stored, joined, ids, depth+1, sum
	grown := func(sum uint64) int { return int(float64(sum) / whole * newSketch) }
	alike := len(bases) == 1 && len(joined) <= size+size/leastShare && grown(sum+uint64(len(stored))) == grown(sum)
	if j.like == nil || !alike {
		j.sketch(n)
	}
	if j.like != nil && match.Target > 0 {
		if was, ok := wasAt(bases, int64(match.Base)); ok {
			j.like.Moved(j.offset+int64(match.Target), was)
		}
	}
	return nil
}

// wasAt returns where the end of so many bytes of the joined bases lay in the earlier content.
func wasAt(bases []base, end int64) (int64, bool) {
	for i := range bases {
		if n := int64(len(bases[i].plain)); end > n {
			end -= n
			continue
		}
		return bases[i].near.Offset + min(end, bases[i].near.Length), true
	}
	return 0, false
}

// chooseBases returns those of the blobs that are worth reading, best first.
func chooseBases(g *ground, n *pack.NewSegment, near []Near) []base {
	var out []base
	joined, toMake := 0, 1
	for i := range near {
		size := int64(len(n.Plain))
		if i > 0 && (near[i].Overlap < size/leastShare || near[0].Overlap > size-size/leastShare) {
			continue
		}
		b, ok := chooseBase(g, near[i])
		if !ok || b.id == n.IDs[0] || slices.ContainsFunc(out, func(o base) bool { return o.id == b.id }) {
			if i == 0 {
				return nil
			}
			continue
		}
		joined += int(b.at.Length)
		toMake += g.toMake(b.at, maxToMake)
		if joined > pack.MaxJoined || toMake > maxToMake {
			break
		}
		out = append(out, b)
	}
	return out
}

// chooseBase finds a base for a delta in the chain of a blob: itself, or where its chain is as long as it may be one that it is
// made of.
func chooseBase(g *ground, near Near) (base, bool) {
	chain, ids := g.chain(near.ID)
	if len(chain) == 0 {
		return base{}, false
	}
	k := 0
	if chain[0].Depth == pack.MaxDepth {
		k = goBack(chain)
	}
	root := chain[len(chain)-1]
	at, _ := g.deepest(ids[k], anyDepth) // which may have deeper copies than the one that is in the chain
	if root.Plain == 0 || at.Depth == pack.MaxDepth {
		return base{}, false
	}
	return base{near: near, id: ids[k], at: at, ratio: float64(root.Stored) / float64(root.Plain)}, true
}

// goBack returns which blob of a chain that can not become longer is the best base. The further back it is, the
// larger is this delta, and the more small ones can follow it: what counts is the mean of all.
func goBack(chain []local.Place) int {
	top := chain[0]
	step := float64(top.ChainSum - min(top.ChainSum, chain[1].ChainSum))
	best, least := 1, 0.0
	for k := 1; k < len(chain); k++ {
		depth := chain[k].Depth
		if depth >= pack.MaxDepth {
			continue
		}
		cost := float64(top.ChainSum-min(top.ChainSum, chain[k].ChainSum)) + step
		if mean := cost / float64(pack.MaxDepth-depth); least == 0 || mean < least {
			best, least = k, mean
		}
	}
	return best
}

// givenBase is a blob with its bytes.
type givenBase struct {
	near  Near
	plain []byte
}

// loadBase returns a base, without plaintext if it can not be had in the ways that the session may use.
func (s *Session) loadBase(j *job, b *base) (madeBase, error) {
	for i := range j.given {
		if j.given[i].near.ID == b.id {
			return madeBase{plain: j.given[i].plain}, nil
		}
	}
	if plain := s.r.bases.get(b.id); plain != nil {
		return madeBase{plain: plain}, nil
	}
	near := s.r.store.Caps().Local || s.opts.Similar == SimilarAlways
	if !near || !s.r.Keys().CanRead(seal.Data) {
		return madeBase{}, nil
	}
	made, err := s.bases.load(s.ctx, b.id, b.at.Depth+1)
	switch {
	case err == nil:
		return made, nil
	case s.ctx.Err() != nil:
		return madeBase{}, context.Cause(s.ctx)
	case errors.As(err, new(*DamageError)):
		s.r.bad.note(err) // a delta against what is damaged would be lost with it
		return madeBase{}, nil
	case Unreadable(s.ctx, err):
		return madeBase{}, nil
	}
	return madeBase{}, err
}
