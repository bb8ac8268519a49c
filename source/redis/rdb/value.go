package rdb

import "fmt"

// Types of values. All that are not taken apart below are one string.
const (
	typeString          = 0
	typeList            = 1
	typeSet             = 2
	typeZset            = 3
	typeHash            = 4
	typeZset2           = 5
	typeModule2         = 7
	typeZipmap          = 9
	typeListZiplist     = 10
	typeIntset          = 11
	typeZsetZiplist     = 12
	typeHashZiplist     = 13
	typeQuicklist       = 14
	typeStream          = 15
	typeHashListpack    = 16
	typeZsetListpack    = 17
	typeQuicklist2      = 18
	typeStream2         = 19
	typeSetListpack     = 20
	typeStream3         = 21
	typeHashTTLOld      = 22 // of Redis before its release
	typeHashTTLValkey   = 22 // and of Valkey
	typeHashListpackOld = 23
	typeHashTTL         = 24
	typeHashListpackTTL = 25

	firstOpcode = 243 // what is greater is no type
)

// Parts of what a module writes.
const (
	moduleEOF      = 0
	moduleSigned   = 1
	moduleUnsigned = 2
	moduleFloat    = 3
	moduleDouble   = 4
	moduleString   = 5
)

const (
	streamIDSize = 16
	timeSize     = 8
	scoreSize    = 8
	longestText  = 252 // of a score; greater lengths stand for infinity and not-a-number
)

// kinds are what the types hold, for people.
var kinds = map[byte]string{
	typeString: "string", typeList: "list", typeSet: "set", typeZset: "zset", typeHash: "hash", typeZset2: "zset",
	typeModule2: "module", typeZipmap: "hash", typeListZiplist: "list", typeIntset: "set", typeZsetZiplist: "zset",
	typeHashZiplist: "hash", typeQuicklist: "list", typeStream: "stream", typeHashListpack: "hash", typeZsetListpack: "zset",
	typeQuicklist2: "list", typeStream2: "stream", typeSetListpack: "set", typeStream3: "stream", typeHashTTLOld: "hash",
	typeHashListpackOld: "hash", typeHashTTL: "hash", typeHashListpackTTL: "hash",
}

// members is how a value in a hash table is written: a count and so many members, each a string that they are sorted by.
type members struct {
	first bool // in front of the count there is the earliest expiry
	ttl   bool // in front of each member there is its expiry
	value bool // behind it there is a value
	after int  // bytes behind that
}

// membersOf says how a type's members are written; ok is false for types that have none that could be sorted.
func membersOf(typ byte, valkey bool) (m members, ok bool) {
	switch {
	case typ == typeSet:
		return members{}, true
	case typ == typeHash:
		return members{value: true}, true
	case typ == typeHashTTLValkey && valkey:
		return members{value: true, after: timeSize}, true
	case typ == typeHashTTLOld:
		return members{ttl: true, value: true}, true
	case typ == typeHashTTL:
		return members{first: true, ttl: true, value: true}, true
	}
	return members{}, false
}

// member reads one member and returns by what it is sorted.
func (s *scanner) member(m members) []byte {
	if m.ttl {
		s.count()
	}
	key := s.sortKey()
	if m.value {
		s.str()
	}
	s.skip(uint64(m.after))
	return key
}

// membersHead reads what is in front of the members, and returns how many there are.
func (s *scanner) membersHead(m members) uint64 {
	if m.first {
		s.skip(timeSize)
	}
	return s.count()
}

// value skips a value. If somebody listens it returns the sum of the members' hashes, in which their order does not count.
func (s *scanner) value(typ byte, valkey bool) (members uint64) {
	if m, ok := membersOf(typ, valkey); ok {
		n := s.membersHead(m)
		members = s.heard()
		for ; n > 0 && s.err == nil; n-- {
			s.skipMember(m)
			members += s.heard()
		}
		return members
	}
	s.plainValue(typ, valkey)
	return 0
}

// plainValue skips a value whose order counts.
func (s *scanner) plainValue(typ byte, valkey bool) {
	switch typ {
	case typeString, typeZipmap, typeListZiplist, typeIntset, typeZsetZiplist, typeHashZiplist, typeHashListpack, typeZsetListpack, typeSetListpack:
		s.str()
	case typeHashListpackOld:
		if valkey {
			s.unknown(typ)
			return
		}
		s.str()
	case typeHashListpackTTL:
		s.skip(timeSize)
		s.str()
	case typeList, typeQuicklist:
		s.strs(s.count())
	case typeZset:
		for n := s.count(); n > 0 && s.err == nil; n-- {
			s.str()
			if size := s.byte(); size <= longestText {
				s.skip(uint64(size))
			}
		}
	case typeZset2:
		for n := s.count(); n > 0 && s.err == nil; n-- {
			s.str()
			s.skip(scoreSize)
		}
	case typeQuicklist2:
		for n := s.count(); n > 0 && s.err == nil; n-- {
			s.count()
			s.str()
		}
	case typeStream, typeStream2, typeStream3:
		s.stream(typ)
	case typeModule2:
		s.count() // which module
		s.module()
	default:
		s.unknown(typ)
	}
}

func (s *scanner) unknown(typ byte) {
	s.unsupported(fmt.Sprintf("a value or section of a kind that is not known (%d)", typ))
}

func (s *scanner) skipMember(m members) {
	if m.ttl {
		s.count()
	}
	s.str()
	if m.value {
		s.str()
	}
	s.skip(uint64(m.after))
}

// numbers skips as many numbers.
func (s *scanner) numbers(n int) {
	for range n {
		s.count()
	}
}

func (s *scanner) stream(typ byte) {
	for n := s.count(); n > 0 && s.err == nil; n-- {
		s.strs(2) // an id and the entries from there on
	}
	s.numbers(3) // entries, the last id
	if typ >= typeStream2 {
		s.numbers(5) // the first id, the greatest deleted one, entries ever
	}
	for n := s.count(); n > 0 && s.err == nil; n-- {
		s.group(typ)
	}
}

func (s *scanner) group(typ byte) {
	s.str()
	s.numbers(2) // the last id
	if typ >= typeStream2 {
		s.numbers(1) // entries read
	}
	for n := s.count(); n > 0 && s.err == nil; n-- {
		s.skip(streamIDSize + timeSize)
		s.numbers(1) // deliveries
	}
	for n := s.count(); n > 0 && s.err == nil; n-- { // consumers
		s.str()
		s.skip(timeSize)
		if typ == typeStream3 {
			s.skip(timeSize)
		}
		for n := s.count(); n > 0 && s.err == nil; n-- {
			s.skip(streamIDSize)
		}
	}
}

// module skips what a module has written, which says of each part what it is.
func (s *scanner) module() {
	for s.err == nil {
		switch s.count() {
		case moduleEOF:
			return
		case moduleSigned, moduleUnsigned:
			s.count()
		case moduleFloat:
			s.skip(4)
		case moduleDouble:
			s.skip(8)
		case moduleString:
			s.str()
		default:
			s.damaged("a module's value has a part of no known kind")
		}
	}
}
