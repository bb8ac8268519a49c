package local

import (
	"context"
	"errors"
	"iter"
	"os"
	"runtime/debug"
	"sync"

	bolt "go.etcd.io/bbolt"

	"github.com/kura-backup/kura/index"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/seal"
)

// View is what the index was at a Sync: lookups in exactly the index segments that were wanted
// then. It is safe for concurrent use and must be closed.
//
// Packs and origins have numbers in a view, from 0. Numbers may be given that no place uses.
type View struct {
	levels  []*openLevel
	live    bitset // sources
	allLive bool

	mu      sync.Mutex
	idle    []*reader
	readers int // idle and busy
	closed  bool
	err     error
	secrets map[uint32][]byte
}

// maxSecrets bounds the sealed secrets that a view remembers: one for each session met.
const maxSecrets = 4096

func newView(levels []*openLevel, w wanted, nextSource uint32) *View {
	infos := make([]level, len(levels))
	for i, o := range levels {
		infos[i] = o.level
	}
	v := &View{levels: levels, live: w.live(infos, nextSource), allLive: true, secrets: make(map[uint32][]byte)}
	for i := range infos {
		for j := range infos[i].Sources {
			v.allLive = v.allLive && w.has(&infos[i].Sources[j])
		}
	}
	return v
}

// reader is what one lookup at a time needs: a transaction and a cursor for each level.
type reader struct {
	levels  []*openLevel
	txs     []*bolt.Tx
	cursors []*bolt.Cursor
	filters []filter
	key     [idSize]byte // here, so that lookups allocate nothing
	place   sourcedPlace

	sketches   []*bolt.Cursor // nil where a level has none
	feature    [featureSize]byte
	candidates []candidate
}

func (v *View) newReader() (*reader, error) {
	r := &reader{levels: v.levels}
	for _, o := range v.levels {
		err := o.guard(func() error {
			tx, err := o.db.Begin(false)
			if err != nil {
				return err
			}
			r.txs = append(r.txs, tx)
			r.cursors = append(r.cursors, tx.Bucket(bucketBlobs).Cursor())
			f := filter{blocks: o.FilterBlocks}
			c := tx.Bucket(bucketFilter).Cursor()
			for k, v := c.First(); k != nil; k, v = c.Next() {
				f.chunks = append(f.chunks, v)
			}
			if !f.valid() {
				return o.damaged("filter")
			}
			r.filters = append(r.filters, f)
			r.sketches = append(r.sketches, nil)
			if o.Sketches > 0 {
				r.sketches[len(r.sketches)-1] = tx.Bucket(bucketSketches).Cursor()
			}
			return nil
		})
		if err != nil {
			r.close()
			return nil, err
		}
	}
	return r, nil
}

func (r *reader) close() {
	for _, tx := range r.txs {
		_ = tx.Rollback()
	}
}

// take returns a reader that is not in use, or an error.
func (v *View) take() (*reader, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return nil, ErrClosed
	}
	if n := len(v.idle); n > 0 {
		r := v.idle[n-1]
		v.idle = v.idle[:n-1]
		return r, nil
	}
	r, err := v.newReader()
	if err == nil {
		v.readers++
	}
	return r, err
}

// put gives a reader back. The last one of a closed view closes the files.
func (v *View) put(r *reader) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.closed {
		v.idle = append(v.idle, r)
		return
	}
	r.close()
	if v.readers--; v.readers == 0 {
		_ = closeAll(v.levels)
	}
}

// Close releases the files. What is running finishes first.
func (v *View) Close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return nil
	}
	v.closed = true
	for _, r := range v.idle {
		r.close()
	}
	v.readers -= len(v.idle)
	v.idle = nil
	if v.readers > 0 {
		return nil
	}
	return closeAll(v.levels)
}

// Err returns the first damage that was met, or [ErrClosed] after a Lookup in a closed view, or
// nil. If it is not nil, a Lookup may have missed places. After damage, a Sync gives a view
// that is whole.
func (v *View) Err() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.err
}

// fail remembers an error. The name of a damaged file is removed, so that it is built again.
func (v *View) fail(err error) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	var damage *DamagedError
	if errors.As(err, &damage) {
		for _, o := range v.levels {
			if o.name() == damage.File {
				_ = os.Remove(o.path)
			}
		}
	}
	if v.err == nil && (damage != nil || errors.Is(err, ErrClosed)) {
		v.err = err
	}
	return err
}

// Lookup appends all places of a blob to dst. If there are none the blob is not in the index,
// unless Err says otherwise.
func (v *View) Lookup(id object.BlobID, dst []Place) []Place {
	r, err := v.take()
	if err != nil {
		_ = v.fail(err)
		return dst
	}
	defer v.put(r)
	r.key = id
	dst, bad := r.lookup(v, dst)
	if bad >= 0 {
		_ = v.fail(v.levels[bad].damaged("a lookup failed"))
	}
	return dst
}

// lookup looks for r.key. It returns the number of a level that is damaged, or -1. It guards
// itself, as [level.guard] does, for all levels at once.
func (r *reader) lookup(v *View, dst []Place) (out []Place, bad int) {
	at := 0
	out = dst
	defer unguard(debug.SetPanicOnFault(true), &at, &bad)
	bad = -1
	var seen placeSet
	for ; at < len(r.cursors); at++ {
		if !r.filters[at].mayHave(r.key[:]) {
			continue
		}
		k, value := r.cursors[at].Seek(r.key[:])
		if len(k) != idSize || object.BlobID(k) != r.key {
			continue
		}
		var ok bool
		if out, ok = v.appendPlaces(out, len(dst), value, &r.place, &seen); !ok {
			bad = at
		}
	}
	return out, bad
}

// unguard is deferred by what looks into several levels, with what SetPanicOnFault was before: of one that a panic or a
// fault shows to be damaged it keeps the number.
func unguard(old bool, at, bad *int) {
	debug.SetPanicOnFault(old)
	if recover() != nil {
		*bad = *at
	}
}

// appendPlaces decodes the living places. The same place is in two index segments while one
// replaces the other; it is not given twice after out[from:], which seen has met.
func (v *View) appendPlaces(out []Place, from int, value []byte, p *sourcedPlace, seen *placeSet) (_ []Place, ok bool) {
	reader := placeReader{rest: value}
	for reader.next(p) {
		if v.allLive || v.live.has(p.source) {
			if !seen.has(out[from:], &p.Place) {
				out = append(out, p.Place)
			}
		}
	}
	return out, !reader.bad
}

// NumPacks returns how many numbers of packs are given.
func (v *View) NumPacks() int {
	if len(v.levels) == 0 {
		return 0
	}
	return int(v.levels[len(v.levels)-1].Packs.end())
}

// NumOrigins returns how many numbers of origins are given.
func (v *View) NumOrigins() int {
	if len(v.levels) == 0 {
		return 0
	}
	return int(v.levels[len(v.levels)-1].Origins.end())
}

// Pack returns the pack with a number.
func (v *View) Pack(n uint32) (index.PackRef, error) {
	o, record, err := v.record(n, bucketPacks, func(l *level) numbers { return l.Packs })
	if err != nil {
		return index.PackRef{}, err
	}
	p, ok := decodePack(record)
	if !ok {
		return index.PackRef{}, v.fail(o.damaged("pack %d", n))
	}
	return p, nil
}

// Packs goes through all packs, in the order of their numbers: quicker than Pack for each. An
// error ends it.
func (v *View) Packs(ctx context.Context) iter.Seq2[index.PackRef, error] {
	return func(yield func(index.PackRef, error) bool) {
		r, err := v.take() // keeps the files open
		if err != nil {
			yield(index.PackRef{}, err)
			return
		}
		defer v.put(r)
		n := 0
		err = mergeBuckets(ctx, v.levels, bucketPacks, func(key, record []byte) error {
			p, ok := decodePack(record)
			if !ok || string(key) != string(numberKey(uint32(n))) {
				return v.levels[0].damaged("pack %d", n)
			}
			if n++; !yield(p, nil) {
				return errStop
			}
			return nil
		})
		if err == nil && n != v.NumPacks() {
			err = v.levels[0].damaged("%d packs of %d", n, v.NumPacks())
		}
		if err != nil && !errors.Is(err, errStop) {
			yield(index.PackRef{}, v.fail(err))
		}
	}
}

// Origin returns the origin with a number. It is the caller's; its Sealed is shared and must not
// be changed.
func (v *View) Origin(n uint32) (*seal.Origin, error) {
	l, record, err := v.record(n, bucketOrigins, func(l *level) numbers { return l.Origins })
	if err != nil {
		return nil, err
	}
	o, secret, ok := decodeOrigin(record)
	if !ok {
		return nil, v.fail(l.damaged("origin %d", n))
	}
	o.Sealed, err = v.secret(secret)
	return o, err
}

func (v *View) secret(n uint32) ([]byte, error) {
	v.mu.Lock()
	s := v.secrets[n]
	v.mu.Unlock()
	if s != nil {
		return s, nil
	}
	_, s, err := v.record(n, bucketSecrets, func(l *level) numbers { return l.Secrets })
	if err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.secrets) >= maxSecrets {
		clear(v.secrets)
	}
	v.secrets[n] = s
	return s, nil
}

// record returns the record of a number from the level that introduced it.
func (v *View) record(n uint32, bucket []byte, span func(*level) numbers) (*openLevel, []byte, error) {
	r, err := v.take() // keeps the files open
	if err != nil {
		return nil, nil, err
	}
	defer v.put(r)
	for _, o := range v.levels {
		if !span(&o.level).contains(n) {
			continue
		}
		record, err := o.get(bucket, numberKey(n))
		if err == nil && record == nil {
			err = o.damaged("no %d in %s", n, bucket)
		}
		if err != nil {
			return nil, nil, v.fail(err)
		}
		return o, record, nil
	}
	return nil, nil, ErrNumber
}

// Entry is a blob with all its places.
type Entry struct {
	ID     object.BlobID
	Places []Place
}

// All goes through all blobs, in the order of their ids. The places are only valid until the
// next step. An error ends it.
func (v *View) All(ctx context.Context) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		r, err := v.take() // keeps the files open
		if err != nil {
			yield(Entry{}, err)
			return
		}
		defer v.put(r)
		var e Entry
		var p sourcedPlace
		err = mergeBuckets(ctx, v.levels, bucketBlobs, func(id, values []byte) error {
			if len(id) != idSize {
				return v.levels[0].damaged("blob id of %d bytes", len(id))
			}
			e.ID = object.BlobID(id)
			var ok bool
			var seen placeSet
			if e.Places, ok = v.appendPlaces(e.Places[:0], 0, values, &p, &seen); !ok {
				return v.levels[0].damaged("places of %v", e.ID)
			}
			if len(e.Places) > 0 && !yield(e, nil) {
				return errStop
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStop) {
			yield(Entry{}, v.fail(err))
		}
	}
}

// Verify reads all files and compares them with the hashes of what was written. After it
// returned nil, what the view does not have is not in the index, but for a machine that errs.
func (v *View) Verify(ctx context.Context) error {
	r, err := v.take() // keeps the files open
	if err != nil {
		return err
	}
	defer v.put(r)
	for _, o := range v.levels {
		if err := o.verify(ctx); err != nil {
			return v.fail(err)
		}
	}
	return v.Err()
}
