package rdb

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"
)

// output is a file that is being written.
type output struct {
	w   *bufio.Writer
	sum uint64
}

// Write is of io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.sum = update(o.sum, p)
	return o.w.Write(p)
}

// canon writes the canonical form of a file.
type canon struct {
	f     *File
	out   *bufio.Writer // in front of the checksum
	exact *exact        // nil if only the same data is wanted
	buf   []byte
	n     uint64 // records written

	s     scanner
	r     io.ReaderAt // with the record
	whole []byte
	small *sorter // of the members of records that are read at once; nil until it is needed
	large *sorter // and of others
}

// Write writes the canonical form. What it writes is read again at once, and Write fails if that is not the same data: the
// file may have been changed since Examine.
func (f *File) Write(w io.Writer) error { return f.checked(w, nil) }

// checked reads what is written while it is, and compares the digests.
func (f *File) checked(w io.Writer, x *exact) error {
	r, pw := io.Pipe()
	var digest uint64
	var group errgroup.Group
	group.Go(func() error {
		var err error
		digest, err = f.digestOf(r)
		r.CloseWithError(err) // the writer need not go on
		return err
	})
	err := f.write(io.MultiWriter(w, pw), x)
	pw.CloseWithError(err) // nil is the end of the file
	if bad := group.Wait(); err == nil {
		err = bad
	}
	if err == nil && digest != f.digest {
		err = ErrChanged
	}
	return err
}

// digestOf reads a file to its end.
func (f *File) digestOf(in io.Reader) (uint64, error) {
	r, err := NewReader(in)
	if err != nil {
		return 0, err
	}
	r.listen(f.seed)
	for {
		if _, err := r.Next(); errors.Is(err, io.EOF) {
			return r.digest, nil
		} else if err != nil {
			return 0, err
		}
	}
}

func (f *File) write(w io.Writer, x *exact) error {
	o := &output{w: bufio.NewWriterSize(w, bufferSize)}
	c := &canon{f: f, out: bufio.NewWriterSize(o, bufferSize), exact: x, buf: make([]byte, bufferSize)}
	if err := c.sections(append([]section{{start: 0, end: headerSize}}, f.begin...)); err != nil {
		return err
	}
	if x != nil {
		if err := x.begin(f); err != nil {
			return err
		}
	}
	if err := c.records(); err != nil {
		return err
	}
	if x != nil {
		if err := x.end(); err != nil {
			return err
		}
	}
	if err := c.sections(f.end); err != nil {
		return err
	}
	if err := c.out.WriteByte(opEOF); err != nil {
		return err
	}
	if err := c.out.Flush(); err != nil { // the checksum is of what was written
		return err
	}
	if f.Info.Version >= firstWithSum {
		if _, err := o.w.Write(binary.LittleEndian.AppendUint64(nil, o.sum)); err != nil {
			return err
		}
	}
	return o.w.Flush()
}

func (c *canon) sections(list []section) error {
	for _, s := range list {
		if err := c.copy(c.f.r, s.start, s.end-s.start); err != nil {
			return err
		}
	}
	return nil
}

// copy writes a part of what r has.
func (c *canon) copy(r io.ReaderAt, off, size int64) error {
	if p, ok := r.(held); ok {
		_, err := c.out.Write(p.b[off-p.off : off-p.off+size])
		return err
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{c.out}, struct{ io.Reader }{io.NewSectionReader(r, off, size)}, c.buf)
	if err == nil && n < size {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// records writes the records, in as many passes over the file as there has to be.
func (c *canon) records() error {
	current := -1 // database
	for {
		entries, more := c.f.keys.sorted()
		for _, e := range entries {
			if int(e.group) != current {
				current = int(e.group)
				if err := c.database(uint32(e.group)); err != nil {
					return err
				}
			}
			if err := c.record(e); err != nil {
				return err
			}
			c.n++
		}
		if !more {
			break
		}
		c.f.keys.again()
		if err := c.f.rescan(); err != nil {
			return err
		}
	}
	if c.n != c.f.total {
		return fmt.Errorf("rdb: %d of %d keys were written", c.n, c.f.total)
	}
	return nil
}

// rescan reads the file once more. That it is what it was the first time has to be shown by who reads what was written.
func (f *File) rescan() error {
	in, err := newReader(io.NewSectionReader(f.r, 0, f.size), false)
	if err != nil {
		return err
	}
	total := f.total
	if err := f.scan(in, nil); err != nil {
		return err
	}
	if f.total != total {
		return ErrChanged
	}
	return nil
}

func (c *canon) database(n uint32) error {
	head := appendLength([]byte{opSelect}, uint64(n))
	if c.f.Info.Valkey || c.f.Info.Version >= firstWithHint {
		for _, d := range c.f.Info.Databases {
			if d.Database == n {
				head = appendLength(append(head, opResize), d.Keys)
				head = appendLength(head, d.Expiring)
			}
		}
	}
	_, err := c.out.Write(head)
	return err
}

const firstWithHint = 7 // version

// appendLength appends a length as servers write it.
func appendLength(p []byte, n uint64) []byte {
	switch {
	case n < 1<<6:
		return append(p, byte(n))
	case n < 1<<14:
		return append(p, 0x40|byte(n>>8), byte(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(p, 0x80), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(p, 0x81), n)
}
