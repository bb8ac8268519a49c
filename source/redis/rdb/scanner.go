package rdb

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash/maphash"
	"io"
	"strconv"
)

const (
	bufferSize = 256 << 10
	// Keys longer than this are sorted by their beginning and a hash.
	longKey = 1024
)

// scanner reads bytes and counts them. It has at most one error, with which every method returns zeros.
type scanner struct {
	r        io.Reader // nil if all is in buf
	buf      []byte
	pos, end int   // buf[pos:end] is read, and not yet taken
	base     int64 // offset of buf[0]
	err      error

	sum    bool   // whether crc is wanted
	crc    uint64 // of all bytes before summed
	summed int
	tap    *maphash.Hash // gets what was taken since tapped; nil if nobody listens
	tapped int
	key    []byte // sortKey's result
}

// reset begins to read r, whose first byte is at an offset.
func (s *scanner) reset(r io.Reader, offset int64) {
	if s.r == nil || cap(s.buf) < bufferSize {
		s.buf = make([]byte, bufferSize)
	}
	*s = scanner{r: r, buf: s.buf, base: offset, key: s.key}
}

// hold makes the scanner one of bytes that are all there.
func (s *scanner) hold(p []byte, offset int64) {
	*s = scanner{buf: p, end: len(p), base: offset, key: s.key}
}

// at is where the next byte is.
func (s *scanner) at() int64 { return s.base + int64(s.pos) }

// checksum is that of all bytes that were taken.
func (s *scanner) checksum() uint64 {
	s.crc = update(s.crc, s.buf[s.summed:s.pos])
	s.summed = s.pos
	return s.crc
}

// hear passes on what was taken since the last call.
func (s *scanner) hear() {
	if s.tap != nil {
		_, _ = s.tap.Write(s.buf[s.tapped:s.pos]) // never fails
	}
	s.tapped = s.pos
}

// deaf leaves out what was taken since the last call of heard, part of which may have been passed on.
func (s *scanner) deaf() {
	if s.tap != nil {
		s.tap.Reset()
	}
	s.tapped = s.pos
}

// heard returns the hash of what was passed on, and begins anew.
func (s *scanner) heard() uint64 {
	if s.tap == nil {
		return 0
	}
	s.hear()
	h := s.tap.Sum64()
	s.tap.Reset()
	return h
}

func (s *scanner) fail(err error) {
	if s.err == nil {
		s.err = err
	}
	s.pos, s.end, s.summed, s.tapped = 0, 0, 0, 0
}

func (s *scanner) damaged(what string) { s.fail(&DamageError{Offset: s.at(), What: what}) }

func (s *scanner) unsupported(what string) { s.fail(&UnsupportedError{s.at(), what}) }

// more reads on, and reports whether there are n bytes to take, of at most a buffer's length.
func (s *scanner) more(n int) bool {
	if s.err != nil {
		return false
	}
	if s.r == nil {
		s.damaged("the file ends too early")
		return false
	}
	if s.sum {
		s.checksum()
	}
	s.hear()
	copy(s.buf, s.buf[s.pos:s.end])
	s.base += int64(s.pos)
	s.end -= s.pos
	s.pos, s.summed, s.tapped = 0, 0, 0
	for s.end < n {
		got, err := s.r.Read(s.buf[s.end:])
		s.end += got
		if err != nil && s.end < n {
			if errors.Is(err, io.EOF) {
				s.base += int64(s.end) // that is where it ends
				s.pos, s.end = 0, 0
				s.damaged("the file ends too early")
			} else {
				s.fail(err)
			}
			return false
		}
	}
	return true
}

// take returns the next n bytes, at most half a buffer, valid until the next call. After an error they are zero.
func (s *scanner) take(n int) []byte {
	if s.end-s.pos < n && !s.more(n) {
		return zeros[:n]
	}
	s.pos += n
	return s.buf[s.pos-n : s.pos]
}

var zeros [longKey]byte

func (s *scanner) byte() byte { return s.take(1)[0] }

func (s *scanner) skip(n uint64) {
	for n > 0 && s.err == nil {
		if s.pos == s.end && !s.more(1) {
			return
		}
		step := min(n, uint64(s.end-s.pos))
		s.pos += int(step)
		n -= step
	}
}

// Ways of strings that are not plain.
const (
	encInt8  = 0
	encInt16 = 1
	encInt32 = 2
	encLZF   = 3
)

// length reads a length or, if special is set, how a string is encoded.
func (s *scanner) length() (n uint64, special bool) {
	b := s.byte()
	switch b >> 6 {
	case 0:
		return uint64(b & 0x3f), false
	case 1:
		return uint64(b&0x3f)<<8 | uint64(s.byte()), false
	case 3:
		return uint64(b & 0x3f), true
	}
	switch b {
	case 0x80:
		return uint64(binary.BigEndian.Uint32(s.take(4))), false
	case 0x81:
		return binary.BigEndian.Uint64(s.take(8)), false
	}
	s.damaged("a length is not one")
	return 0, false
}

// count reads a length that must be plain.
func (s *scanner) count() uint64 {
	n, special := s.length()
	if special {
		s.damaged("a number is encoded as a string")
		return 0
	}
	return n
}

// text is the head of a string: how long it is in the file and, compressed, how long it really is.
type text struct {
	n      uint64
	full   uint64
	enc    uint64
	encSet bool
}

func (s *scanner) head() text {
	n, special := s.length()
	if !special {
		return text{n: n}
	}
	t := text{enc: n, encSet: true}
	switch n {
	case encInt8, encInt16, encInt32:
		t.n = 1 << n
	case encLZF:
		t.n = s.count()
		t.full = s.count()
	default:
		s.unsupported("a string is encoded in a way of its own (" + strconv.FormatUint(n, 10) + ")")
	}
	return t
}

// str skips a string.
func (s *scanner) str() { s.skip(s.head().n) }

// strs skips as many strings.
func (s *scanner) strs(n uint64) {
	for ; n > 0 && s.err == nil; n-- {
		s.str()
	}
}

// sortKey reads a string and returns by what it is sorted: the string, unless it is long. It is valid until the next call.
func (s *scanner) sortKey() []byte {
	t := s.head()
	s.key = s.key[:0]
	switch {
	case s.err != nil:
	case t.n > longKey:
		s.key = append(s.key, s.take(longKey)...)
		h := sha256.New()
		for left := t.n - longKey; left > 0 && s.err == nil; {
			step := min(left, longKey)
			h.Write(s.take(int(step)))
			left -= step
		}
		s.key = h.Sum(s.key)
	case !t.encSet:
		s.key = append(s.key, s.take(int(t.n))...)
	case t.enc == encLZF && t.full <= 4*longKey:
		p := s.take(int(t.n))
		if out, ok := lzf(s.key, p, int(t.full)); s.err == nil && ok {
			s.key = out
		} else {
			s.damaged("a compressed string is damaged")
		}
	case t.enc == encLZF:
		s.key = append(s.key, s.take(int(t.n))...)
	default:
		s.key = strconv.AppendInt(s.key, integer(s.take(int(t.n))), 10)
	}
	return s.key
}

// integer is what an encoded number says.
func integer(p []byte) int64 {
	switch len(p) {
	case 1:
		return int64(int8(p[0]))
	case 2:
		return int64(int16(binary.LittleEndian.Uint16(p)))
	}
	return int64(int32(binary.LittleEndian.Uint32(p)))
}

// lzf appends to an empty out what was compressed to in, which must be of the given size.
func lzf(out, in []byte, size int) ([]byte, bool) {
	for i := 0; i < len(in); {
		ctrl := int(in[i])
		i++
		if ctrl < 32 {
			if i+ctrl+1 > len(in) || len(out)+ctrl+1 > size {
				return nil, false
			}
			out = append(out, in[i:i+ctrl+1]...)
			i += ctrl + 1
			continue
		}
		n := ctrl >> 5
		if n == 7 {
			if i >= len(in) {
				return nil, false
			}
			n += int(in[i])
			i++
		}
		if i >= len(in) {
			return nil, false
		}
		from := len(out) - (ctrl&0x1f<<8 | int(in[i])) - 1
		i++
		if from < 0 || len(out)+n+2 > size {
			return nil, false
		}
		for range n + 2 { // may overlap what it writes
			out = append(out, out[from])
			from++
		}
	}
	return out, len(out) == size
}
