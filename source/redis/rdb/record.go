package rdb

import (
	"bytes"
	"errors"
	"io"
)

// ErrChanged says that the file is not what it was when it was examined.
var ErrChanged = errors.New("rdb: the file was changed while it was read")

const (
	wholeRecord   = 128 << 10 // up to which size a record is read at once
	memberMemory  = 16 << 20  // for sorting the members of one key
	longestPrefix = 64        // of expiry and last use, as any server writes them
)

// held is a part of a file that was read.
type held struct {
	b   []byte
	off int64
}

// ReadAt is of io.ReaderAt, with offsets of the file.
func (h held) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(h.b).ReadAt(p, off-h.off)
}

// load makes a record what the scanner reads.
func (c *canon) load(e entry) error {
	if e.size > wholeRecord {
		c.r = c.f.r
		c.s.reset(io.NewSectionReader(c.r, e.off, e.size), e.off)
		return nil
	}
	if c.whole == nil {
		c.whole = make([]byte, wholeRecord)
	}
	p := c.whole[:e.size]
	if n, err := c.f.r.ReadAt(p, e.off); n < len(p) {
		return shortRead(err)
	}
	c.r = held{p, e.off}
	c.s.hold(p, e.off)
	return nil
}

// shortRead is why less was read than there was.
func shortRead(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return ErrChanged
	}
	return err
}

// prefix is what is in front of a record's type.
type prefix struct {
	all  []byte
	keep []byte // of which the expiry stays
}

// readPrefix reads the prefix and the type.
func readPrefix(s *scanner) (p prefix, typ byte) {
	for s.err == nil && len(p.all) <= longestPrefix {
		op := s.byte()
		var arg []byte
		switch op {
		case opExpireMS:
			arg = s.take(8)
		case opExpire:
			arg = s.take(4)
		case opFreq:
			arg = s.take(1)
		case opIdle:
			arg = rawLength(s)
		default:
			return p, op
		}
		at := len(p.all)
		p.all = append(append(p.all, op), arg...)
		if op == opExpireMS || op == opExpire {
			p.keep = p.all[at:]
		}
	}
	if s.err == nil {
		s.fail(ErrChanged)
	}
	return prefix{}, 0
}

// rawLength returns a length as it is in the file.
func rawLength(s *scanner) []byte {
	first := s.byte()
	out := []byte{first}
	switch {
	case first>>6 == 0:
	case first>>6 == 1:
		out = append(out, s.byte())
	case first == 0x80:
		out = append(out, s.take(4)...)
	default:
		out = append(out, s.take(8)...)
	}
	return out
}

// record writes a record in its canonical form.
func (c *canon) record(e entry) error {
	if err := c.load(e); err != nil {
		return err
	}
	p, typ := readPrefix(&c.s)
	body := c.s.at() - 1
	m, sorted := membersOf(typ, c.f.Info.Valkey)
	n := uint64(0)
	from := e.off + e.size // where members are that have to be sorted
	if sorted {
		c.s.str()
		n = c.s.membersHead(m)
		if n > 1 {
			from = c.s.at()
		}
	}
	if c.s.err != nil {
		return c.s.err
	}
	if c.exact != nil {
		if n <= 1 {
			n = 0
		}
		if err := c.exact.record(e.ord, p, n); err != nil {
			return err
		}
	}
	if _, err := c.out.Write(p.keep); err != nil {
		return err
	}
	if err := c.copy(c.r, body, from-body); err != nil || from == e.off+e.size {
		return err
	}
	return c.members(e, m, n, from)
}

func (c *canon) sorterFor(e entry) *sorter {
	if e.size > wholeRecord {
		if c.large == nil {
			c.large = newSorter(memberMemory, memberMemory)
		}
		return c.large
	}
	if c.small == nil {
		c.small = newSorter(memberMemory, wholeRecord)
	}
	return c.small
}

// members writes the members, which begin at an offset, in order.
func (c *canon) members(e entry, m members, n uint64, from int64) error {
	list := c.sorterFor(e)
	list.restart()
	written := uint64(0)
	for {
		for i := range n {
			off := c.s.at()
			key := c.s.member(m)
			if c.s.err != nil {
				return c.s.err
			}
			list.add(entry{off: off, size: c.s.at() - off, ord: i}, key)
		}
		if c.s.at() != e.off+e.size {
			return ErrChanged
		}
		entries, more := list.sorted()
		for _, it := range entries {
			if c.exact != nil {
				c.exact.member(it.ord)
			}
			if err := c.copy(c.r, it.off, it.size); err != nil {
				return err
			}
			written++
		}
		if !more {
			break
		}
		list.again()
		c.s.reset(io.NewSectionReader(c.f.r, from, e.off+e.size-from), from)
	}
	if written != n {
		return ErrChanged
	}
	return nil
}
