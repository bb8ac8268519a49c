package gc

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/kura-backup/kura/index/local"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/seal"
)

// Of a blob in several packs one copy is enough. But what index segments and directories say was written
// by whoever held a writer's key, and a copy that only claims to be one must never be the reason why the
// true one goes, now or in a later run; nor does it help to prefer the older one, since carrying makes
// copies young. So a copy goes only because of another that was read, decrypted and found to be the blob.
// Whoever lacks the key for that keeps all copies; honest ones are few: two clients stored the same at
// the same time.
//
// Only a copy of no larger depth is such a reason: what else is made of the blob can be read with that, too.

// spot is where a segment lies.
type spot struct {
	pack   object.Ref
	offset uint32
}

// claim is a copy that an index segment lists.
type claim struct {
	id    object.BlobID
	at    spot
	bases local.Bases
}

func claimOf(ix *repo.Index, id object.BlobID, p local.Place) claim {
	return claim{id, spotOf(ix, p), p.Bases}
}

// rivals are the copies of a needed blob that has several.
type rivals struct {
	id     object.BlobID
	places []local.Place
}

// verdicts are what a run has found out about rivals. Packs do not change, so it stays true.
type verdicts struct {
	proven    map[object.BlobID]proof // a copy that was read
	unfounded map[claim]struct{}      // not in the directory of the pack, or found to be another blob
}

// proof is a copy that is the blob.
type proof struct {
	at    spot
	depth uint8
	bases local.Bases
}

func (b *proof) is(ix *repo.Index, p local.Place) bool {
	return p.Depth == b.depth && p.Bases == b.bases && spotOf(ix, p) == b.at
}

func newVerdicts() *verdicts {
	return &verdicts{proven: map[object.BlobID]proof{}, unfounded: map[claim]struct{}{}}
}

func spotOf(ix *repo.Index, p local.Place) spot {
	ref, _ := ix.Pack(p.Pack)
	return spot{ref.Ref, p.SegOffset}
}

// keep returns the places of a needed blob that must stay: the one that was proven, and those of less depth; if none
// was, all; but those that are unfounded.
func (v *verdicts) keep(ix *repo.Index, id object.BlobID, places []local.Place) []local.Place {
	best, proven := v.proven[id]
	proven = proven && slices.ContainsFunc(places, func(p local.Place) bool { return best.is(ix, p) })
	var founded []local.Place
	for _, p := range places {
		if proven && p.Depth >= best.depth && !best.is(ix, p) {
			continue
		}
		if _, no := v.unfounded[claimOf(ix, id, p)]; !no {
			founded = append(founded, p)
		}
	}
	if len(founded) == 0 {
		return places
	}
	return founded
}

// follow notes where the copies that were proven have been carried.
func (v *verdicts) follow(carried map[spot]spot) {
	for id, best := range v.proven {
		if to, ok := carried[best.at]; ok {
			best.at = to
			v.proven[id] = best
		}
	}
}

// judge finds out what can be found out about rivals.
func (c *collector) judge(ctx context.Context, ix *repo.Index, all []rivals) error {
	exact, err := c.compare(ctx, ix, all)
	if err != nil {
		return err
	}
	st := ix.State()
	var open, deltas []rivals
	for _, r := range all {
		places := slices.Clone(c.verdicts.keep(ix, r.id, r.places))
		if len(places) == 1 {
			continue
		}
		places = slices.DeleteFunc(places, func(p local.Place) bool {
			return p.Depth > 0 || !exact[listed{r.id, p}] || !c.canRead(ix, p)
		})
		slices.SortStableFunc(places, func(a, b local.Place) int {
			x, y := spotOf(ix, a), spotOf(ix, b)
			return cmp.Or(cmp.Compare(st.Packs[x.pack].Added, st.Packs[y.pack].Added), x.pack.Compare(y.pack))
		})
		open, deltas = append(open, rivals{r.id, places}), append(deltas, r)
	}
	for len(open) > 0 {
		if open, err = c.prove(ctx, ix, open); err != nil {
			return err
		}
	}
	return c.proveDeltas(ctx, ix, deltas, exact)
}

func (c *collector) canRead(ix *repo.Index, p local.Place) bool {
	if spotOf(ix, p).pack.Class == object.TreePack {
		return c.r.Keys().CanRead(seal.Meta)
	}
	return c.r.Keys().CanRead(seal.Data)
}

// prove reads the first place of each blob, those in one segment together. It returns those whose first place
// does not have them, without that.
func (c *collector) prove(ctx context.Context, ix *repo.Index, open []rivals) (next []rivals, err error) {
	bySegment := map[local.Place][]rivals{}
	for _, r := range open {
		if len(r.places) > 0 {
			segment := r.places[0]
			segment.Offset, segment.Length = 0, 0
			bySegment[segment] = append(bySegment[segment], r)
		}
	}
	var mu sync.Mutex // guards next and the verdicts
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(requests)
	for segment, blobs := range bySegment {
		g.Go(func() error {
			plain, err := c.read(gctx, ix, segment)
			if err != nil && !errors.As(err, new(*repo.DamageError)) {
				return err
			}
			t := object.DataBlob
			if spotOf(ix, segment).pack.Class == object.TreePack {
				t = object.TreeBlob
			}
			mu.Lock()
			defer mu.Unlock()
			for _, r := range blobs {
				at, perr := ix.Place(r.places[0])
				if perr != nil {
					return perr
				}
				if err == nil {
					_, perr = c.r.Extract(t, r.id, &at, plain)
				}
				if err != nil || perr != nil {
					next = append(next, rivals{r.id, r.places[1:]})
					continue
				}
				c.verdicts.proven[r.id] = proof{at: spotOf(ix, segment)}
			}
			return nil
		})
	}
	return next, g.Wait()
}

// read reads a segment that is no delta from the store. What the repository has cached may have been read by another
// list.
func (c *collector) read(ctx context.Context, ix *repo.Index, p local.Place) ([]byte, error) {
	at, err := ix.Place(p)
	if err != nil {
		return nil, err
	}
	ciphertext, err := c.r.FetchRange(ctx, at.Pack, int64(at.At), int64(at.Stored), nil)
	if err != nil {
		return nil, err
	}
	key, err := c.r.OpenOrigin(at.Pack, at.Origin)
	if err != nil {
		return nil, err
	}
	plain, err := repo.DecodeSegment(nil, key, &at.Segment, ciphertext, nil)
	if err != nil {
		return nil, &repo.DamageError{Object: at.Pack.Name(), Err: err}
	}
	return plain, nil
}

// listed is what an index says of a copy.
type listed struct {
	id object.BlobID
	at local.Place
}

// compare compares what index segments list with the directories of the packs, one after the other. It notes
// what is unfounded, and returns what agrees in everything: what is read by the index, and carried by the
// directory, must be one thing.
func (c *collector) compare(ctx context.Context, ix *repo.Index, all []rivals) (exact map[listed]bool, err error) {
	byPack := map[uint32][]listed{}
	for _, r := range all {
		for _, p := range r.places {
			byPack[p.Pack] = append(byPack[p.Pack], listed{r.id, p})
		}
	}
	exact = map[listed]bool{}
	var mu sync.Mutex // guards exact and the verdicts
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(requests)
	for n, copies := range byPack {
		g.Go(func() error {
			ref, _ := ix.Pack(n)
			size := c.sizes[n]
			if size < 0 { // it is not there
				size = ix.State().Packs[ref.Ref].Size
			}
			dir, err := c.r.LoadDirectory(gctx, ref.Ref, size)
			if errors.As(err, new(*repo.DamageError)) {
				return nil // perhaps it can be mended: nothing goes because of that
			}
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			for _, l := range copies {
				seg := segmentAt(dir, l.at.SegOffset)
				if seg == nil || !slices.Contains(seg.IDs, l.id) || local.JoinBases(seg.Bases) != l.at.Bases {
					c.verdicts.unfounded[claimOf(ix, l.id, l.at)] = struct{}{}
					continue
				}
				at, err := ix.Place(l.at)
				if err != nil {
					return err
				}
				exact[l] = describes(dir, seg, l.id, &at)
			}
			return nil
		})
	}
	return exact, g.Wait()
}

// segmentAt returns the segment at an offset, or nil.
func segmentAt(dir *pack.Directory, offset uint32) *pack.Segment {
	i, ok := slices.BinarySearchFunc(dir.Segments, offset, func(s pack.Segment, at uint32) int { return cmp.Compare(s.Offset, at) })
	if !ok {
		return nil
	}
	return &dir.Segments[i]
}

// describes reports whether a directory's segment is that of the place, with the blob at its place in it.
func describes(dir *pack.Directory, seg *pack.Segment, id object.BlobID, at *repo.Place) bool {
	if seg.Stored != at.Stored || seg.Plain != at.Plain || seg.Coding != at.Coding || seg.Ordinal != at.Ordinal ||
		seg.Depth != at.Depth || local.JoinBases(seg.Bases) != at.Bases ||
		!at.Origin.Equal(dir.Origins[seg.Origin]) {
		return false
	}
	offset := uint32(0)
	for i, other := range seg.IDs {
		if other == id && offset == at.Offset && seg.Lengths[i] == at.Length {
			return true
		}
		offset += seg.Lengths[i]
	}
	return false
}

// missed returns the places of a needed blob in dropped packs that must not be dropped: of all that must stay those
// whose segment was not carried.
func (c *collector) missed(ix *repo.Index, e local.Entry, dropped []bool, carried map[spot]spot) []local.Place {
	stay := c.verdicts.keep(ix, e.ID, c.needed(ix, e, nil))
	return slices.DeleteFunc(slices.Clone(stay), func(p local.Place) bool {
		_, safe := carried[spotOf(ix, p)]
		return safe || !dropped[p.Pack]
	})
}
