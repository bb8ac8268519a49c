package local

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"github.com/kura-backup/kura/internal/durable"
	"github.com/kura-backup/kura/internal/object"
)

const (
	arenaSize   = 8 << 20 // of places that are sorted at once
	sketchArena = 4 << 20 // of entries of sketches
	spillWrite  = 256 << 10
	spillRead   = 64 << 10 // for each run that is merged
	idSize      = len(object.BlobID{})

	firstItems = 8192 // more than these and the whole arena is reserved
	lenSize    = 2
)

// sorter sorts records (key, value) in bounded memory: it fills an arena, and when that is full
// writes it as a sorted run to a file without a name.
type sorter struct {
	dir   durable.FS
	key   int    // length of the keys, at least 8
	limit int    // of the arena
	arena []byte // records: key, length of the value (u16), value
	items []item

	out  durable.File // nil until something is spilled
	in   durable.File
	end  int64
	runs []run
}

type item struct {
	prefix uint64 // of the key, to compare most without going to the arena
	at     uint32
}

type run struct{ start, end int64 }

// newSorter returns a sorter of records with keys of a length.
func newSorter(dir durable.FS, key, arena int) *sorter {
	return &sorter{dir: dir, key: key, limit: arena}
}

func (s *sorter) add(key, value []byte) error {
	if len(s.arena)+len(key)+lenSize+len(value) > s.limit {
		if err := s.spill(); err != nil {
			return err
		}
	}
	if len(s.items) == firstItems {
		s.reserve()
	}
	s.items = append(s.items, item{binary.BigEndian.Uint64(key), uint32(len(s.arena))})
	s.arena = append(s.arena, key...)
	s.arena = binary.LittleEndian.AppendUint16(s.arena, uint16(len(value)))
	s.arena = append(s.arena, value...)
	return nil
}

// reserve makes room for a whole arena at once: growing step by step would leave twice its size
// to the garbage collector. Only small sorts, which are most, grow.
func (s *sorter) reserve() {
	if cap(s.arena) < s.limit {
		n := s.limit / (len(s.arena) / len(s.items)) * 9 / 8 // as many as will fit if they stay about as long
		s.arena = append(make([]byte, 0, s.limit), s.arena...)
		s.items = append(make([]item, 0, n), s.items...)
	}
}

func (s *sorter) sort() {
	slices.SortFunc(s.items, func(a, b item) int {
		if a.prefix != b.prefix {
			return cmp.Compare(a.prefix, b.prefix)
		}
		return cmp.Or(bytes.Compare(s.arena[a.at:][:s.key], s.arena[b.at:][:s.key]), cmp.Compare(a.at, b.at))
	})
}

func (s *sorter) record(i item) []byte {
	r := s.arena[i.at:]
	return r[:s.key+lenSize+int(binary.LittleEndian.Uint16(r[s.key:]))]
}

// spill writes the arena as a run.
func (s *sorter) spill() error {
	if s.out == nil {
		if err := s.openFile(); err != nil {
			return fmt.Errorf("local index: %w", err)
		}
	}
	s.sort()
	w := bufio.NewWriterSize(s.out, spillWrite)
	start := s.end
	for _, i := range s.items {
		r := s.record(i)
		s.end += int64(len(r))
		if _, err := w.Write(r); err != nil {
			return fmt.Errorf("local index: %w", err)
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("local index: %w", err)
	}
	s.runs = append(s.runs, run{start, s.end})
	s.arena, s.items = s.arena[:0], s.items[:0]
	return nil
}

func (s *sorter) openFile() error {
	name := randomName(spillPrefix)
	var err error
	if s.out, err = s.dir.CreateExcl(name, 0o600); err != nil {
		return err
	}
	if s.in, err = s.dir.Open(name); err != nil {
		return err
	}
	return s.dir.Unlink(name)
}

// close releases the file. The sorter is empty then.
func (s *sorter) close() {
	for _, f := range []durable.File{s.out, s.in} {
		if f != nil {
			_ = f.Close()
		}
	}
	*s = sorter{dir: s.dir, key: s.key, limit: s.limit}
}

// merge calls put with every key in ascending order and its values, joined.
func (s *sorter) merge(put func(key, values []byte) error) error {
	heads, err := s.heads()
	if err != nil {
		return err
	}
	var key, values []byte
	for len(heads) > 0 {
		first := heads[0]
		for _, h := range heads[1:] {
			if bytes.Compare(h.key(), first.key()) < 0 {
				first = h
			}
		}
		key, values = append(key[:0], first.key()...), values[:0]
		for i := 0; i < len(heads); {
			h := heads[i]
			more := true
			for more && bytes.Equal(h.key(), key) {
				values = append(values, h.value()...)
				if more, err = h.next(); err != nil {
					return err
				}
			}
			if !more {
				heads = slices.Delete(heads, i, i+1)
				continue
			}
			i++
		}
		if err := put(key, values); err != nil {
			return err
		}
	}
	return nil
}

// heads returns the runs at their first records. If nothing was spilled the arena is the only run.
func (s *sorter) heads() ([]*head, error) {
	var heads []*head
	if len(s.runs) == 0 {
		s.sort()
		heads = append(heads, &head{sorter: s, items: s.items})
	} else {
		if len(s.items) > 0 {
			if err := s.spill(); err != nil {
				return nil, err
			}
		}
		s.arena, s.items = nil, nil
		for _, r := range s.runs {
			section := io.NewSectionReader(s.in, r.start, r.end-r.start)
			heads = append(heads, &head{sorter: s, file: bufio.NewReaderSize(section, spillRead)})
		}
	}
	for i := 0; i < len(heads); {
		more, err := heads[i].next()
		if err != nil {
			return nil, err
		}
		if !more {
			heads = slices.Delete(heads, i, i+1)
			continue
		}
		i++
	}
	return heads, nil
}

// head is a run and its current record.
type head struct {
	sorter *sorter
	record []byte
	file   *bufio.Reader // a run in the file,
	items  []item        // or the arena
}

func (h *head) key() []byte   { return h.record[:h.sorter.key] }
func (h *head) value() []byte { return h.record[h.sorter.key+lenSize:] }

func (h *head) next() (bool, error) {
	if h.file == nil {
		if len(h.items) == 0 {
			return false, nil
		}
		h.record, h.items = h.sorter.record(h.items[0]), h.items[1:]
		return true, nil
	}
	start := h.sorter.key + lenSize
	h.record = slices.Grow(h.record[:0], start)[:start]
	if _, err := io.ReadFull(h.file, h.record); err != nil {
		if err == io.EOF {
			return false, nil
		}
		return false, fmt.Errorf("local index: %w", err)
	}
	n := int(binary.LittleEndian.Uint16(h.record[start-lenSize:]))
	h.record = slices.Grow(h.record, n)[:start+n]
	if _, err := io.ReadFull(h.file, h.record[start:]); err != nil {
		return false, fmt.Errorf("local index: %w", err)
	}
	return true, nil
}
