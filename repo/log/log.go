package log

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/longlock"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/seal"
)

var (
	// ErrNoLog is returned by Open when the store has no log entries.
	ErrNoLog = errors.New("log: the repository has no log entries")

	// ErrRollback is returned when the store's log is older than, or differs from, what this
	// client has seen before.
	ErrRollback = errors.New("log: the repository's history is not the one seen before")

	// ErrOutcomeUnknown is returned when a commit was sent, no answer came, and the store can
	// not say whether it arrived. The entry may appear later; nothing is lost either way.
	ErrOutcomeUnknown = errors.New("log: whether the commit succeeded is unknown")

	// ErrRotated is returned when an owner has given the repository new keys that this client was
	// not opened with. Nothing of what it was about to add counts. Opened again it has them.
	ErrRotated = errors.New("log: the keys of the repository were rotated: open it again")

	// ErrWithdrawn is returned when this client's key is not, or no longer, one of the repository's.
	ErrWithdrawn = errors.New("log: this key was removed from the repository, or adding it was cut off")
)

// DamageError is a log object that can not be what was written.
type DamageError struct {
	Name string
	Err  error
}

func (e *DamageError) Error() string { return fmt.Sprintf("damaged object %s: %v", e.Name, e.Err) }

func (e *DamageError) Unwrap() error { return e.Err }

// Mark is a place in the log that a client remembers, to notice when the store is rolled back.
type Mark struct {
	N    uint64
	Hash object.Hash
}

// Log reads and extends one repository's log. It is safe for concurrent use.
type Log struct {
	store     backends.Store
	conflicts atomic.Uint64
	keys      atomic.Pointer[seal.Keyring] // of the state's epoch; written with mu held

	mu       longlock.Mutex // held while folding
	all      *seal.Keyring  // maybe with an epoch that does not count yet
	expected *seal.Keyring  // with another one that does not; nil if there is none
	rotated  bool           // whether the state is of an epoch whose keys are not there
	state    *State
	seen     Mark // from a former run: zero if there is none
	compared bool // whether the entry of seen is known to have its hash
	sure     Mark // the last entry that is known to be durable
	void     []Record
	last     checkpointInfo // the newest one that this client knows
	added    int64          // bytes of the entries folded since then
}

// readers is how many entries are fetched at once while catching up.
const readers = 8

func newLog(store backends.Store, keys *seal.Keyring) *Log {
	l := &Log{store: store, all: keys, state: newState()}
	l.keys.Store(keys)
	return l
}

// Open folds the log of the repository. seen is what this client remembers of the log, or zero.
// Without entries the error is ErrNoLog.
func Open(ctx context.Context, store backends.Store, keys *seal.Keyring, seen Mark) (*Log, error) {
	l := newLog(store, keys)
	l.seen = seen
	st, err := l.newestCheckpoint(ctx)
	if err != nil {
		return nil, err
	}
	if st != nil {
		l.state = st
		l.sure = Mark{st.N, st.Hash} // a checkpoint is written after its entry is durable
		l.compared = seen == l.sure  // and the entry was found to have this hash
	}
	if err := l.Refresh(ctx); err != nil {
		return nil, err
	}
	from := st
	st = l.State()
	if st.N == 0 {
		if seen.N > 0 {
			return nil, fmt.Errorf("%w: entry %d was seen, now there is none", ErrRollback, seen.N)
		}
		return nil, ErrNoLog
	}
	if st.N < seen.N {
		return nil, fmt.Errorf("%w: entry %d was seen, now the last one is %d", ErrRollback, seen.N, st.N)
	}
	return l, l.checkSeen(ctx, from)
}

// checkSeen compares the remembered mark with the entry of its number, unless that was done when it was
// folded: then it is below the checkpoint that the fold began from, which must be of the same history.
func (l *Log) checkSeen(ctx context.Context, from *State) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen.N == 0 || l.compared {
		return nil
	}
	same, err := l.has(ctx, l.seen.N, l.seen.Hash)
	if err != nil {
		return err
	}
	if !same {
		return fmt.Errorf("%w: entry %d is not the one seen before", ErrRollback, l.seen.N)
	}
	return l.leadsTo(ctx, from)
}

// State returns the newest state folded so far.
func (l *Log) State() *State {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

// Keys is the keyring to seal with: in it the epoch of the state is the newest.
func (l *Log) Keys() *seal.Keyring { return l.keys.Load() }

func (l *Log) allKeys() *seal.Keyring {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all
}

// Expect gives the keys of an epoch that the client's own next entry begins. Nil takes them back.
func (l *Log) Expect(keys *seal.Keyring) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expected = keys
}

// current is the newest state folded, with the keys to add to it.
func (l *Log) current() (*State, *seal.Keyring, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rotated {
		return l.state, l.Keys(), ErrRotated
	}
	return l.state, l.Keys(), nil
}

// Sure is the last entry that is known to be durable: one's own, or one that another client has built on.
// The newest entry may be visible before its writer has got its answer, and be lost if the power fails
// then: to remember it would be to miss it wrongly.
func (l *Log) Sure() Mark {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sure
}

// Void returns the entries met since Open that change nothing, with the reasons.
func (l *Log) Void() []Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.void[:len(l.void):len(l.void)]
}

// Refresh folds the entries that were added since.
func (l *Log) Refresh(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refresh(ctx)
}

// refreshBatch is how many entries are fetched before they are folded.
const refreshBatch = 256

func (l *Log) refresh(ctx context.Context) error {
	if l.rotated {
		return ErrRotated
	}
	numbers, err := l.list(ctx, l.state.N)
	if err != nil || len(numbers) == 0 {
		return err
	}
	f := l.folding()
	defer f.end()
	for batch := range slices.Chunk(numbers, refreshBatch) {
		if err := f.fetch(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

// list returns the numbers of the entries above after. That one is missing is damage.
func (l *Log) list(ctx context.Context, after uint64) ([]uint64, error) {
	from := ""
	if after > 0 {
		from = object.LogName(after)
	}
	var numbers []uint64
	for info, err := range l.store.List(ctx, object.LogPrefix, from) {
		if err != nil {
			return nil, fmt.Errorf("log: %w", err)
		}
		n, err := object.ParseNumbered(object.LogPrefix, info.Name)
		if err != nil {
			return nil, &DamageError{info.Name, err}
		}
		// A listing need not have what was put while it ran, though it has what was put after that.
		for want := after + uint64(len(numbers)) + 1; want < n; want++ {
			if err := l.wantEntry(ctx, want); err != nil {
				return nil, err
			}
			numbers = append(numbers, want)
		}
		numbers = append(numbers, n)
	}
	return numbers, nil
}

// wantEntry returns a DamageError if there is no entry n, though a later one exists.
func (l *Log) wantEntry(ctx context.Context, n uint64) error {
	_, err := l.store.Get(ctx, object.LogName(n), 0, 1, nil)
	if errors.Is(err, backends.ErrNotExist) {
		return &DamageError{object.LogName(n), errors.New("missing, though a later entry exists")}
	}
	return err
}

// folding is a run of entries that are folded into a state which nobody sees before the end.
type folding struct {
	l    *Log
	next *State
}

// folding begins. l.mu is held until the end.
func (l *Log) folding() *folding { return &folding{l, l.state.clone()} }

// end hands out what was folded so far.
func (f *folding) end() { f.l.state = f.next }

// fetch reads the entries with the given consecutive numbers and folds them.
func (f *folding) fetch(ctx context.Context, numbers []uint64) error {
	objects := make([][]byte, len(numbers))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for i, n := range numbers {
		g.Go(func() (err error) {
			objects[i], err = f.l.entry(gctx, n)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i, n := range numbers {
		if err := f.add(n, objects[i]); err != nil {
			return err
		}
	}
	return nil
}

// add folds the object of entry n.
func (f *folding) add(n uint64, obj []byte) error {
	l := f.l
	rec, err := OpenEntry(l.all, f.next, obj)
	if err != nil {
		return notOpened(n, err)
	}
	if n == l.seen.N {
		if rec.Hash != l.seen.Hash {
			return fmt.Errorf("%w: entry %d is not the one seen before", ErrRollback, n)
		}
		l.compared = true
	}
	// Whoever made this entry had seen the one before, which the store had to keep from then on. Of this
	// entry its writer may not know yet whether it is durable.
	l.sure = Mark{f.next.N, f.next.Hash}
	if rec.Void = f.next.step(rec.Entry, rec.Signer, rec.Hash); rec.Void != nil {
		l.void = append(l.void, *rec)
	}
	l.added += int64(rec.Size)
	return f.rekey()
}

// rekey takes the keys that belong to the state's epoch.
func (f *folding) rekey() error {
	l := f.l
	if l.Keys().Epoch() == f.next.Epoch {
		return nil
	}
	if l.expected != nil && l.expected.Has(f.next.Epoch) && !l.all.Has(f.next.Epoch) {
		l.all, l.expected = l.expected, nil
	}
	keys, err := l.all.Until(f.next.Epoch)
	if err != nil {
		l.rotated = true
		return ErrRotated
	}
	l.keys.Store(keys)
	return nil
}

// foldOne folds the object of the next entry.
func (l *Log) foldOne(n uint64, obj []byte) error {
	f := l.folding()
	defer f.end()
	return f.add(n, obj)
}

// OpenEntry decrypts, verifies and decodes obj, the entry on top of st. An entry whose signer st does
// not know is returned unverified: the fold finds it void. Entry 1 is verified with the keys that the
// key slot names. One that was damaged and could be mended by its parity is as good as whole.
func OpenEntry(keys *seal.Keyring, st *State, obj []byte) (*Record, error) {
	n := st.N + 1
	bind := seal.BindLog(keys.RepoID(), n, st.Hash)
	whole, body, mended, err := openEnvelope(keys, bind, obj)
	if err != nil {
		return nil, err
	}
	signers := st.Signers
	if n == 1 {
		signers = keys.Owners()
	}
	payload, who, err := seal.VerifyBody(object.LogEntry, bind, body, signers)
	if err != nil && (n == 1 || !errors.Is(err, seal.ErrUnknownSigner)) {
		return nil, err
	}
	gotN, gotPrev, e, err := DecodeEntry(payload)
	if err != nil {
		return nil, err
	}
	if gotN != n || gotPrev != st.Hash {
		return nil, fmt.Errorf("log: entry says it is number %d after %v", gotN, gotPrev)
	}
	e.ForgedEpoch = e.Kind == KindKeys && e.Epoch != (seal.Epoch{}) && !keys.Began(e.Epoch, e.EpochSignature)
	return &Record{N: n, Hash: object.Sum(whole), Size: len(whole), Mended: mended, Signer: who.ID, Entry: e}, nil
}

// notOpened is the error for entry n, which is damaged, or was written by a newer program.
func notOpened(n uint64, err error) error {
	if errors.Is(err, wire.ErrNewer) {
		return fmt.Errorf("%s: %w", object.LogName(n), err)
	}
	return &DamageError{object.LogName(n), err}
}

// entry reads the object of entry n.
func (l *Log) entry(ctx context.Context, n uint64) ([]byte, error) {
	obj, err := l.store.Get(ctx, object.LogName(n), 0, -1, nil)
	return obj, missingIsDamage(object.LogName(n), err)
}

// Entries yields the records 1 to the tail of the state, as stored. It is for check and for people;
// State answers everything else.
func (l *Log) Entries(ctx context.Context, yield func(*Record) error) error {
	st := newState()
	for n, obj := range l.ahead(ctx, 1, l.State().N) {
		if obj.err != nil {
			return obj.err
		}
		rec, err := OpenEntry(l.allKeys(), st, obj.bytes)
		if err != nil {
			return notOpened(n, err)
		}
		rec.Void = st.step(rec.Entry, rec.Signer, rec.Hash) // nobody else sees st
		if err := yield(rec); err != nil {
			return err
		}
	}
	return nil
}

// fetched is an object, or why it could not be read.
type fetched struct {
	bytes []byte
	err   error
}

// ahead yields the objects of the entries first to tail. While one is looked at the next ones are fetched: from a
// far store a log of thousands would otherwise take minutes.
func (l *Log) ahead(ctx context.Context, first, tail uint64) iter.Seq2[uint64, fetched] {
	return func(yield func(uint64, fetched) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var all sync.WaitGroup
		defer all.Wait()
		defer cancel()
		var under [readers]chan fetched // by number, modulo
		begin := func(n uint64) {
			c := make(chan fetched, 1)
			under[n%readers] = c
			all.Go(func() {
				obj, err := l.entry(ctx, n)
				c <- fetched{obj, err}
			})
		}
		for n := first; n <= min(tail, first+readers-1); n++ {
			begin(n)
		}
		for n := first; n <= tail; n++ {
			got := <-under[n%readers]
			if n+readers <= tail {
				begin(n + readers)
			}
			if !yield(n, got) {
				return
			}
		}
	}
}

func missingIsDamage(name string, err error) error {
	if errors.Is(err, backends.ErrNotExist) {
		return &DamageError{name, err}
	}
	return err
}

// Create writes entry 1, which names the keyring's signing key and epoch, into a store without a log. Of
// several clients one wins; the others get an error wrapping backends.ErrExist.
func Create(ctx context.Context, store backends.Store, keys *seal.Keyring, sid object.SessionID, clock int64) (*Log, error) {
	l := newLog(store, keys)
	e := &Entry{Kind: KindInit, Session: sid, Clock: clock, Signers: []seal.Signer{keys.Self()}, Epoch: keys.Epoch()}
	obj, err := sealEntry(keys, l.state, e)
	if err != nil {
		return nil, err
	}
	own, err := l.settle(ctx, object.LogName(1), obj)
	if err != nil {
		return nil, err
	}
	if !own {
		return nil, fmt.Errorf("log: %w: somebody else initialised the repository", backends.ErrExist)
	}
	if err := l.foldOne(1, obj); err != nil {
		return nil, err
	}
	l.sure = Mark{l.state.N, l.state.Hash}
	return l, nil
}

// sealEntry makes the object for entry n on top of st.
func sealEntry(keys *seal.Keyring, st *State, e *Entry) ([]byte, error) {
	n := st.N + 1
	if e.Kind == KindKeys && e.Epoch != (seal.Epoch{}) {
		signed := *e
		signed.EpochSignature = keys.SignEpoch(e.Epoch)
		e = &signed
	}
	payload, err := EncodeEntry(n, st.Hash, e)
	if err != nil {
		return nil, err
	}
	bind := seal.BindLog(keys.RepoID(), n, st.Hash)
	sign := func() ([]byte, error) { return keys.SignBody(object.LogEntry, bind, payload) }
	if n == 1 {
		sign = func() ([]byte, error) { return keys.SignFirst(bind, payload) }
	}
	body, err := sign()
	if err != nil {
		return nil, fmt.Errorf("log: sign entry: %w", err)
	}
	envelope, err := keys.Seal(object.LogEntry, nil, bind, body)
	if err != nil {
		return nil, err
	}
	return appendParity(envelope)
}
