package delta

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// MinSize is the least length of a blob for which a delta is worth its trouble.
const MinSize = 64 << 10

// ErrInvalid is returned for a stream that does not make what it should.
var ErrInvalid = errors.New("delta: invalid stream")

// The columns of a stream.
const (
	inserts = iota
	copies
	addresses
)

// appendStream appends the copies that were found, and what lies between them.
func (e *Encoder) appendStream(dst []byte, limit int) (out []byte, m Match, ok bool) {
	m = e.fillColumns()
	var head [3 * binary.MaxVarintLen64]byte
	h := head[:0]
	size := len(e.target) - m.Copied
	for _, c := range e.columns {
		h = binary.AppendUvarint(h, uint64(len(c)))
		size += len(c)
	}
	size += len(h)
	if size > limit {
		return dst, Match{}, false
	}
	out = append(slices.Grow(dst, size), h...)
	for _, c := range e.columns {
		out = append(out, c...)
	}
	lit := 0
	for _, s := range e.copies {
		out = append(out, e.target[lit:s.target]...)
		lit = s.target + s.n
	}
	return append(out, e.target[lit:]...), m, true
}

func (e *Encoder) fillColumns() (m Match) {
	c := &e.columns
	for i := range c {
		c[i] = c[i][:0]
	}
	lit, at := 0, 0
	for _, s := range e.copies {
		c[inserts] = binary.AppendUvarint(c[inserts], uint64(s.target-lit))
		c[copies] = binary.AppendUvarint(c[copies], uint64(s.n))
		c[addresses] = binary.AppendUvarint(c[addresses], address(s.base, at, s.target-lit))
		lit, at = s.target+s.n, s.base+s.n
		m.Copied += s.n
		if s.n >= aligned {
			m.Target, m.Base = lit, at
		}
	}
	return m
}

// address is how a copy from `from` is written behind one that ended at `at`, and `inserted` bytes.
func address(from, at, inserted int) uint64 {
	if from == at+inserted {
		return 0
	}
	d := int64(from - at)
	return 1 + uint64(d<<1^d>>63)
}

// place is the inverse of address. It reports false if the place is not in a base of that length; inserted is at most 1<<62.
func place(address uint64, at int, inserted uint64, base int) (from int, ok bool) {
	if address == 0 {
		f := uint64(at) + inserted
		return int(f), f <= uint64(base)
	}
	z := address - 1
	d := int64(z>>1) ^ -int64(z&1)
	if d < int64(-at) || d > int64(base-at) {
		return 0, false
	}
	return at + int(d), true
}

// Apply appends to dst the target of size bytes that stream makes of base. Whatever stream is, Apply allocates no more than size
// bytes and reads nothing outside base; with an error it returns dst as it was. It is safe for concurrent use.
func Apply(dst, base, stream []byte, size int) ([]byte, error) {
	o, err := open(stream, len(base), size)
	if err != nil {
		return dst, err
	}
	out := slices.Grow(dst, size)
	for o.next() {
		out = append(out, o.insert...)
		out = append(out, base[o.from:o.at]...)
	}
	if o.err != nil {
		return dst, o.err
	}
	return append(out, o.literals...), nil
}

// Makes reports whether stream makes target of base: Apply and a comparison in one, which writes nothing. It is safe for concurrent use.
func Makes(base, stream, target []byte) bool {
	o, err := open(stream, len(base), len(target))
	if err != nil {
		return false
	}
	for o.next() {
		n := len(o.insert)
		m := n + o.at - o.from
		if string(target[:n]) != string(o.insert) || string(target[n:m]) != string(base[o.from:o.at]) {
			return false
		}
		target = target[m:]
	}
	return o.err == nil && string(target) == string(o.literals)
}

// operations are those of a stream, one after the other. The bytes of all together, with the literals that are left, are no more than
// the target's, and its exactly if there is no error.
type operations struct {
	insert   []byte // of the operation in hand
	from, at int    // what it copies of the base

	literals []byte // that are left
	err      error

	columns [3][]byte
	toCopy  uint64
	base    int // its length
}

// open begins with a stream that makes a target of size bytes of a base of so many.
func open(stream []byte, base, size int) (o operations, err error) {
	columns, literals, err := split(stream)
	if err != nil {
		return o, err
	}
	if size < len(literals) {
		return o, fmt.Errorf("%w: %d bytes inserted in a target of %d", ErrInvalid, len(literals), size)
	}
	return operations{literals: literals, columns: columns, toCopy: uint64(size - len(literals)), base: base}, nil
}

// next goes to the next operation. It reports false at the end, or with err set.
func (o *operations) next() bool {
	if len(o.columns[inserts]) == 0 {
		o.err = o.end()
		return false
	}
	var v [3]uint64
	for i, c := range o.columns {
		x, n := binary.Uvarint(c)
		if n <= 0 {
			o.err = fmt.Errorf("%w: an operation is cut off", ErrInvalid)
			return false
		}
		v[i], o.columns[i] = x, c[n:]
	}
	if v[inserts] > uint64(len(o.literals)) {
		o.err = fmt.Errorf("%w: %d bytes inserted where %d are left", ErrInvalid, v[inserts], len(o.literals))
		return false
	}
	from, ok := place(v[addresses], o.at, v[inserts], o.base)
	if !ok || v[copies] > uint64(o.base-from) || v[copies] > o.toCopy {
		o.err = fmt.Errorf("%w: a copy of %d bytes that are not in the base, or do not fit", ErrInvalid, v[copies])
		return false
	}
	o.insert, o.literals = o.literals[:v[inserts]], o.literals[v[inserts]:]
	o.from, o.at = from, from+int(v[copies])
	o.toCopy -= v[copies]
	return true
}

func (o *operations) end() error {
	if len(o.columns[copies])+len(o.columns[addresses]) > 0 {
		return fmt.Errorf("%w: columns of different lengths", ErrInvalid)
	}
	if o.toCopy > 0 {
		return fmt.Errorf("%w: %d bytes are missing", ErrInvalid, o.toCopy)
	}
	return nil
}

// split returns the parts of a stream.
func split(stream []byte) (columns [3][]byte, literals []byte, err error) {
	var lengths [3]uint64
	for i := range lengths {
		v, n := binary.Uvarint(stream)
		if n <= 0 {
			return columns, nil, fmt.Errorf("%w: it is cut off", ErrInvalid)
		}
		lengths[i], stream = v, stream[n:]
	}
	for i, n := range lengths {
		if n > uint64(len(stream)) {
			return columns, nil, fmt.Errorf("%w: a column of %d bytes where %d are left", ErrInvalid, n, len(stream))
		}
		columns[i], stream = stream[:n:n], stream[n:]
	}
	return columns, stream, nil
}
