package repo

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kura-backup/kura/index/local"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/seal"
)

// slowView is a FarView that takes a second for each question. It has the blobs whose first byte is even.
type slowView struct {
	mu    sync.Mutex
	asked [][]object.BlobID
	fail  error
}

func (v *slowView) Lookup(ids []object.BlobID) (map[object.BlobID][]local.Place, error) {
	v.mu.Lock()
	v.asked = append(v.asked, ids)
	v.mu.Unlock()
	time.Sleep(time.Second)
	out := map[object.BlobID][]local.Place{}
	for _, id := range ids {
		out[id] = nil
		if id[0]%2 == 0 {
			out[id] = []local.Place{{Pack: uint32(id[0]), Plain: 7}}
		}
	}
	return out, v.fail
}

func (v *slowView) Origin(uint32) (*seal.Origin, error) { return new(seal.Origin), nil }

func (v *slowView) Verify(context.Context) error { return fmt.Errorf("%w: as it is", local.ErrDamaged) }

func blobIDs(n int) []object.BlobID {
	rng := rand.New(rand.NewPCG(1, 2))
	ids := make([]object.BlobID, n)
	for i := range ids {
		for k := range ids[i] {
			ids[i][k] = byte(rng.Uint32())
		}
	}
	return ids
}

func TestFarView_ManyAtATime_AreOneQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := new(slowView)
		v := newFarView(slow)
		ids := blobIDs(1000)
		start := time.Now()
		for range 2 { // the second time nothing is asked
			var all sync.WaitGroup
			for _, id := range ids {
				all.Go(func() {
					places := v.Lookup(id, make([]local.Place, 1))
					if len(places) != 2-int(id[0]%2) || len(places) == 2 && places[1].Pack != uint32(id[0]) {
						t.Errorf("%v is at %v", id, places)
					}
				})
			}
			all.Wait()
		}
		if d := time.Since(start); d > 3*time.Second || len(slow.asked) > 4 {
			t.Errorf("%d questions in %v", len(slow.asked), d)
		}
		asked := map[object.BlobID]int{}
		for _, ids := range slow.asked {
			for _, id := range ids {
				asked[id]++
			}
		}
		if len(asked) != len(ids) {
			t.Errorf("%d blobs were asked for", len(asked))
		}
		if v.Err() != nil {
			t.Error(v.Err())
		}
	})
}

func TestFarView_Expected_AreThereWhenTheyAreLookedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := new(slowView)
		ix := &Index{view: newFarView(slow)}
		ids := blobIDs(2*MaxFarLookup + 1)
		ix.Expect(ids)
		start := time.Now()
		for _, id := range ids {
			ix.view.Lookup(id, nil)
		}
		if d := time.Since(start); d > 0 || len(slow.asked) != 3 {
			t.Errorf("%d questions, and %v after them", len(slow.asked), d)
		}
		ix.Expect(ids)
		if len(slow.asked) != 3 {
			t.Error("they were asked for again")
		}
		for range 3 { // what is remembered is bounded
			ix.Expect(blobIDs(MaxExpect))
		}
		v := ix.view.(*farView)
		if n := len(v.recent) + len(v.old); n > 2*farAnswers+MaxFarLookup {
			t.Errorf("%d answers are remembered", n)
		}
	})
}

func TestFarView_QuestionFails_LooksLikeNothingAndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cut := errors.New("cut")
		v := newFarView(&slowView{fail: cut})
		v.far.(*slowView).fail = cut
		v.Lookup(blobIDs(1)[0], nil)
		if !errors.Is(v.Err(), cut) {
			t.Error(v.Err())
		}
		v = newFarView(new(slowView))
		if err := v.Verify(t.Context()); !errors.Is(err, local.ErrDamaged) || !errors.Is(v.Err(), local.ErrDamaged) {
			t.Error(err, v.Err())
		}
		for _, err := range v.All(t.Context()) {
			if !errors.Is(err, errFarIndex) {
				t.Error(err)
			}
		}
		if _, err := v.Sources(t.Context()); !errors.Is(err, errFarIndex) {
			t.Error(err)
		}
	})
}
