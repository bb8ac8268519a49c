package local

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/kura-backup/kura/internal/object"
)

// The buckets of a level.
var (
	bucketMeta      = []byte("meta")
	bucketBlobs     = []byte("blobs")
	bucketFilter    = []byte("filter")
	bucketPacks     = []byte("packs")
	bucketPackRefs  = []byte("packrefs")
	bucketOrigins   = []byte("origins")
	bucketOriginIDs = []byte("originids")
	bucketSecrets   = []byte("secrets")
	bucketSecretIDs = []byte("secretids")
	bucketSketches  = []byte("sketches")

	metaID = []byte("id")
)

// flockWait is how long bbolt may wait for its shared lock. Nothing holds the exclusive one of
// a finished level, so any waiting means that the file is not ours.
const flockWait = time.Second

// DamagedError says that a file of the local index is not as it was written. It wraps
// [ErrDamaged]. The repository is not concerned.
type DamagedError struct {
	File   string
	Reason string
}

func (e *DamagedError) Error() string { return fmt.Sprintf("%v: %s: %s", ErrDamaged, e.File, e.Reason) }

// Unwrap returns [ErrDamaged].
func (e *DamagedError) Unwrap() error { return ErrDamaged }

func (l *level) damaged(format string, args ...any) error {
	return &DamagedError{File: l.name(), Reason: fmt.Sprintf(format, args...)}
}

// guard runs fn, which reads pages of the level. bbolt trusts its files: on a damaged one it
// panics, and the memory it maps faults where a file was cut off or a disk fails. Both become
// an error. fn must contain nothing but the access.
func (l *level) guard(fn func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(old)
		if r := recover(); r != nil {
			err = l.damaged("%v", r)
		}
	}()
	return fn()
}

// openLevel is a level whose file is open. It is safe for concurrent use.
type openLevel struct {
	level
	path string
	file *os.File // the one that db has open
	db   *bolt.DB
}

// open opens the file of a level. The error matches fs.ErrNotExist when there is none and
// ErrDamaged when it is not the one that was written.
func (l *level) open(dir string) (*openLevel, error) {
	o := &openLevel{level: *l, path: filepath.Join(dir, l.name())}
	info, err := os.Stat(o.path)
	if err != nil {
		return nil, fmt.Errorf("local index: %w", err)
	}
	if info.Size() != l.Size {
		return nil, l.damaged("%d bytes, want %d", info.Size(), l.Size)
	}
	if err := l.verifyFirst(o.path); err != nil {
		return nil, err
	}
	err = l.guard(func() error {
		var err error
		o.db, err = bolt.Open(o.path, 0, &bolt.Options{
			ReadOnly: true, Timeout: flockWait, NoStatistics: true,
			OpenFile: func(name string, flag int, perm os.FileMode) (f *os.File, err error) {
				f, err = os.OpenFile(name, flag, perm)
				o.file = f
				return f, err
			},
		})
		if err != nil {
			return err
		}
		return o.db.View(func(tx *bolt.Tx) error {
			for _, name := range [][]byte{bucketMeta, bucketBlobs, bucketFilter, bucketPacks, bucketPackRefs, bucketOrigins, bucketOriginIDs, bucketSecrets, bucketSecretIDs, bucketSketches} {
				if tx.Bucket(name) == nil {
					return l.damaged("no bucket %s", name)
				}
			}
			if string(tx.Bucket(bucketMeta).Get(metaID)) != string(l.ID[:]) {
				return l.damaged("another file under this name")
			}
			return nil
		})
	})
	if err == nil {
		return o, nil
	}
	if o.db != nil {
		_ = o.db.Close()
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrDamaged) || errors.Is(err, fs.ErrPermission) {
		return nil, err
	}
	return nil, l.damaged("%v", err)
}

// verifyFirst compares a file that is not too large with the hash of what was written, before bbolt sees it. bbolt
// makes slices of what pages say, and where they lie in no memory of ours Go's collector may end the
// process, which guard can not prevent: a run would die of the same flipped bit again and again.
func (l *level) verifyFirst(path string) error {
	if l.Size > verifiedSize {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("local index: %w", err)
	}
	defer f.Close()
	return l.verify(context.Background(), f)
}

// verifiedSize is the most bytes that a file has that is read as a whole whenever it is opened: a few hundredths of
// a second, for some half a million blobs.
const verifiedSize = 64 << 20

func (o *openLevel) close() error { return o.db.Close() }

// get returns a copy of a value, or nil. It opens a transaction and is not for the hot path.
func (o *openLevel) get(bucket, key []byte) (value []byte, err error) {
	err = o.guard(func() error {
		return o.db.View(func(tx *bolt.Tx) error {
			if v := tx.Bucket(bucket).Get(key); v != nil {
				value = append(make([]byte, 0, len(v)), v...)
			}
			return nil
		})
	})
	return value, err
}

// numberKey is the key under which a numbered thing lies.
func numberKey(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

// openAll opens the levels. On an error it returns those before the one that failed.
func openAll(dir string, levels []level) ([]*openLevel, error) {
	var out []*openLevel
	for i := range levels {
		o, err := levels[i].open(dir)
		if err != nil {
			return out, err
		}
		out = append(out, o)
	}
	return out, nil
}

func closeAll(levels []*openLevel) error {
	var errs []error
	for _, o := range levels {
		errs = append(errs, o.close())
	}
	return errors.Join(errs...)
}

// wanted is a set of index segments.
type wanted map[object.Ref]struct{}

func wantedOf(refs []object.Ref) wanted {
	w := make(wanted, len(refs))
	for _, r := range refs {
		w[r] = struct{}{}
	}
	return w
}

func (w wanted) has(s *source) bool {
	_, ok := w[s.ref()]
	return ok
}

// missing returns what of w no level contains, in the order of refs.
func (w wanted) missing(refs []object.Ref, levels []level) []object.Ref {
	have := make(wanted)
	for i := range levels {
		for j := range levels[i].Sources {
			have[levels[i].Sources[j].ref()] = struct{}{}
		}
	}
	var out []object.Ref
	for _, r := range refs {
		if _, ok := have[r]; !ok {
			have[r] = struct{}{} // refs may repeat
			out = append(out, r)
		}
	}
	return out
}

// bitset is a set of the numbers of sources.
type bitset []uint64

func (b bitset) has(n uint32) bool { return int(n/64) < len(b) && b[n/64]&(1<<(n%64)) != 0 }

// live returns the numbers of the wanted sources, for which next is too large.
func (w wanted) live(levels []level, next uint32) bitset {
	b := make(bitset, next/64+1)
	for i := range levels {
		for j := range levels[i].Sources {
			if s := &levels[i].Sources[j]; w.has(s) {
				b[s.Number/64] |= 1 << (s.Number % 64)
			}
		}
	}
	return b
}

// verify compares the open file, whatever its name means by now, with the hash of what was written.
func (o *openLevel) verify(ctx context.Context) error { return o.level.verify(ctx, o.file) }

func (l *level) verify(ctx context.Context, f *os.File) error {
	sum, err := hashFile(ctx, f, l.Size)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return l.damaged("%v", err)
	}
	if sum != l.Hash {
		return l.damaged("the content is not what was written")
	}
	return nil
}
