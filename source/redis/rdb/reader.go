package rdb

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"io"
	"strconv"
)

// Kind is what an Item is.
type Kind uint8

// Kinds of items.
const (
	Aux       Kind = iota + 1 // a fact about the file
	Database                  // the following records are of this database
	Hint                      // of sizes: it has no meaning
	Function                  // a library of functions
	ModuleAux                 // what a module has stored outside of keys
	Record                    // a key with its value
	End                       // the end, behind which there is the checksum at most
)

// Opcodes of what is not a value.
const (
	opSlotInfo   = 244
	opFunction   = 245
	opModuleAux  = 247
	opIdle       = 248
	opFreq       = 249
	opAux        = 250
	opResize     = 251
	opExpireMS   = 252
	opExpire     = 253
	opSelect     = 254
	opEOF        = 255
	headerSize   = 9
	sumSize      = 8
	firstWithSum = 5 // version
	// Of these versions all sections and types are known, unless they say otherwise by a kind that is not.
	lastRedis   = 13
	firstValkey = 80
	lastValkey  = 81
)

// Item is a part of a file. What it points to is valid until the next call.
type Item struct {
	Kind       Kind
	Start, End int64 // where it is in the file

	Name, Value []byte // of Aux, and the value of Function; of long ones the beginning and a hash
	Number      uint64 // of Database: which

	// Of a Record:
	Body      int64  // where it begins, behind expiry and last use: with its type
	Type      byte   // how the value is written
	Key       []byte // the key if it is short, otherwise its beginning and a hash
	Expires   int64  // when, in milliseconds since 1970; 0 if it does not
	expirySet bool
	expiry    byte // how it is written
}

// Holds is what a record's value is: "hash".
func (i *Item) Holds() string { return kinds[i.Type] }

// Reader reads a file item by item. It is not safe for concurrent use.
type Reader struct {
	s       scanner
	item    Item
	version int
	valkey  bool
	noSum   bool // the file has no checksum
	name    []byte
	done    bool
	digest  uint64 // of all records and what belongs to the data besides; see listen
	db      uint64
}

// listen lets the reader make a digest in which neither the order of records, of members and of functions counts, nor what the
// canonical form leaves out. Digests with the same seed can be compared.
func (r *Reader) listen(seed maphash.Seed) {
	r.s.tap = new(maphash.Hash)
	r.s.tap.SetSeed(seed)
	r.s.deaf()
}

// NewReader returns a Reader of the file that r has, which begins with its header. It reads ahead.
func NewReader(r io.Reader) (*Reader, error) { return newReader(r, true) }

func newReader(in io.Reader, sum bool) (*Reader, error) {
	r := new(Reader)
	r.s.reset(in, 0)
	r.s.sum = sum
	head := r.s.take(headerSize)
	if r.s.err != nil {
		return nil, r.s.err
	}
	digits, redis := bytes.CutPrefix(head, []byte("REDIS"))
	if !redis {
		digits, r.valkey = bytes.CutPrefix(head, []byte("VALKEY"))
	}
	n, err := strconv.ParseUint(string(digits), 10, 16)
	if !redis && !r.valkey || err != nil {
		return nil, &DamageError{What: "this is no RDB file"}
	}
	r.version = int(n)
	switch {
	case redis && n >= 1 && n <= lastRedis, r.valkey && n >= firstValkey && n <= lastValkey:
		return r, nil
	}
	return nil, &UnsupportedError{0, fmt.Sprintf("format %s is not known", head)}
}

// Version is that of the format; Valkey's begin with 80.
func (r *Reader) Version() int { return r.version }

// Checked reports, behind the end, whether there was a checksum. Servers can be told to write none.
func (r *Reader) Checked() bool { return r.done && !r.noSum && r.s.sum }

// Next returns the next item. The last one is of kind End, and is only returned if the checksum is right and nothing follows;
// after it comes io.EOF.
func (r *Reader) Next() (*Item, error) {
	if r.done {
		return nil, io.EOF
	}
	r.item = Item{Start: r.s.at(), Key: r.item.Key[:0]}
	r.next()
	r.item.End = r.s.at()
	if r.item.Kind == End && r.s.err == nil {
		r.done = true
		r.finish()
	}
	if r.s.err != nil {
		return nil, r.s.err
	}
	return &r.item, nil
}

func (r *Reader) next() {
	s, it := &r.s, &r.item
	prefix := false
	for s.err == nil {
		it.Body = s.at()
		s.deaf()
		op := s.byte()
		switch op {
		case opExpireMS:
			it.Expires, it.expirySet = int64(binary.LittleEndian.Uint64(s.take(8))), true
			it.expiry = op
		case opExpire:
			it.Expires, it.expirySet = int64(int32(binary.LittleEndian.Uint32(s.take(4))))*1000, true
			it.expiry = op
		case opIdle:
			s.count()
		case opFreq:
			s.byte()
		default:
			if op < firstOpcode {
				r.record(op)
				return
			}
			if prefix && known(op) {
				s.damaged("there is no key behind an expiry")
				return
			}
			r.section(op)
			return
		}
		prefix = true
		if s.at()-it.Start > longestPrefix {
			s.unsupported("more expiries and last uses in front of a key than any server writes")
		}
	}
}

// known reports whether an opcode is that of a section.
func known(op byte) bool { return op == opSlotInfo || op == opFunction || op >= opModuleAux }

func (r *Reader) record(typ byte) {
	it := &r.item
	it.Kind, it.Type = Record, typ
	it.Key = append(it.Key, r.s.sortKey()...)
	members := r.s.value(typ, r.valkey)
	r.note(members, r.db, uint64(it.Expires), uint64(it.expiry))
}

// note adds what was heard, and what belongs to it, to the digest.
func (r *Reader) note(with ...uint64) {
	if r.s.tap == nil || r.s.err != nil {
		return
	}
	r.s.hear()
	var p []byte
	for _, n := range with {
		p = binary.LittleEndian.AppendUint64(p, n)
	}
	_, _ = r.s.tap.Write(p) // never fails
	r.digest += r.s.heard()
}

func (r *Reader) section(op byte) {
	s, it := &r.s, &r.item
	switch op {
	case opAux:
		it.Kind = Aux
		r.name = append(r.name[:0], s.sortKey()...)
		it.Name = r.name
		it.Value = s.sortKey()
	case opSelect:
		it.Kind, it.Number = Database, s.count()
		r.db = it.Number
	case opResize:
		it.Kind = Hint
		s.numbers(2)
	case opSlotInfo:
		it.Kind = Hint
		s.numbers(3)
	case opFunction:
		it.Kind = Function
		it.Value = s.sortKey()
		r.note()
	case opModuleAux:
		it.Kind = ModuleAux
		s.count() // which module
		if s.count() != moduleUnsigned {
			s.damaged("what a module has stored does not say when it is to be loaded")
		}
		s.count()
		s.module()
		r.note()
	case opEOF:
		it.Kind = End
	default:
		s.unknown(op)
	}
}

// finish reads what is behind the end.
func (r *Reader) finish() {
	s := &r.s
	if r.version >= firstWithSum {
		var want uint64
		if s.sum {
			want = s.checksum()
		}
		got := binary.LittleEndian.Uint64(s.take(sumSize))
		r.noSum = got == 0
		if s.err == nil && s.sum && got != want && got != 0 {
			s.damaged("the checksum is not that of the file")
		}
	} else {
		r.noSum = true
	}
	if s.err != nil {
		return
	}
	end := s.at()
	if s.pos == s.end {
		n, err := io.ReadFull(s.r, s.buf[:1])
		if n == 0 {
			if err != io.EOF {
				s.fail(err)
			}
			return
		}
	}
	s.fail(&DamageError{Offset: end, What: "something follows the end of the file", End: end})
}
