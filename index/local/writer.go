package local

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"path/filepath"

	"github.com/zeebo/blake3"
	bolt "go.etcd.io/bbolt"

	"github.com/kura-backup/kura/internal/durable"
	"github.com/kura-backup/kura/internal/object"
)

const (
	keysPerTx   = 32768
	bytesPerTx  = 2 << 20 // of values
	fillPercent = 0.95

	// What a level takes at least is mapped from the beginning: when bbolt maps a larger part of the file, which is twice as
	// large each time, it copies each key and value of the transaction one by one. The file does not become larger by it.
	leastEntry  = uint64(idSize) + 16 // bbolt's own 16 bytes for each key
	maxFirstMap = 256 << 20           // from there on there is not much to be gained

	buildPrefix = "build-"
	spillPrefix = "spill-"
	levelPrefix = "level-"
)

func randomName(prefix string) string {
	var r [8]byte
	rand.Read(r[:]) // never fails
	return prefix + hex.EncodeToString(r[:])
}

// writer writes one level: bucket after bucket, each in ascending order of its keys.
type writer struct {
	ctx   context.Context
	dir   durable.FS
	path  string // of the folder
	name  string // the temporary one
	level level

	db     *bolt.DB
	tx     *bolt.Tx
	bucket *bolt.Bucket
	in     []byte // name of the bucket
	last   []byte // key put last
	keys   int    // in the transaction
	arena  []byte // values of the transaction: bbolt keeps references to them
	filter *filterWriter
}

// newWriter begins a level of at most so many ids.
func newWriter(ctx context.Context, dir durable.FS, path string, l level, ids uint64) (*writer, error) {
	w := &writer{ctx: ctx, dir: dir, path: path, name: randomName(buildPrefix), level: l}
	rand.Read(w.level.ID[:])
	w.level.FilterBlocks = filterBlocks(ids)
	w.filter = newFilterWriter(ids, w.putFilter)
	var err error
	w.db, err = bolt.Open(filepath.Join(path, w.name), 0o600, &bolt.Options{
		NoSync: true, NoGrowSync: true, NoFreelistSync: true, NoStatistics: true,
		FreelistType: bolt.FreelistMapType, Timeout: flockWait,
		InitialMmapSize: int(min(ids*leastEntry, maxFirstMap)),
	})
	if err != nil {
		return nil, fmt.Errorf("local index: %w", err)
	}
	err = w.begin(bucketMeta)
	if err == nil {
		err = w.put(metaID, w.level.ID[:])
	}
	if err != nil {
		w.discard()
		return nil, err
	}
	return w, nil
}

// begin starts the next bucket.
func (w *writer) begin(bucket []byte) error {
	w.in, w.last = bucket, w.last[:0]
	if w.tx == nil {
		return w.beginTx()
	}
	return w.openBucket()
}

func (w *writer) beginTx() error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	var err error
	if w.tx, err = w.db.Begin(true); err != nil {
		return fmt.Errorf("local index: %w", err)
	}
	w.keys, w.arena = 0, w.arena[:0]
	return w.openBucket()
}

func (w *writer) openBucket() error {
	var err error
	if w.bucket, err = w.tx.CreateBucketIfNotExists(w.in); err != nil {
		return fmt.Errorf("local index: %w", err)
	}
	w.bucket.FillPercent = fillPercent
	return nil
}

// put appends to the bucket. Nothing of key and value is kept.
func (w *writer) put(key, value []byte) error {
	if len(w.last) > 0 && bytes.Compare(w.last, key) >= 0 {
		return fmt.Errorf("local index: %w: key %x of %s after %x", errOrder, key, w.in, w.last)
	}
	w.last = append(w.last[:0], key...)
	start := len(w.arena)
	w.arena = append(w.arena, value...)
	if err := w.bucket.Put(key, w.arena[start:len(w.arena):len(w.arena)]); err != nil {
		return fmt.Errorf("local index: %w", err)
	}
	if w.keys++; w.keys < keysPerTx && len(w.arena) < bytesPerTx {
		return nil
	}
	if err := w.commit(); err != nil {
		return err
	}
	return w.beginTx()
}

// putBlob appends to the bucket of blobs.
func (w *writer) putBlob(id, places []byte) error {
	w.level.Blobs++
	if err := w.filter.add(id); err != nil {
		return err
	}
	return w.put(id, places)
}

// putSketches appends to the bucket of sketches.
func (w *writer) putSketches(key, block []byte) error {
	w.level.Sketches += uint64(len(block) / entrySize)
	return w.put(key, block)
}

// endBlobs completes the filter after the last blob.
func (w *writer) endBlobs() error { return w.filter.finish() }

// putFilter stores a chunk of the filter, in between the blobs.
func (w *writer) putFilter(number uint32, chunk []byte) error {
	b, err := w.tx.CreateBucketIfNotExists(bucketFilter)
	if err == nil {
		b.FillPercent = fillPercent
		err = b.Put(numberKey(number), chunk)
	}
	if err != nil {
		return fmt.Errorf("local index: %w", err)
	}
	return nil
}

func (w *writer) commit() error {
	tx := w.tx
	w.tx, w.bucket = nil, nil
	if tx == nil {
		return nil
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("local index: %w", err)
	}
	return nil
}

// finish gives the level its name. The manifest is not touched.
func (w *writer) finish() (level, error) {
	err := w.commit()
	if cerr := w.db.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("local index: %w", cerr)
	}
	w.db = nil
	if err == nil {
		err = w.seal()
	}
	if err != nil {
		w.discard()
		return level{}, err
	}
	return w.level, nil
}

func (w *writer) seal() error {
	f, err := w.dir.Open(w.name)
	if err != nil {
		return fmt.Errorf("local index: %w", err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("local index: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("local index: %w", err)
	}
	w.level.Size = info.Size()
	if w.level.Hash, err = hashFile(w.ctx, f, w.level.Size); err != nil {
		return err
	}
	if err := w.dir.Rename(w.name, w.level.name()); err != nil {
		return fmt.Errorf("local index: %w", err)
	}
	return nil
}

// discard removes what was written so far.
func (w *writer) discard() {
	if w.tx != nil {
		_ = w.tx.Rollback()
	}
	if w.db != nil {
		_ = w.db.Close()
	}
	w.tx, w.db = nil, nil
	_ = w.dir.Unlink(w.name)
}

func hashFile(ctx context.Context, f io.ReaderAt, size int64) (object.Hash, error) {
	h := blake3.New()
	buf := make([]byte, min(size, 1<<20))
	for at := int64(0); at < size; {
		if err := ctx.Err(); err != nil {
			return object.Hash{}, err
		}
		n, err := f.ReadAt(buf[:min(int64(len(buf)), size-at)], at)
		if n == 0 {
			return object.Hash{}, fmt.Errorf("local index: %w", err)
		}
		h.Write(buf[:n])
		at += int64(n)
	}
	var sum object.Hash
	h.Sum(sum[:0])
	return sum, nil
}
