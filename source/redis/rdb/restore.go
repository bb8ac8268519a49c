package rdb

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
)

// ErrParts says that an order and an apart do not belong to a file.
var ErrParts = errors.New("rdb: the parts of the file do not belong together")

// place is where a record or member is in the canonical form, and what is apart of it.
type place struct {
	off, size int64
	apart     int64 // 0 if there is nothing
}

const placeSize = 24

// restorer makes the original.
type restorer struct {
	canon, order, apart *io.SectionReader
	out                 *bufio.Writer
	valkey              bool
	total               uint64
	stretches           []stretch // where they are in the apart
	rest                int64     // of the apart, behind the stretches
	window              uint64    // places that there is memory for
	keys, parts         []place
	buf                 []byte
	s                   scanner
	short               bufio.Reader
}

// Restore makes the original of what WriteExact has written, in about as much memory as it is told to use.
func Restore(canon, order, apart *io.SectionReader, w io.Writer, memory int) error {
	r := &restorer{canon: canon, order: order, apart: apart, out: bufio.NewWriterSize(w, bufferSize), buf: make([]byte, bufferSize)}
	r.window = uint64(max(memory, leastMemory) / 2 / placeSize)
	if err := r.head(); err != nil {
		return err
	}
	for lo := uint64(0); lo == 0 || lo < r.total; lo += r.window {
		if err := r.pass(lo, min(lo+r.window, r.total)); err != nil {
			return err
		}
	}
	if err := r.between(r.total); err != nil {
		return err
	}
	if len(r.stretches) > 0 {
		return ErrParts
	}
	return r.out.Flush()
}

// counter counts bytes.
type counter struct {
	r *bufio.Reader
	n int64
}

func (c *counter) ReadByte() (byte, error) {
	b, err := c.r.ReadByte()
	if err == nil {
		c.n++
	}
	return b, err
}

func (c *counter) number() (uint64, error) {
	n, err := binary.ReadUvarint(c)
	if err != nil {
		return 0, parts(err)
	}
	return n, nil
}

func (c *counter) skip(n uint64) error {
	for n > 0 {
		step := min(n, 1<<20)
		got, err := c.r.Discard(int(step))
		c.n += int64(got)
		n -= uint64(got)
		if err != nil {
			return parts(err)
		}
	}
	return nil
}

// parts is what the end of a part means, or a number that is none; an error of who reads stays what it is.
func parts(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrParts
	}
	return err
}

func (r *restorer) open(part *io.SectionReader, off int64) *counter {
	return &counter{bufio.NewReaderSize(io.NewSectionReader(part, off, max(part.Size()-off, 0)), 64<<10), off}
}

// openShort is for what is apart of one record.
func (r *restorer) openShort(off int64) *counter {
	r.short.Reset(io.NewSectionReader(r.apart, off, max(r.apart.Size()-off, 0)))
	return &counter{&r.short, off}
}

// head reads where the stretches are.
func (r *restorer) head() error {
	in := r.open(r.apart, 0)
	magic := make([]byte, len(apartMagic))
	if _, err := io.ReadFull(in.r, magic); err != nil || string(magic) != apartMagic {
		return errors.Join(ErrParts, parts(err))
	}
	in.n = int64(len(magic))
	var n uint64
	for _, p := range []*uint64{&r.total, &n} {
		var err error
		if *p, err = in.number(); err != nil {
			return err
		}
	}
	if n > maxSections+2 || r.total > uint64(r.canon.Size()) {
		return ErrParts
	}
	at := uint64(0)
	for range n {
		since, err := in.number()
		if err != nil {
			return err
		}
		size, err := in.number()
		if err != nil {
			return err
		}
		at += since
		s := stretch{at, in.n, in.n + int64(size)}
		if at > r.total || since > r.total || size > uint64(r.apart.Size()) {
			return ErrParts
		}
		if err := in.skip(size); err != nil {
			return err
		}
		r.stretches = append(r.stretches, s)
	}
	r.rest = in.n
	return nil
}

// between writes the stretches in front of a record.
func (r *restorer) between(before uint64) error {
	for len(r.stretches) > 0 && r.stretches[0].before <= before {
		s := r.stretches[0]
		r.stretches = r.stretches[1:]
		if err := r.copy(r.apart, s.start, s.end-s.start); err != nil {
			return err
		}
	}
	return nil
}

func (r *restorer) copy(from io.ReaderAt, off, size int64) error {
	if size <= int64(len(r.buf)) {
		n, err := from.ReadAt(r.buf[:size], off)
		if int64(n) == size {
			_, err = r.out.Write(r.buf[:size])
		} else if err == nil || errors.Is(err, io.EOF) {
			err = ErrParts
		}
		return err
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{r.out}, struct{ io.Reader }{io.NewSectionReader(from, off, size)}, r.buf)
	if err == nil && n < size {
		err = ErrParts
	}
	return err
}

// pass writes the records from the how manieth to the how manieth.
func (r *restorer) pass(lo, hi uint64) error {
	if err := r.find(lo, hi); err != nil {
		return err
	}
	for i, p := range r.keys {
		if p.size == 0 {
			return ErrParts
		}
		if err := r.between(lo + uint64(i)); err != nil {
			return err
		}
		if err := r.record(p); err != nil {
			return err
		}
	}
	return nil
}

// find finds where those records are.
func (r *restorer) find(lo, hi uint64) error {
	r.keys = append(r.keys[:0], make([]place, hi-lo)...)
	in, err := newReader(io.NewSectionReader(r.canon, 0, r.canon.Size()), lo == 0)
	if err != nil {
		return err
	}
	r.valkey = in.valkey
	ords := bitReader{r: r.open(r.order, 0)}
	width := widthOf(r.total)
	apart := &extras{in: r.open(r.apart, r.rest)}
	if err := apart.next(); err != nil {
		return err
	}
	n := uint64(0)
	for {
		it, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if it.Kind != Record {
			continue
		}
		ord, err := ords.get(width)
		if err != nil {
			return parts(err)
		}
		p := place{off: it.Start, size: it.End - it.Start}
		if p.apart, err = apart.of(); err != nil {
			return err
		}
		if ord >= lo && ord < hi {
			r.keys[ord-lo] = p
		}
		n++
	}
	if n != r.total || !apart.ended {
		return ErrParts
	}
	return nil
}

// extras goes through what is apart of records.
type extras struct {
	in    *counter
	since uint64
	at    int64 // where the next one is
	size  uint64
	ended bool
}

func (e *extras) next() error {
	since, err := e.in.number()
	if err != nil {
		return err
	}
	if since == 0 {
		e.ended = true
		return nil
	}
	e.since = since - 1
	e.size, err = e.in.number()
	e.at = e.in.n
	return err
}

// of returns what is apart of the next record, or 0.
func (e *extras) of() (at int64, err error) {
	if e.ended {
		return 0, nil
	}
	if e.since > 0 {
		e.since--
		return 0, nil
	}
	at = e.at
	if err := e.in.skip(e.size); err != nil {
		return 0, err
	}
	return at, e.next()
}

// record writes a record as it was.
func (r *restorer) record(p place) error {
	if p.apart == 0 {
		return r.copy(r.canon, p.off, p.size)
	}
	in := r.openShort(p.apart)
	flags, err := in.ReadByte()
	if err != nil {
		return parts(err)
	}
	r.s.reset(io.NewSectionReader(r.canon, p.off, p.size), p.off)
	own, typ := readPrefix(&r.s)
	if r.s.err != nil {
		return r.s.err
	}
	body := r.s.at() - 1
	if flags&flagPrefix != 0 {
		n, err := in.ReadByte()
		if err != nil {
			return parts(err)
		}
		own.all = make([]byte, n)
		if _, err := io.ReadFull(in.r, own.all); err != nil {
			return parts(err)
		}
		in.n += int64(n)
	}
	if _, err := r.out.Write(own.all); err != nil {
		return err
	}
	if flags&flagMembers == 0 {
		return r.copy(r.canon, body, p.off+p.size-body)
	}
	m, ok := membersOf(typ, r.valkey)
	if !ok {
		return ErrParts
	}
	r.s.str()
	n := r.s.membersHead(m)
	from := r.s.at()
	if r.s.err != nil {
		return r.s.err
	}
	if n > uint64(p.size) {
		return ErrParts
	}
	if err := r.copy(r.canon, body, from-body); err != nil {
		return err
	}
	return r.members(p, m, n, from, in.n)
}

// members writes a record's members as they were; their order is at an offset of the apart.
func (r *restorer) members(p place, m members, n uint64, from, order int64) error {
	width := widthOf(n)
	for lo := uint64(0); lo < n; lo += r.window {
		hi := min(lo+r.window, n)
		r.parts = append(r.parts[:0], make([]place, hi-lo)...)
		ords := bitReader{r: r.openShort(order)}
		r.s.reset(io.NewSectionReader(r.canon, from, p.off+p.size-from), from)
		for range n {
			off := r.s.at()
			r.s.skipMember(m)
			if r.s.err != nil {
				return r.s.err
			}
			ord, err := ords.get(width)
			if err != nil {
				return parts(err)
			}
			if ord >= lo && ord < hi {
				r.parts[ord-lo] = place{off: off, size: r.s.at() - off}
			}
		}
		for _, q := range r.parts {
			if q.size == 0 {
				return ErrParts
			}
			if err := r.copy(r.canon, q.off, q.size); err != nil {
				return err
			}
		}
	}
	return nil
}
