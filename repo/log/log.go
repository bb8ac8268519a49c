package log

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/object"
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
	store backends.Store
	keys  *seal.Keyring

	mu    sync.Mutex // held while folding
	state *State
	seen  Mark // from a former run: zero if there is none
	sure  Mark // the last entry that is known to be durable
	void  []Record
	added int64 // bytes of the entries folded since the last checkpoint known
}

// readers is how many entries are fetched at once while catching up.
const readers = 8

// Open folds the log of the repository. seen is what this client remembers of the log, or zero.
// Without entries the error is ErrNoLog.
func Open(ctx context.Context, store backends.Store, keys *seal.Keyring, seen Mark) (*Log, error) {
	l := &Log{store: store, keys: keys, state: newState(), seen: seen}
	st, err := l.newestCheckpoint(ctx)
	if err != nil {
		return nil, err
	}
	if st != nil {
		l.state = st
		l.sure = Mark{st.N, st.Hash} // a checkpoint is written after its entry is durable
	}
	if err := l.Refresh(ctx); err != nil {
		return nil, err
	}
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
	return l, l.checkSeen(ctx)
}

// checkSeen compares the remembered mark with the entry of its number, unless the fold has passed
// over that entry itself.
func (l *Log) checkSeen(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen.N == 0 {
		return nil
	}
	same, err := l.has(ctx, l.seen.N, l.seen.Hash)
	if err != nil {
		return err
	}
	if !same {
		return fmt.Errorf("%w: entry %d is not the one seen before", ErrRollback, l.seen.N)
	}
	return nil
}

// State returns the newest state folded so far.
func (l *Log) State() *State {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
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

func (l *Log) refresh(ctx context.Context) error {
	for {
		numbers, err := l.list(ctx, l.state.N)
		if err != nil || len(numbers) == 0 {
			return err
		}
		for len(numbers) > 0 {
			batch := numbers[:min(len(numbers), 256)]
			numbers = numbers[len(batch):]
			if err := l.fold(ctx, batch); err != nil {
				return err
			}
		}
	}
}

// list returns the numbers of the entries above after and checks that none is missing.
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
		if want := after + uint64(len(numbers)) + 1; n != want {
			return nil, &DamageError{object.LogName(want), errors.New("missing, though a later entry exists")}
		}
		numbers = append(numbers, n)
	}
	return numbers, nil
}

// fold fetches the entries with the given consecutive numbers and folds them.
func (l *Log) fold(ctx context.Context, numbers []uint64) error {
	objects := make([][]byte, len(numbers))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for i, n := range numbers {
		g.Go(func() (err error) {
			objects[i], err = l.store.Get(gctx, object.LogName(n), 0, -1, nil)
			return missingIsDamage(object.LogName(n), err)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i, n := range numbers {
		if err := l.foldOne(n, objects[i]); err != nil {
			return err
		}
	}
	return nil
}

func (l *Log) foldOne(n uint64, obj []byte) error {
	rec, err := OpenEntry(l.keys, l.state, obj)
	if err != nil {
		if newer := (*NewerError)(nil); errors.As(err, &newer) {
			return err
		}
		return &DamageError{object.LogName(n), err}
	}
	if n == l.seen.N && rec.Hash != l.seen.Hash {
		return fmt.Errorf("%w: entry %d is not the one seen before", ErrRollback, n)
	}
	if n == 1 && !isOwner(l.keys, rec.Signer) {
		return &DamageError{object.LogName(1), errors.New("not signed by the owner key that the key slot names")}
	}
	next, void := l.state.Apply(rec.Entry, rec.Signer, rec.Hash)
	if void != nil {
		rec.Void = void
		l.void = append(l.void, *rec)
	}
	// Whoever made this entry had seen the one before, which the store had to keep from then on. Of this
	// entry its writer may not know yet whether it is durable.
	l.sure = Mark{l.state.N, l.state.Hash}
	l.state = next
	l.added += int64(rec.Size)
	return nil
}

func isOwner(keys *seal.Keyring, signer [8]byte) bool {
	s, ok := keys.Signers()[signer]
	return ok && s.Role == seal.Owner
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
		signers = keys.Signers()
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
	return &Record{N: n, Hash: object.Sum(whole), Size: len(whole), Mended: mended, Signer: who.ID, Entry: e}, nil
}

// Entries yields the records 1 to the tail of the state, as stored. It is for check and for people;
// State answers everything else.
func (l *Log) Entries(ctx context.Context, yield func(*Record) error) error {
	tail := l.State().N
	st := newState()
	for n := uint64(1); n <= tail; n++ {
		name := object.LogName(n)
		obj, err := l.store.Get(ctx, name, 0, -1, nil)
		if err != nil {
			return missingIsDamage(name, err)
		}
		rec, err := OpenEntry(l.keys, st, obj)
		if err != nil {
			return &DamageError{name, err}
		}
		st, rec.Void = st.Apply(rec.Entry, rec.Signer, rec.Hash)
		if err := yield(rec); err != nil {
			return err
		}
	}
	return nil
}

func missingIsDamage(name string, err error) error {
	if errors.Is(err, backends.ErrNotExist) {
		return &DamageError{name, err}
	}
	return err
}

// Create writes entry 1, which names the keyring's signing keys, into a store without a log. Of
// several clients one wins; the others get an error wrapping backends.ErrExist.
func Create(ctx context.Context, store backends.Store, keys *seal.Keyring, sid object.SessionID, clock int64) (*Log, error) {
	l := &Log{store: store, keys: keys, state: newState()}
	e := &Entry{Kind: KindInit, Session: sid, Clock: clock}
	for _, s := range keys.Signers() {
		e.Signers = append(e.Signers, s)
	}
	slices.SortFunc(e.Signers, func(a, b seal.Signer) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	obj, err := l.sealEntry(l.state, e)
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
func (l *Log) sealEntry(st *State, e *Entry) ([]byte, error) {
	n := st.N + 1
	payload, err := EncodeEntry(n, st.Hash, e)
	if err != nil {
		return nil, err
	}
	bind := seal.BindLog(l.keys.RepoID(), n, st.Hash)
	body, err := l.keys.SignBody(object.LogEntry, bind, payload)
	if err != nil {
		return nil, fmt.Errorf("log: sign entry: %w", err)
	}
	envelope, err := l.keys.Seal(object.LogEntry, nil, bind, body)
	if err != nil {
		return nil, err
	}
	return appendParity(envelope)
}
