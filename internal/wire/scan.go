package wire

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"unicode/utf8"
)

// The major types of CBOR.
const (
	majorUint = iota
	majorNegative
	majorBytes
	majorText
	majorArray
	majorMap
	majorTag
	majorSimple
)

const simpleNull = 22

// scanner walks over one encoded structure.
type scanner struct {
	data []byte
	pos  int
}

// scan checks that data is one well-formed structure of the given schema.
func scan(data []byte, sc *schema) error {
	s := scanner{data: data}
	if err := s.item(sc, 0); err != nil {
		return err
	}
	if s.pos != len(data) {
		return s.invalid("%d trailing bytes", len(data)-s.pos)
	}
	return nil
}

func (s *scanner) invalid(format string, args ...any) error {
	return fmt.Errorf("%w: at byte %d: %s", ErrInvalid, s.pos, fmt.Sprintf(format, args...))
}

// head reads the first bytes of an item: its major type and its argument.
func (s *scanner) head() (major byte, arg uint64, err error) {
	if s.pos >= len(s.data) {
		return 0, 0, s.invalid("unexpected end")
	}
	b := s.data[s.pos]
	major, low := b>>5, b&31
	if low < 24 {
		s.pos++
		return major, uint64(low), nil
	}
	if low > 27 {
		return 0, 0, s.invalid("indefinite length or reserved byte %#02x", b)
	}
	rest := s.data[s.pos+1:]
	n := 1 << (low - 24)
	if len(rest) < n {
		return 0, 0, s.invalid("unexpected end")
	}
	switch n {
	case 1:
		arg = uint64(rest[0])
	case 2:
		arg = uint64(binary.BigEndian.Uint16(rest))
	case 4:
		arg = uint64(binary.BigEndian.Uint32(rest))
	case 8:
		arg = binary.BigEndian.Uint64(rest)
	}
	if major == majorSimple {
		return 0, 0, s.invalid("float or unassigned simple value")
	}
	s.pos += 1 + n
	return major, arg, nil
}

// item scans the item at pos, which must fit sc, inside depth levels of arrays and maps.
func (s *scanner) item(sc *schema, depth int) error {
	major, arg, err := s.head()
	if err != nil {
		return err
	}
	for sc.shape == pointer {
		if major == majorSimple && arg == simpleNull {
			return nil
		}
		sc = sc.elem
	}
	if err := s.fits(sc, major, arg); err != nil {
		return err
	}
	left := uint64(len(s.data) - s.pos)
	switch major {
	case majorUint, majorNegative:
		return nil
	case majorBytes, majorText:
		if arg > left {
			return s.invalid("string of %d bytes where %d are left", arg, left)
		}
		if major == majorText && !utf8.Valid(s.data[s.pos:s.pos+int(arg)]) {
			return s.invalid("text is not UTF-8")
		}
		s.pos += int(arg)
		return nil
	case majorSimple:
		if arg < 20 || arg > simpleNull {
			return s.invalid("unassigned simple value %d", arg)
		}
		return nil
	case majorArray:
		if arg > left || arg > MaxItems {
			return s.invalid("array of %d items where %d bytes are left", arg, left)
		}
		return s.array(sc, int(arg), depth+1)
	case majorMap:
		if arg > left/2 || arg > MaxPairs {
			return s.invalid("map of %d pairs where %d bytes are left", arg, left)
		}
		return s.table(sc, int(arg), depth+1)
	}
	return s.invalid("tag")
}

// fits refuses the items that the library would bend into a value of the wanted type.
func (s *scanner) fits(sc *schema, major byte, arg uint64) error {
	if sc.shape == anything {
		return nil
	}
	if major == majorSimple && arg == simpleNull {
		return s.invalid("null in place of a value")
	}
	switch sc.shape {
	case byteString:
		if major != majorBytes {
			return s.invalid("want a byte string")
		}
		if sc.size >= 0 && arg != uint64(sc.size) {
			return s.invalid("byte string of %d bytes, want %d", arg, sc.size)
		}
	case list:
		if major != majorArray {
			return s.invalid("want an array")
		}
	case tuple:
		if major != majorArray || arg != uint64(len(sc.parts)) {
			return s.invalid("want an array of %d", len(sc.parts))
		}
	case record, table:
		if major != majorMap {
			return s.invalid("want a map")
		}
	case scalar:
		if major == majorBytes || major == majorArray || major == majorMap {
			return s.invalid("want an integer, text or boolean")
		}
	}
	return nil
}

func (s *scanner) array(sc *schema, n, depth int) error {
	if depth > MaxDepth {
		return s.invalid("more than %d levels", MaxDepth)
	}
	for i := range n {
		elem := whatever
		switch {
		case sc.shape == tuple:
			elem = sc.parts[i]
		case sc.shape == list:
			elem = sc.elem
		}
		if err := s.item(elem, depth); err != nil {
			return err
		}
	}
	return nil
}

func (s *scanner) table(sc *schema, n, depth int) error {
	if depth > MaxDepth {
		return s.invalid("more than %d levels", MaxDepth)
	}
	var keys keySet
	for range n {
		major, arg, err := s.head()
		if err != nil {
			return err
		}
		if major > majorNegative || arg > math.MaxInt64 {
			return s.invalid("map key is not an integer of 64 bits")
		}
		keys.add(major, arg)
		key := int64(arg)
		if major == majorNegative {
			key = -1 - key
		}
		elem := sc.field(key)
		if elem == nil {
			if key < 0 && sc.shape == record {
				return &UnknownKeyError{Key: key}
			}
			elem = whatever
		}
		if err := s.item(elem, depth); err != nil {
			return err
		}
	}
	if keys.duplicate() {
		return s.invalid("duplicate map key")
	}
	return nil
}

// keySet finds duplicates among the integer keys of a map. The keys of our structures fit into
// one word; only others are kept and sorted.
type keySet struct {
	word   uint64 // the unsigned keys below 64
	others []intKey
	twice  bool
}

type intKey struct {
	major byte
	arg   uint64
}

func (k *keySet) add(major byte, arg uint64) {
	if major == majorUint && arg < 64 {
		bit := uint64(1) << arg
		k.twice = k.twice || k.word&bit != 0
		k.word |= bit
		return
	}
	k.others = append(k.others, intKey{major, arg})
}

func (k *keySet) duplicate() bool {
	if k.twice || len(k.others) < 2 {
		return k.twice
	}
	slices.SortFunc(k.others, func(a, b intKey) int {
		return cmp.Or(cmp.Compare(a.major, b.major), cmp.Compare(a.arg, b.arg))
	})
	for i, key := range k.others[1:] {
		if key == k.others[i] {
			return true
		}
	}
	return false
}
