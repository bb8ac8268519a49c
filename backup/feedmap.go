package backup

import (
	"io"
	"slices"

	"github.com/kura-backup/kura/source"
	"github.com/kura-backup/kura/tree"
)

// maxAgainExtents is how many extents of the parent are handed on at once.
const maxAgainExtents = 512

// mapping is a file that is written by a map of what has changed.
type mapping struct {
	f      *feedFile
	from   io.ReaderAt
	ranges []source.Range // those that were not dealt with
	at     int64          // where the rest begins
	again  []tree.Extent  // of the parent, not handed on yet; they end at at
	size   int64          // of them
	read   int64
}

// ReadMap is of source.File. An extent of the parent is used again where the map says that all of it is the same and
// the repository has it; all that lies between such extents is read and cut as a stream of its own.
func (f *feedFile) ReadMap(r io.ReaderAt, ranges []source.Range) (read int64, err error) {
	if err := f.usable(0); err != nil {
		return 0, err
	}
	if err := source.CheckRanges(f.size, ranges); err != nil {
		return 0, err
	}
	m := &mapping{f: f, from: r, ranges: slices.Clone(ranges), at: f.size}
	same := slices.ContainsFunc(ranges, func(g source.Range) bool { return g.Kind == source.Same })
	if same {
		err = m.alongParent()
	}
	if err == nil {
		err = m.readTo(m.end(), false)
	}
	if err == nil {
		err = m.flush()
	}
	return m.read, err
}

// end is where the map ends.
func (m *mapping) end() int64 {
	if len(m.ranges) == 0 {
		return m.at
	}
	last := m.ranges[len(m.ranges)-1]
	return last.Start + last.Length
}

// alongParent goes along the parent's extents as far as they and the map go.
func (m *mapping) alongParent() error {
	w := m.f.feed
	old, err := m.f.before()
	if err != nil || old == nil {
		return err
	}
	end, start := m.end(), int64(0)
	for e, err := range tree.ReadContent(w.ctx, old, w.repo.LoadTree) {
		if err != nil {
			return w.lost(m.f.path, err)
		}
		next := start + e.Length
		switch {
		case next <= m.at:
		case start >= end:
			return nil
		case start == m.at && next <= end && m.isSame(&e, next) && (e.Kind != tree.Data || w.session.Rely(e.ID)):
			err = m.use(e)
		default:
			err = m.readTo(min(next, end), e.Kind != tree.Data)
		}
		if err != nil {
			return err
		}
		start = next
	}
	return nil
}

// isSame reports whether the map says that an extent from m.at to end has what it had: zeros also where they are zero again.
func (m *mapping) isSame(e *tree.Extent, end int64) bool {
	for _, g := range m.ranges {
		if g.Start >= end {
			break
		}
		if g.Kind != source.Same && g.Length > 0 && (g.Kind != source.Zero || e.Kind == tree.Data) {
			return false
		}
	}
	return true
}

// use takes over an extent of the parent.
func (m *mapping) use(e tree.Extent) error {
	m.again = append(m.again, e)
	m.size += e.Length
	m.skip(m.at + e.Length)
	if len(m.again) < maxAgainExtents {
		return nil
	}
	return m.flush()
}

// skip removes what is before end from the map.
func (m *mapping) skip(end int64) {
	for len(m.ranges) > 0 && m.ranges[0].Start+m.ranges[0].Length <= end {
		m.ranges = m.ranges[1:]
	}
	if len(m.ranges) > 0 && m.ranges[0].Start < end {
		g := &m.ranges[0]
		g.Length -= end - g.Start
		g.Start = end
	}
	m.at = end
}

// flush hands on the extents that are used again.
func (m *mapping) flush() error {
	if len(m.again) == 0 {
		return nil
	}
	if err := m.f.flush(false); err != nil {
		return err
	}
	err := m.f.in.hand(part{extents: m.again}).err
	if err == nil {
		m.f.size += m.size
		m.f.feed.report.progress.BytesDone.Add(uint64(m.size))
	}
	m.again, m.size = m.again[:0], 0
	return err
}

// readTo reads what is not known before end. zeros says that what is the same was zero.
func (m *mapping) readTo(end int64, zeros bool) error {
	if m.at < end {
		if err := m.flush(); err != nil {
			return err
		}
	}
	for m.at < end {
		g := m.ranges[0]
		isZero := func(k source.RangeKind) bool { return k == source.Zero || k == source.Same && zeros }
		stop := min(g.Start+g.Length, end)
		zero := isZero(g.Kind)
		for _, more := range m.ranges[1:] { // what is read belongs together
			if zero != isZero(more.Kind) || more.Start >= end {
				break
			}
			stop = min(more.Start+more.Length, end)
		}
		n := stop - m.at
		if n == 0 {
			m.ranges = m.ranges[1:]
			continue
		}
		var err error
		if zero {
			err = m.f.Zeros(n)
		} else {
			err = m.readBytes(n)
		}
		if err != nil {
			return err
		}
		m.skip(stop)
	}
	return nil
}

func (m *mapping) readBytes(n int64) error {
	got, err := m.f.ReadFrom(io.NewSectionReader(m.from, m.at, n))
	m.read += got
	if err == nil && got < n {
		err = io.ErrUnexpectedEOF
	}
	return err
}
