package index

import (
	"encoding/binary"
	"fmt"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/seal"
)

// The columns, in the order in which they lie in the object.
const (
	columnIDs = iota
	columnPlaces
	columnSketches
	columns
)

const clearSize = 4 * columns

// Encode returns s as an object. It sorts s.Blobs.
func Encode(k *seal.Keyring, s *Segment) ([]byte, error) {
	if len(s.Blobs) > MaxBlobs {
		return nil, fmt.Errorf("%w: %d", ErrTooLarge, len(s.Blobs))
	}
	ids, places, sketches, err := EncodeColumns(s)
	if err != nil {
		return nil, err
	}
	// What a reader would refuse must not be written: it would be found when it is needed.
	if _, err := DecodeColumns(ids, places, sketches); err != nil {
		return nil, err
	}
	plains := [columns][]byte{columnIDs: ids, columnPlaces: places, columnSketches: sketches}
	var clear []byte
	size := seal.HeaderSize + clearSize
	for _, p := range plains {
		clear = binary.LittleEndian.AppendUint32(clear, uint32(len(p)+seal.Overhead))
		size += len(p) + seal.Overhead
	}
	env, err := k.NewEnvelope(object.Index, clear, seal.BindRepo(k.RepoID()))
	if err != nil {
		return nil, err
	}
	obj := append(make([]byte, 0, size), env.Header()...)
	for i, p := range plains {
		obj = env.SealPart(obj, uint64(i), p)
	}
	return obj, nil
}

// Decode reads an index segment.
func Decode(k *seal.Keyring, obj []byte) (*Segment, error) {
	o, err := open(k, obj)
	if err != nil {
		return nil, err
	}
	if o.ends[columnSketches] != len(obj) {
		return nil, fmt.Errorf("%w: columns end at %d, object at %d", ErrInvalid, o.ends[columnSketches], len(obj))
	}
	var plains [columns][]byte
	for i := range plains {
		if plains[i], err = o.column(i); err != nil {
			return nil, err
		}
	}
	return DecodeColumns(plains[columnIDs], plains[columnPlaces], plains[columnSketches])
}

// DecodeIDs reads only which blobs an index segment has, ascending, with repetitions. The
// object may end after that column; [IDsEnd] says where.
func DecodeIDs(k *seal.Keyring, obj []byte) ([]object.BlobID, error) {
	o, err := open(k, obj)
	if err != nil {
		return nil, err
	}
	ids, err := o.column(columnIDs)
	if err != nil {
		return nil, err
	}
	if err := checkIDs(ids); err != nil {
		return nil, err
	}
	return pack.SplitIDs(ids)
}

// IDsEnd returns how many bytes of an index segment [DecodeIDs] needs. It needs itself the
// first HeadSize.
func IDsEnd(head []byte) (int64, error) {
	if len(head) < HeadSize {
		return 0, fmt.Errorf("%w: %d bytes", ErrInvalid, len(head))
	}
	return HeadSize + int64(binary.LittleEndian.Uint32(head[seal.HeaderSize:])), nil
}

// HeadSize is the length of the header and the clear part of an index segment.
const HeadSize = seal.HeaderSize + clearSize

// opened is an index segment whose columns can be decrypted.
type opened struct {
	obj  []byte
	env  *seal.Envelope
	ends [columns]int
}

func open(k *seal.Keyring, obj []byte) (*opened, error) {
	if len(obj) < HeadSize {
		return nil, fmt.Errorf("%w: %d bytes", ErrInvalid, len(obj))
	}
	env, err := k.OpenEnvelope(object.Index, seal.BindRepo(k.RepoID()), obj[:HeadSize])
	if err != nil {
		return nil, err
	}
	clear := env.Clear()
	if len(clear) != clearSize {
		return nil, fmt.Errorf("%w: clear part of %d bytes", ErrInvalid, len(clear))
	}
	o := &opened{obj: obj, env: env}
	end := HeadSize
	for i := range o.ends {
		end += int(binary.LittleEndian.Uint32(clear[4*i:]))
		o.ends[i] = end
	}
	return o, nil
}

func (o *opened) column(i int) ([]byte, error) {
	start := HeadSize
	if i > 0 {
		start = o.ends[i-1]
	}
	if o.ends[i] > len(o.obj) {
		return nil, fmt.Errorf("%w: column %d ends at %d, object at %d", ErrInvalid, i, o.ends[i], len(o.obj))
	}
	return o.env.OpenPart(nil, uint64(i), o.obj[start:o.ends[i]])
}
