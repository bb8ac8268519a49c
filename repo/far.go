package repo

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync"

	"github.com/kura-backup/kura/delta"
	"github.com/kura-backup/kura/index"
	"github.com/kura-backup/kura/index/local"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/seal"
)

// FarIndex is an index that somebody else has. Over a slow connection a lookup costs less than a copy of everything.
type FarIndex interface {
	// View returns the index as of a state. The error wraps ErrMoved when there is a newer one.
	View(ctx context.Context, st *log.State) (FarView, error)
}

// FarView is a FarIndex as of one state. Packs have the numbers of [FarPacks]. It is safe for concurrent use.
type FarView interface {
	// Lookup returns the places in live packs of each blob that is asked for, also where there are none. It may tell of
	// others beside, such as those that they are deltas of. At most MaxFarLookup may be asked for.
	Lookup(ids []object.BlobID) (map[object.BlobID][]local.Place, error)
	// Origin returns an origin by its number in the places.
	Origin(n uint32) (*seal.Origin, error)
	// Verify is [Index.Verify].
	Verify(ctx context.Context) error
}

// MaxFarLookup is how many blobs are asked for at once.
const MaxFarLookup = 4096

// FarPacks are the packs of a state by the numbers that a FarView uses: the live ones in the order of their names.
func FarPacks(st *log.State) []index.PackRef {
	packs := make([]index.PackRef, 0, len(st.Packs))
	for ref, p := range st.Packs {
		packs = append(packs, index.PackRef{Ref: ref, Size: p.Size})
	}
	slices.SortFunc(packs, func(a, b index.PackRef) int { return a.Ref.Compare(b.Ref) })
	return packs
}

func (r *Repository) makeFarIndex(ctx context.Context, st *log.State) (*Index, error) {
	far, err := r.far.View(ctx, st)
	if err != nil {
		return nil, err
	}
	ix := &Index{state: st, packs: FarPacks(st), view: newFarView(far)}
	ix.live = make([]bool, len(ix.packs))
	for i := range ix.live {
		ix.live[i] = true
	}
	return ix, nil
}

// IsFar reports whether a lookup costs a round trip: then it pays to make many at once.
func (ix *Index) IsFar() bool {
	_, far := ix.view.(*farView)
	return far
}

// Expect says that the blobs will be looked up, so that an index that is far is asked for all at once. It is only
// worth calling for some dozens of blobs or more, and less than MaxExpect.
func (ix *Index) Expect(ids []object.BlobID) {
	if far, ok := ix.view.(*farView); ok {
		far.expect(ids)
	}
}

// Err says why a lookup may have missed something, or is nil.
func (ix *Index) Err() error { return ix.view.Err() }

// Origin returns an origin by its number in a place.
func (ix *Index) Origin(n uint32) (*seal.Origin, error) { return ix.origin(n) }

const (
	// farAnswers is how many answers a generation of them has: some 10 MB.
	farAnswers = 1 << 15
	// MaxExpect is how many blobs Expect may be told of, so that the first are remembered when the last are there.
	MaxExpect = farAnswers
	// farQuestions is how many questions are under way. What is to be looked up meanwhile goes into the next one.
	farQuestions = 2
)

// farView makes one question of what many look up at a time, and remembers answers. It is safe for concurrent use.
type farView struct {
	far   FarView
	turns chan struct{} // has a value for each question under way

	mu      sync.Mutex
	recent  map[object.BlobID][]local.Place // answers; when there are many they become old
	old     map[object.BlobID][]local.Place
	next    *question // what is not asked yet
	problem error
}

// question is what several want to know. One of them asks for all.
type question struct {
	ids   []object.BlobID
	taken bool          // by the one who asks; guarded, as ids, by farView.mu
	done  chan struct{} // closed when there are answers

	answers map[object.BlobID][]local.Place
}

func newFarView(far FarView) *farView {
	return &farView{far: far, turns: make(chan struct{}, farQuestions), recent: map[object.BlobID][]local.Place{}}
}

// Err is the first error of a question.
func (v *farView) Err() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.problem
}

// Lookup appends the places of a blob. If there are none it has none, unless Err says otherwise.
func (v *farView) Lookup(id object.BlobID, dst []local.Place) []local.Place {
	v.mu.Lock()
	places, ok := v.answer(id)
	if ok {
		v.mu.Unlock()
		return append(dst, places...)
	}
	if v.next == nil || len(v.next.ids) == MaxFarLookup {
		v.next = &question{done: make(chan struct{})}
	}
	q := v.next
	q.ids = append(q.ids, id)
	v.mu.Unlock()
	select {
	case <-q.done:
	case v.turns <- struct{}{}:
		v.mu.Lock()
		mine := !q.taken
		q.taken = true
		if v.next == q {
			v.next = nil
		}
		v.mu.Unlock()
		if mine {
			v.put(q)
		}
		<-v.turns
		<-q.done
	}
	return append(dst, q.answers[id]...)
}

// answer returns what is known. The mutex is held.
func (v *farView) answer(id object.BlobID) (places []local.Place, ok bool) {
	if places, ok = v.recent[id]; ok {
		return places, true
	}
	if places, ok = v.old[id]; ok {
		v.remember(id, places)
	}
	return places, ok
}

// remember keeps an answer. The mutex is held.
func (v *farView) remember(id object.BlobID, places []local.Place) {
	if len(v.recent) >= farAnswers {
		v.old, v.recent = v.recent, map[object.BlobID][]local.Place{}
	}
	v.recent[id] = places
}

// put puts a question to the other side, and spreads the answers.
func (v *farView) put(q *question) {
	answers, err := v.far.Lookup(q.ids)
	v.mu.Lock()
	defer v.mu.Unlock()
	if err != nil && v.problem == nil {
		v.problem = err
	}
	for id, places := range answers {
		v.remember(id, places)
	}
	q.answers = answers
	close(q.done)
}

// expect asks for those of which nothing is known.
func (v *farView) expect(ids []object.BlobID) {
	v.mu.Lock()
	unknown := make([]object.BlobID, 0, len(ids))
	for _, id := range ids {
		if _, ok := v.answer(id); !ok {
			unknown = append(unknown, id)
		}
	}
	v.mu.Unlock()
	for part := range slices.Chunk(unknown, MaxFarLookup) {
		v.turns <- struct{}{}
		v.put(&question{ids: part, done: make(chan struct{})})
		<-v.turns
	}
}

// HasSketches is false: what is alike could not be read here anyway.
func (v *farView) HasSketches() bool { return false }

// Similar finds nothing.
func (v *farView) Similar(_ delta.Sketch, dst []object.BlobID) []object.BlobID { return dst }

// Origin asks for an origin.
func (v *farView) Origin(n uint32) (*seal.Origin, error) { return v.far.Origin(n) }

// Verify has the other side verify its index. One that is damaged is not used any more.
func (v *farView) Verify(ctx context.Context) error {
	err := v.far.Verify(ctx)
	if errors.Is(err, local.ErrDamaged) {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.problem = err
	}
	return err
}

// errFarIndex is what those get who want to go through all of an index that is far. Only who has one nearby does.
var errFarIndex = errors.New("repo: the index is on another machine, and can only be asked for blobs")

// Sources is refused.
func (v *farView) Sources(context.Context) ([]local.Source, error) { return nil, errFarIndex }

// All is refused.
func (v *farView) All(context.Context) iter.Seq2[local.Entry, error] {
	return func(yield func(local.Entry, error) bool) { yield(local.Entry{}, errFarIndex) }
}
