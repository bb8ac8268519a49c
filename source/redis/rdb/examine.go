package rdb

import (
	"bytes"
	"errors"
	"hash/maphash"
	"io"
	"slices"
	"strings"
)

// DefaultMemory is for the keys that are sorted in one pass.
const DefaultMemory = 64 << 20

const (
	leastMemory = 64 << 10 // holds several keys, however long
	maxSorted   = 16 << 20 // bytes by which functions and scripts are sorted
)

// File is a file that was found to be whole. It is not safe for concurrent use.
type File struct {
	Info Info

	r       io.ReaderAt
	size    int64
	total   uint64 // records
	seed    maphash.Seed
	digest  uint64 // of the data, whatever its order is
	keys    *sorter
	begin   []section // what of it stays in front of the keys
	sorted  int       // bytes of their keys
	end     []section // and behind them
	between []stretch // all that is no record, in the order of the file
}

// section is a part of the file that is no record.
type section struct {
	kind       Kind
	start, end int64
	lua        bool
	key        []byte // by which it is sorted
}

// stretch is bytes of the file that are no record, in front of the how manieth one.
type stretch struct {
	before     uint64
	start, end int64
}

// Examine reads a file of the given size to its end. It uses about as much memory as it is told to, at least a
// little, and reads the file again as often as it takes when it writes.
func Examine(r io.ReaderAt, size int64, memory int) (*File, error) {
	f := &File{r: r, size: size, keys: newSorter(max(memory, leastMemory), size)}
	in, err := NewReader(io.NewSectionReader(r, 0, size))
	if err != nil {
		return nil, err
	}
	f.seed = maphash.MakeSeed()
	in.listen(f.seed)
	t := newTally(in)
	f.between = []stretch{{0, 0, headerSize}}
	err = f.scan(in, func(it *Item) error {
		f.note(it)
		if f.sorted > maxSorted {
			return &UnsupportedError{it.Start, "it has more functions than any server writes"}
		}
		return t.add(it)
	})
	if err != nil {
		return nil, err
	}
	f.Info, f.digest = t.done(in), in.digest
	slices.SortStableFunc(f.begin, compareSections)
	return f, nil
}

// scan goes through the file's items and sorts its records.
func (f *File) scan(in *Reader, visit func(*Item) error) error {
	group := uint16(0)
	for f.total = 0; ; {
		it, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil && visit != nil {
			err = visit(it)
		}
		if err != nil {
			return err
		}
		switch it.Kind {
		case Database:
			group = uint16(it.Number) // tally has refused greater ones
		case Record:
			f.keys.add(entry{off: it.Start, size: it.End - it.Start, ord: f.total, group: group}, it.Key)
			f.total++
		}
	}
}

// volatile are facts that differ between two files of the same data, or that only hold for the server that saved it.
var volatile = []string{"ctime", "used-mem", "repl-stream-db", "repl-id", "repl-offset"}

// note keeps where things are that are no record.
func (f *File) note(it *Item) {
	if it.Kind == Record {
		return
	}
	end := it.End
	if it.Kind == End {
		end = f.size
	}
	if last := &f.between[len(f.between)-1]; last.before == f.total && last.end == it.Start {
		last.end = end
	} else {
		f.between = append(f.between, stretch{f.total, it.Start, end})
	}
	s := section{kind: it.Kind, start: it.Start, end: it.End}
	switch it.Kind {
	case Aux:
		if slices.Contains(volatile, string(it.Name)) {
			return
		}
		if s.lua = strings.EqualFold(string(it.Name), "lua"); s.lua { // a script, of which there may be many
			s.key = bytes.Clone(it.Value)
		}
	case Function:
		s.key = bytes.Clone(it.Value)
	case ModuleAux:
		if f.total > 0 {
			f.end = append(f.end, s)
			return
		}
	default:
		return
	}
	f.begin = append(f.begin, s)
	f.sorted += len(s.key)
}

// compareSections puts facts first, then what modules have stored, then functions, which may need it.
func compareSections(a, b section) int {
	rank := func(s section) int {
		switch {
		case s.lua:
			return 1
		case s.kind == Aux:
			return 0
		case s.kind == ModuleAux:
			return 2
		}
		return 3
	}
	if c := rank(a) - rank(b); c != 0 {
		return c
	}
	return bytes.Compare(a.key, b.key)
}
