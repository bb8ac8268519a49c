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
)

// proveDeltas looks into the deltas among rivals where no plain copy was proven, the least deep first, until one becomes
// the blob. What can be decrypted and whose bases can be read, and does not become the blob, is a lie, and so is what it
// says that its bases are; but without one that does it is left for check to find.
func (c *collector) proveDeltas(ctx context.Context, ix *repo.Index, all []rivals, exact map[listed]bool) error {
	var open []rivals
	for _, r := range all {
		places := slices.Clone(c.verdicts.keep(ix, r.id, r.places))
		places = slices.DeleteFunc(places, func(p local.Place) bool {
			return p.Depth == 0 || !exact[listed{r.id, p}] || !c.canRead(ix, p)
		})
		slices.SortStableFunc(places, func(a, b local.Place) int {
			return cmp.Or(cmp.Compare(a.Depth, b.Depth), spotOf(ix, a).pack.Compare(spotOf(ix, b).pack))
		})
		open = append(open, rivals{r.id, places})
	}
	var mu sync.Mutex // guards the verdicts
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(requests)
	for _, r := range open {
		g.Go(func() error {
			var lies []local.Place
			for _, p := range r.places {
				is, lie, err := c.tryDelta(gctx, ix, r.id, p)
				switch {
				case err != nil:
					return err
				case lie:
					lies = append(lies, p)
				case is:
					mu.Lock()
					defer mu.Unlock()
					c.verdicts.proven[r.id] = proof{spotOf(ix, p), p.Depth, p.Bases}
					for _, l := range lies {
						c.verdicts.unfounded[claimOf(ix, r.id, l)] = struct{}{}
					}
					return nil
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// tryDelta reports whether a delta becomes the blob, and whether it surely does not.
func (c *collector) tryDelta(ctx context.Context, ix *repo.Index, id object.BlobID, p local.Place) (is, lie bool, err error) {
	unknown := func(err error) (bool, bool, error) {
		if errors.As(err, new(*repo.DamageError)) {
			err = nil
		}
		return false, false, err
	}
	at, err := ix.Place(p)
	if err != nil {
		return unknown(err)
	}
	base, err := c.r.LoadBases(ctx, ix, &at.Segment)
	if err != nil {
		return unknown(err)
	}
	ciphertext, err := c.r.FetchRange(ctx, at.Pack, int64(at.At), int64(at.Stored), nil)
	if err != nil {
		return unknown(err)
	}
	key, err := c.r.OpenOrigin(at.Pack, at.Origin)
	if err != nil {
		return unknown(err)
	}
	stored, err := key.Open(ciphertext[:0], at.Ordinal, ciphertext)
	if err != nil {
		return false, false, nil // the store has damaged it, or says that it is another's
	}
	plain, err := pack.DecodeSegment(nil, stored, at.Coding, int(at.Plain), base)
	if err == nil {
		_, err = c.r.Extract(object.DataBlob, id, &at, plain)
	}
	return err == nil, err != nil, nil
}
