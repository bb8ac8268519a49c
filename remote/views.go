package remote

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/kura-backup/kura/index/local"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/repo"
)

// views are the indexes that the far side asks, each as of one entry of the log. It is safe for concurrent use.
type views struct {
	repo *repo.Repository
	tell bool // of the origins of places: who restores needs them

	mu   sync.Mutex
	last uint32
	open []*indexView // the newest last
}

// maxViews is how many there are. A session asks one, and the next one is begun before it has ended.
const maxViews = 4

// indexView is an index, with its packs numbered as the far side numbers them.
type indexView struct {
	id      uint32
	ix      *repo.Index
	numbers []uint32 // of packs, by the index's own numbers; noPack: it is not live

	mu   sync.Mutex
	told map[uint32]struct{} // origins
}

const noPack = 1<<32 - 1

// at returns the index as of an entry that the far side has seen last, or ErrMoved.
func (v *views) at(ctx context.Context, n uint64, hash []byte) (uint32, error) {
	if err := v.repo.Refresh(ctx); err != nil {
		return 0, err
	}
	ix, err := v.repo.Index(ctx)
	if err != nil {
		return 0, err
	}
	st := ix.State()
	switch {
	case st.N > n:
		return 0, fmt.Errorf("%w: there is entry %d", repo.ErrMoved, st.N)
	case st.N < n || string(hash) != string(st.Hash[:]):
		return 0, denied("an index as of entry %d", n)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, open := range v.open {
		if open.ix == ix {
			return open.id, nil
		}
	}
	v.last++
	w := &indexView{id: v.last, ix: ix, numbers: make([]uint32, ix.NumPacks()), told: map[uint32]struct{}{}}
	numbers := map[object.Ref]uint32{}
	for i, p := range repo.FarPacks(st) {
		numbers[p.Ref] = uint32(i)
	}
	for i := range w.numbers {
		w.numbers[i] = noPack
		if p, live := ix.Pack(uint32(i)); live {
			w.numbers[i] = numbers[p.Ref]
		}
	}
	if len(v.open) == maxViews {
		v.open = slices.Delete(v.open, 0, 1)
	}
	v.open = append(v.open, w)
	return w.id, nil
}

func (v *views) get(id uint32) (*indexView, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, w := range v.open {
		if w.id == id {
			return w, nil
		}
	}
	return nil, fmt.Errorf("%w: the index is not in use any more", repo.ErrMoved)
}

// lookup answers for a row of ids: where they are, where the bases of those are that are deltas, and what the origins of all
// are, as far as that was not told before.
func (v *views) lookup(ctx context.Context, id uint32, ids []byte) (answer []byte, err error) {
	w, err := v.get(id)
	if err != nil {
		return nil, err
	}
	done := map[object.BlobID]struct{}{}
	var bases []object.BlobID
	origins := map[uint32]struct{}{}
	var buf [8]local.Place
	look := func(id object.BlobID) {
		if _, ok := done[id]; ok {
			return
		}
		done[id] = struct{}{}
		places := w.places(id, buf[:0])
		answer = appendPlaces(answer, id, places)
		for i := range places {
			origins[places[i].Origin] = struct{}{}
			for k := range places[i].Bases.Len() {
				bases = append(bases, places[i].Bases.At(k))
			}
		}
	}
	for part := range slices.Chunk(ids, idSize) {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		look(object.BlobID(part))
		if len(answer) > maxAnswer {
			return nil, denied("an answer of more than %d bytes", maxAnswer)
		}
	}
	for most := 2*len(answer) + 1<<16; len(bases) > 0 && len(answer) < most; {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		base := bases[len(bases)-1]
		bases = bases[:len(bases)-1]
		look(base)
	}
	if err := w.ix.Err(); err != nil {
		return nil, err
	}
	if !v.tell {
		origins = nil
	}
	told, err := w.tell(origins)
	return joinAnswer(answer, told), err
}

// places returns the places in live packs, with the far side's numbers.
func (w *indexView) places(id object.BlobID, dst []local.Place) []local.Place {
	places := w.ix.Listed(id, dst)
	places = places[:min(len(places), maxPlaces)]
	for i := range places {
		places[i].Pack = w.numbers[places[i].Pack]
	}
	return places
}

// tell returns those of the origins that were not told yet.
func (w *indexView) tell(numbers map[uint32]struct{}) (out []byte, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for n := range numbers {
		if _, ok := w.told[n]; ok {
			continue
		}
		o, err := w.ix.Origin(n)
		if err != nil {
			return nil, err
		}
		obj, err := wire.Marshal(o)
		if err != nil {
			return nil, err
		}
		out = appendOrigin(out, n, obj)
		w.told[n] = struct{}{}
	}
	return out, nil
}

// origin returns an origin by its number.
func (v *views) origin(id, n uint32) ([]byte, error) {
	w, err := v.get(id)
	if err != nil {
		return nil, err
	}
	o, err := w.ix.Origin(n)
	if err != nil {
		return nil, err
	}
	return wire.Marshal(o)
}

// verify verifies the index.
func (v *views) verify(ctx context.Context, id uint32) error {
	w, err := v.get(id)
	if err != nil {
		return err
	}
	return w.ix.Verify(ctx)
}
