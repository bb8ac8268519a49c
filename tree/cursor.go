package tree

import (
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
)

// The major types of CBOR.
const (
	majorUint byte = iota
	majorNegative
	majorBytes
	majorText
	majorArray
	majorMap
	majorTag
	majorSimple
)

// cursor reads CBOR of the form that core deterministic encoding has. The first error stays and
// moves the cursor to the end; all methods then return zeros. It reads from a string so that
// names and texts can be parts of it instead of copies.
type cursor struct {
	s   string
	pos int
	err error

	// Memory for the contents of the next files, nearly each of which has one extent.
	spareIDs     []object.BlobID
	spareLengths []int64
}

// maxSpare is for how many files memory is taken at once. Who keeps one of them keeps that of all, as it does the page.
const maxSpare = 32

// room returns dst with room for n more. For a single one it is cut off spare, with no room behind it, and spare made anew when
// it is used up: for no more than the page can still have ids.
func room[T any](c *cursor, spare *[]T, dst []T, n int) []T {
	if n != 1 || cap(dst) > 0 {
		return slices.Grow(dst, n)
	}
	if len(*spare) == 0 {
		*spare = make([]T, min(maxSpare, 1+c.left()/len(object.BlobID{})))
	}
	dst = (*spare)[:0:1]
	*spare = (*spare)[1:]
	return dst
}

func (c *cursor) fail(format string, args ...any) {
	if c.err == nil {
		at := c.pos
		c.err = invalid("at byte %d: "+format, append([]any{at}, args...)...)
	}
	c.pos = len(c.s)
}

func (c *cursor) left() int { return len(c.s) - c.pos }

// head reads the first bytes of an item: its major type and its argument.
func (c *cursor) head() (major byte, arg uint64) {
	if c.pos >= len(c.s) {
		c.fail("unexpected end")
		return majorSimple, 0
	}
	b := c.s[c.pos]
	major, low := b>>5, b&31
	if low < 24 {
		c.pos++
		return major, uint64(low)
	}
	if low > 27 || major == majorSimple {
		c.fail("indefinite length, float or reserved byte %#02x", b)
		return majorSimple, 0
	}
	n := 1 << (low - 24)
	if c.left() < 1+n {
		c.fail("unexpected end")
		return majorSimple, 0
	}
	for _, b := range []byte(c.s[c.pos+1 : c.pos+1+n]) {
		arg = arg<<8 | uint64(b)
	}
	if 1+n != headLen(arg) {
		c.fail("%d is not in its shortest form", arg)
		return majorSimple, 0
	}
	c.pos += 1 + n
	return major, arg
}

// uint reads an unsigned integer between low and high.
func (c *cursor) uint(low, high uint64) uint64 {
	major, arg := c.head()
	if major != majorUint || arg < low || arg > high {
		c.fail("want an unsigned integer from %d to %d", low, high)
		return 0
	}
	return arg
}

func (c *cursor) int64() int64 {
	major, arg := c.head()
	if major > majorNegative || arg > 1<<63-1 {
		c.fail("want an integer of 64 bits")
		return 0
	}
	if major == majorNegative {
		return -1 - int64(arg)
	}
	return int64(arg)
}

func (c *cursor) str(want byte) string {
	major, arg := c.head()
	if major != want || arg > uint64(c.left()) {
		c.fail("want a string that ends within the page")
		return ""
	}
	s := c.s[c.pos : c.pos+int(arg)]
	c.pos += int(arg)
	return s
}

// bytes reads a byte string, which may not be empty.
func (c *cursor) bytes() string {
	s := c.str(majorBytes)
	if s == "" {
		c.fail("empty byte string")
	}
	return s
}

// text reads a text, which may not be empty.
func (c *cursor) text() string {
	s := c.str(majorText)
	if s == "" || !utf8.ValidString(s) {
		c.fail("text is empty or not UTF-8")
		return ""
	}
	return s
}

func (c *cursor) array() int {
	major, arg := c.head()
	if major != majorArray || arg > uint64(c.left()) {
		c.fail("want an array that ends within the page")
		return 0
	}
	return int(arg)
}

func (c *cursor) id() (id object.BlobID) {
	if s := c.bytes(); len(s) == len(id) {
		copy(id[:], s)
	}
	if id.IsZero() {
		c.fail("want a blob id")
	}
	return id
}

// ids reads joined blob ids into dst.
func (c *cursor) ids(dst []object.BlobID) []object.BlobID {
	s := c.bytes()
	const size = len(object.BlobID{})
	if len(s)%size != 0 {
		c.fail("want joined blob ids")
		return dst
	}
	dst = room(c, &c.spareIDs, dst, len(s)/size)
	for ; len(s) > 0; s = s[size:] {
		dst = append(dst, object.BlobID([]byte(s[:size])))
	}
	return dst
}

// table reads a map. It calls field for every key that is not negative, in ascending order; field
// reads the value if it knows the key, and otherwise returns false. Negative keys are refused.
func (c *cursor) table(depth int, field func(key uint64) bool) {
	major, pairs := c.head()
	if major != majorMap || pairs > uint64(c.left())/2 {
		c.fail("want a map that ends within the page")
		return
	}
	next := uint64(0)
	for i := uint64(0); i < pairs && c.err == nil; i++ {
		major, key := c.head()
		if major == majorNegative && key < 1<<63 {
			c.fail("key %d", -1-int64(key))
			c.err = fmt.Errorf("%w: %w", c.err, &wire.UnknownKeyError{Key: -1 - int64(key)})
			return
		}
		if major != majorUint || key < next || key == 1<<64-1 {
			c.fail("map key is not an integer or not in order")
			return
		}
		next = key + 1
		if !field(key) {
			c.skip(depth)
		}
	}
}

// skip reads an item of an unknown kind that is inside depth levels of arrays and maps.
func (c *cursor) skip(depth int) {
	major, arg := c.head()
	switch major {
	case majorUint, majorNegative:
	case majorBytes, majorText:
		if arg > uint64(c.left()) {
			c.fail("string does not end within the page")
			return
		}
		if s := c.s[c.pos : c.pos+int(arg)]; major == majorText && !utf8.ValidString(s) {
			c.fail("text is not UTF-8")
			return
		}
		c.pos += int(arg)
	case majorArray:
		c.skipArray(arg, depth+1)
	case majorMap:
		c.skipMap(arg, depth+1)
	case majorSimple:
		if arg < 20 || arg > 22 { // false, true, null
			c.fail("unassigned simple value %d", arg)
		}
	default:
		c.fail("tag")
	}
}

func (c *cursor) skipArray(items uint64, depth int) {
	if depth > wire.MaxDepth || items > uint64(c.left()) {
		c.fail("array is nested too deep or does not end within the page")
		return
	}
	for i := uint64(0); i < items && c.err == nil; i++ {
		c.skip(depth)
	}
}

// skipMap is like table, but negative keys inside of what is not known concern nobody.
func (c *cursor) skipMap(pairs uint64, depth int) {
	if depth > wire.MaxDepth || pairs > uint64(c.left())/2 {
		c.fail("map is nested too deep or does not end within the page")
		return
	}
	last := ""
	for i := uint64(0); i < pairs && c.err == nil; i++ {
		start := c.pos
		major, _ := c.head()
		if key := c.s[start:c.pos]; major > majorNegative || key <= last {
			c.fail("map key is not an integer or not in order")
		} else {
			last = key
		}
		c.skip(depth)
	}
}

// headLen returns the length of an item's head in its shortest form.
func headLen(arg uint64) int {
	switch {
	case arg < 24:
		return 1
	case arg < 1<<8:
		return 2
	case arg < 1<<16:
		return 3
	case arg < 1<<32:
		return 5
	}
	return 9
}
