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
	arenaSize  = 8 << 20 // of records that are sorted at once
	spillWrite = 256 << 10
	spillRead  = 64 << 10 // for each run that is merged
	idSize     = len(object.BlobID{})

	firstItems    = 8192            // more than these and the whole arena is reserved
	typicalRecord = recordHead + 16 // a little less than records have
)

// sorter sorts records (id, value) in bounded memory: it fills an arena, and when that is full
// writes it as a sorted run to a file without a name.
type sorter struct {
	dir   durable.FS
	arena []byte // records: id, length of the value (u16), value
	items []item

	out  durable.File // nil until something is spilled
	in   durable.File
	end  int64
	runs []run
}

type item struct {
	prefix uint64 // of the id, to compare most without going to the arena
	at     uint32
}

type run struct{ start, end int64 }

func newSorter(dir durable.FS) *sorter { return &sorter{dir: dir} }

const recordHead = idSize + 2

func (s *sorter) add(id *object.BlobID, value []byte) error {
	if len(s.arena)+recordHead+len(value) > arenaSize {
		if err := s.spill(); err != nil {
			return err
		}
	}
	if len(s.items) == firstItems {
		s.reserve()
	}
	s.items = append(s.items, item{binary.BigEndian.Uint64(id[:]), uint32(len(s.arena))})
	s.arena = append(s.arena, id[:]...)
	s.arena = binary.LittleEndian.AppendUint16(s.arena, uint16(len(value)))
	s.arena = append(s.arena, value...)
	return nil
}

// reserve makes room for a whole arena at once: growing step by step would leave twice its size
// to the garbage collector. Only small sorts, which are most, grow.
func (s *sorter) reserve() {
	if cap(s.arena) < arenaSize {
		s.arena = append(make([]byte, 0, arenaSize), s.arena...)
		s.items = append(make([]item, 0, arenaSize/typicalRecord), s.items...)
	}
}

func (s *sorter) sort() {
	slices.SortFunc(s.items, func(a, b item) int {
		if a.prefix != b.prefix {
			return cmp.Compare(a.prefix, b.prefix)
		}
		return cmp.Or(bytes.Compare(s.arena[a.at:][:idSize], s.arena[b.at:][:idSize]), cmp.Compare(a.at, b.at))
	})
}

func (s *sorter) record(i item) []byte {
	r := s.arena[i.at:]
	return r[:recordHead+int(binary.LittleEndian.Uint16(r[idSize:]))]
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
	*s = sorter{dir: s.dir}
}

// merge calls put with every id in ascending order and its values, joined.
func (s *sorter) merge(put func(id, values []byte) error) error {
	heads, err := s.heads()
	if err != nil {
		return err
	}
	var id [idSize]byte
	var values []byte
	for len(heads) > 0 {
		first := heads[0]
		for _, h := range heads[1:] {
			if bytes.Compare(h.id(), first.id()) < 0 {
				first = h
			}
		}
		copy(id[:], first.id())
		values = values[:0]
		for i := 0; i < len(heads); {
			h := heads[i]
			more := true
			for more && bytes.Equal(h.id(), id[:]) {
				values = append(values, h.record[recordHead:]...)
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
		if err := put(id[:], values); err != nil {
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
			heads = append(heads, &head{file: bufio.NewReaderSize(section, spillRead)})
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
	record []byte

	file   *bufio.Reader // a run in the file,
	sorter *sorter       // or the arena
	items  []item
}

func (h *head) id() []byte { return h.record[:idSize] }

func (h *head) next() (bool, error) {
	if h.file == nil {
		if len(h.items) == 0 {
			return false, nil
		}
		h.record, h.items = h.sorter.record(h.items[0]), h.items[1:]
		return true, nil
	}
	h.record = slices.Grow(h.record[:0], recordHead)[:recordHead]
	if _, err := io.ReadFull(h.file, h.record); err != nil {
		if err == io.EOF {
			return false, nil
		}
		return false, fmt.Errorf("local index: %w", err)
	}
	n := int(binary.LittleEndian.Uint16(h.record[idSize:]))
	h.record = slices.Grow(h.record, n)[:recordHead+n]
	if _, err := io.ReadFull(h.file, h.record[recordHead:]); err != nil {
		return false, fmt.Errorf("local index: %w", err)
	}
	return true, nil
}
