package rdb

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
)

// What the canonical form does not say about a file is in two others. The order says of each record, in canonical order, the
// how manieth it was, in as few bits as all of them need. Of the apart
//
//	magic ‖ uvarint records ‖ uvarint stretches ‖ { uvarint records since the last one ‖ uvarint length ‖ bytes }
//	{ uvarint records since the last one + 1 ‖ uvarint length ‖ flags ‖ [ byte length ‖ prefix ] ‖ [ order of members ] } ‖ 0
//
// the stretches are all bytes that are in no record, and the others are records with something in front that the canonical form
// has not, or with members in another order. docs/redis.md has all of it.
const apartMagic = "kura redis apart 1\n"

const (
	flagPrefix  = 1
	flagMembers = 2
)

// exact writes them.
type exact struct {
	order, apart *bufio.Writer
	keys         bitWriter
	parts        bitWriter
	width        int // of ordinals of keys
	partWidth    int
	since        uint64 // records without anything apart
}

// WriteExact writes the canonical form, and what Restore needs besides.
func (f *File) WriteExact(w, order, apart io.Writer) error {
	x := &exact{order: bufio.NewWriterSize(order, bufferSize), apart: bufio.NewWriterSize(apart, bufferSize)}
	x.keys.w, x.parts.w = x.order, x.apart
	x.width = widthOf(f.total)
	return f.checked(w, x)
}

func (x *exact) begin(f *File) error {
	head := binary.AppendUvarint([]byte(apartMagic), f.total)
	head = binary.AppendUvarint(head, uint64(len(f.between)))
	if _, err := x.apart.Write(head); err != nil {
		return err
	}
	last := uint64(0)
	for _, s := range f.between {
		head = binary.AppendUvarint(head[:0], s.before-last)
		head = binary.AppendUvarint(head, uint64(s.end-s.start))
		last = s.before
		if _, err := x.apart.Write(head); err != nil {
			return err
		}
		if n, err := io.Copy(x.apart, io.NewSectionReader(f.r, s.start, s.end-s.start)); err != nil || n < s.end-s.start {
			return shortRead(err)
		}
	}
	return nil
}

// record notes a record with so many members in an order of their own.
func (x *exact) record(ord uint64, p prefix, n uint64) error {
	x.parts.pad()
	x.keys.put(ord, x.width)
	flags := byte(0)
	size := uint64(1)
	if !bytes.Equal(p.all, p.keep) {
		flags |= flagPrefix
		size += 1 + uint64(len(p.all))
	}
	if n > 1 {
		flags |= flagMembers
		size += packedSize(n)
	}
	if flags == 0 {
		x.since++
		return nil
	}
	head := binary.AppendUvarint(nil, x.since+1)
	x.since = 0
	head = append(binary.AppendUvarint(head, size), flags)
	if flags&flagPrefix != 0 {
		head = append(append(head, byte(len(p.all))), p.all...)
	}
	x.partWidth = widthOf(n)
	_, err := x.apart.Write(head)
	return err
}

func (x *exact) member(ord uint64) { x.parts.put(ord, x.partWidth) }

func (x *exact) end() error {
	x.parts.pad()
	x.keys.pad()
	if err := x.apart.WriteByte(0); err != nil {
		return err
	}
	if err := x.apart.Flush(); err != nil {
		return err
	}
	return x.order.Flush()
}
