package repo

import (
	"context"
	"iter"
	"sync"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/object"
)

// ahead is a Store of which the answers that opening a repository needs are under way before they are asked
// for. Each step of opening waits for the one before: the key of a slot, the config, a checkpoint, the log after
// it. With the requests at once, a far store costs two round trips in place of eight, and the derivation of the
// key goes on beside them. Each answer is given once; whatever else is asked for goes to the store.
type ahead struct {
	backends.Store

	cancel context.CancelFunc
	all    sync.WaitGroup

	mu    sync.Mutex
	gets  map[string]*answer[[]byte]
	lists map[[2]string]*answer[[]backends.Info] // by prefix and after
}

// answer is what a request will have brought when done is closed.
type answer[T any] struct {
	done  chan struct{}
	value T
	err   error
}

// lookAhead begins to ask for what [Open] needs, with the slots if there are no keys yet. Where a request costs no
// more than a system call there is nothing to win.
func lookAhead(ctx context.Context, store backends.Store, slots bool) (_ backends.Store, stop func()) {
	if store.Caps().Local {
		return store, func() {}
	}
	a := &ahead{Store: store, gets: map[string]*answer[[]byte]{}, lists: map[[2]string]*answer[[]backends.Info]{}}
	ctx, a.cancel = context.WithCancel(ctx) // ends in stop
	a.get(ctx, object.ConfigName)
	if slots {
		a.list(ctx, object.KeysPrefix, "", a.slots)
	}
	a.list(ctx, object.CheckpointsPrefix, "", a.checkpoint)
	return a, a.stop
}

// stop ends what is still under way, and forgets it: what is asked for later must be answered anew.
func (a *ahead) stop() {
	a.cancel()
	a.all.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.gets)
	clear(a.lists)
}

// maxAhead bounds how many of each kind are asked for. Where somebody commits who may write checkpoints, there
// are no more entries after the newest.
const maxAhead = 128

// slots asks for the first copies of the slots: the second are only needed where a first is damaged.
func (a *ahead) slots(ctx context.Context, list []backends.Info) {
	for _, info := range list[:min(len(list), maxAhead)] {
		if _, second, err := object.ParseSlotName(info.Name); err == nil && !second {
			a.get(ctx, info.Name)
		}
	}
}

// checkpoint asks for the newest checkpoint, the entry that it is compared with, and those after it.
func (a *ahead) checkpoint(ctx context.Context, list []backends.Info) {
	after := ""
	if n := len(list); n > 0 {
		if number, err := object.ParseNumbered(object.CheckpointsPrefix, list[n-1].Name); err == nil {
			after = object.LogName(number)
			a.get(ctx, list[n-1].Name)
			a.get(ctx, after)
		}
	}
	a.list(ctx, object.LogPrefix, after, a.entries)
}

func (a *ahead) entries(ctx context.Context, list []backends.Info) {
	for _, info := range list[:min(len(list), maxAhead)] {
		a.get(ctx, info.Name)
	}
}

// get asks for the whole of an object.
func (a *ahead) get(ctx context.Context, name string) {
	w := &answer[[]byte]{done: make(chan struct{})}
	a.mu.Lock()
	a.gets[name] = w
	a.mu.Unlock()
	a.all.Go(func() {
		defer close(w.done)
		w.value, w.err = a.Store.Get(ctx, name, 0, -1, nil)
	})
}

// list asks for a listing, and calls then with it before anybody can have it: what then asks for is found by
// whoever had the listing.
func (a *ahead) list(ctx context.Context, prefix, after string, then func(context.Context, []backends.Info)) {
	w := &answer[[]backends.Info]{done: make(chan struct{})}
	a.mu.Lock()
	a.lists[[2]string{prefix, after}] = w
	a.mu.Unlock()
	a.all.Go(func() {
		defer close(w.done)
		for info, err := range a.Store.List(ctx, prefix, after) {
			if err != nil {
				w.err = err
				return
			}
			w.value = append(w.value, info)
		}
		then(ctx, w.value)
	})
}

// take removes and returns the answer for a key, or nil.
func take[K comparable, T any](a *ahead, m map[K]*answer[T], key K) *answer[T] {
	a.mu.Lock()
	defer a.mu.Unlock()
	w := m[key]
	delete(m, key)
	return w
}

// wait returns when the answer is there, or ctx is done.
func (w *answer[T]) wait(ctx context.Context) error {
	select {
	case <-w.done:
		return w.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Get implements [backends.Store].
func (a *ahead) Get(ctx context.Context, name string, offset, length int64, buf []byte) ([]byte, error) {
	if offset == 0 && length < 0 {
		if w := take(a, a.gets, name); w != nil {
			if err := w.wait(ctx); err != nil {
				return nil, err
			}
			return append(buf[:0], w.value...), nil
		}
	}
	return a.Store.Get(ctx, name, offset, length, buf)
}

// List implements [backends.Store].
func (a *ahead) List(ctx context.Context, prefix, after string) iter.Seq2[backends.Info, error] {
	w := take(a, a.lists, [2]string{prefix, after})
	if w == nil {
		return a.Store.List(ctx, prefix, after)
	}
	return func(yield func(backends.Info, error) bool) {
		err := w.wait(ctx)
		if err != nil && ctx.Err() != nil {
			yield(backends.Info{}, err)
			return
		}
		for _, info := range w.value {
			if !yield(info, nil) {
				return
			}
		}
		if err != nil {
			yield(backends.Info{}, err)
		}
	}
}

// Unwrap returns the store that is asked.
func (a *ahead) Unwrap() backends.Store { return a.Store }
