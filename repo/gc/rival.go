package gc

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/kura-backup/kura/index/local"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/seal"
)

// Of a blob in several packs one copy is enough. But what index segments and directories say was written
// by whoever held a writer's key, and a copy that only claims to be one must never be the reason why the
// true one goes, now or in a later run; nor does it help to prefer the older one, since carrying makes
// copies young. So a copy goes only because of another that was read, decrypted and found to be the blob.
// Whoever lacks the key for that keeps all copies; honest ones are few: two clients stored the same at
// the same time.

// spot is where a segment lies.
type spot struct {
	pack   object.Ref
	offset uint32
}

// claim is a copy that an index segment lists.
type claim struct {
	id object.BlobID
	at spot
}

// rivals are the copies of a needed blob that has several.
type rivals struct {
	id     object.BlobID
	places []local.Place
}

// verdicts are what a run has found out about rivals. Packs do not change, so it stays true.
type verdicts struct {
	proven    map[object.BlobID]spot // a copy that was read
	unfounded map[claim]struct{}     // not in the directory of the pack
}

func newVerdicts() *verdicts {
	return &verdicts{proven: map[object.BlobID]spot{}, unfounded: map[claim]struct{}{}}
}

func spotOf(ix *repo.Index, p local.Place) spot {
	ref, _ := ix.Pack(p.Pack)
	return spot{ref.Ref, p.SegOffset}
}

// keep returns the places of a needed blob that must stay: the one that was proven; if none was, all
// but those that are unfounded.
func (v *verdicts) keep(ix *repo.Index, id object.BlobID, places []local.Place) []local.Place {
	best, proven := v.proven[id]
	var founded []local.Place
	for i, p := range places {
		at := spotOf(ix, p)
		if proven && at == best {
			return places[i : i+1]
		}
		if _, no := v.unfounded[claim{id, at}]; !no {
			founded = append(founded, p)
		}
	}
	if len(founded) == 0 {
		return places
	}
	return founded
}

// judge finds out what can be found out about rivals.
func (c *collector) judge(ctx context.Context, ix *repo.Index, all []rivals) error {
	if err := c.findUnfounded(ctx, ix, all); err != nil {
		return err
	}
	st := ix.State()
	for _, r := range all {
		places := c.verdicts.keep(ix, r.id, r.places)
		if len(places) == 1 {
			continue
		}
		slices.SortStableFunc(places, func(a, b local.Place) int {
			x, y := spotOf(ix, a), spotOf(ix, b)
			return cmp.Or(cmp.Compare(st.Packs[x.pack].Added, st.Packs[y.pack].Added), x.pack.Compare(y.pack))
		})
		if err := c.prove(ctx, ix, r.id, places); err != nil {
			return err
		}
	}
	return nil
}

// prove notes the first of the places that has the blob, as far as the key can read it.
func (c *collector) prove(ctx context.Context, ix *repo.Index, id object.BlobID, places []local.Place) error {
	for _, p := range places {
		at := spotOf(ix, p)
		kind, blob := seal.Data, object.DataBlob
		if at.pack.Class == object.TreePack {
			kind, blob = seal.Meta, object.TreeBlob
		}
		if !c.r.Keys().CanRead(kind) {
			return nil
		}
		_, err := c.r.LoadAt(ctx, ix, p, blob, id)
		if err == nil {
			c.verdicts.proven[id] = at
			return nil
		}
		if !errors.As(err, new(*repo.DamageError)) {
			return err
		}
	}
	return nil
}

// findUnfounded compares what index segments claim with the directories of the packs, one after the other.
func (c *collector) findUnfounded(ctx context.Context, ix *repo.Index, all []rivals) error {
	byPack := map[uint32][]claim{}
	for _, r := range all {
		for _, p := range r.places {
			byPack[p.Pack] = append(byPack[p.Pack], claim{r.id, spotOf(ix, p)})
		}
	}
	for n, claims := range byPack {
		ref, _ := ix.Pack(n)
		size, seen := c.sizes[ref.Ref]
		if !seen { // put since
			size = ix.State().Packs[ref.Ref].Size
		}
		dir, err := c.r.LoadDirectory(ctx, ref.Ref, size)
		if errors.As(err, new(*repo.DamageError)) {
			continue // perhaps it can be mended: nothing goes because of that
		}
		if err != nil {
			return err
		}
		holds := map[claim]struct{}{}
		for i := range dir.Segments {
			for _, id := range dir.Segments[i].IDs {
				holds[claim{id, spot{ref.Ref, dir.Segments[i].Offset}}] = struct{}{}
			}
		}
		for _, k := range claims {
			if _, ok := holds[k]; !ok {
				c.verdicts.unfounded[k] = struct{}{}
			}
		}
	}
	return nil
}

// split tells the places of a needed blob in packs that stay from those in packs that are dropped. A blob
// that nobody needs has neither.
func (c *collector) split(ix *repo.Index, e local.Entry, drop map[object.Ref]struct{}) (kept, dropped []local.Place) {
	for _, p := range e.Places {
		ref, _ := ix.Pack(p.Pack)
		if !c.marks.has(ref.Ref.Class, e.ID) {
			continue
		}
		if _, ok := drop[ref.Ref]; ok {
			dropped = append(dropped, p)
		} else {
			kept = append(kept, p)
		}
	}
	return kept, dropped
}

// missed returns the places of a needed blob in dropped packs that must not be dropped: all whose segment
// was not carried, unless a copy that was proven stays or was carried.
func (c *collector) missed(ix *repo.Index, e local.Entry, drop map[object.Ref]struct{}, carried map[spot]struct{}) []local.Place {
	kept, dropped := c.split(ix, e, drop)
	if len(dropped) == 0 {
		return nil
	}
	if best, ok := c.verdicts.proven[e.ID]; ok {
		_, safe := carried[best]
		if safe || slices.ContainsFunc(kept, func(p local.Place) bool { return spotOf(ix, p) == best }) {
			return nil
		}
	}
	return slices.DeleteFunc(dropped, func(p local.Place) bool {
		at := spotOf(ix, p)
		_, safe := carried[at]
		_, unfounded := c.verdicts.unfounded[claim{e.ID, at}]
		return safe || unfounded
	})
}
