package device

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/source"
)

// Holes returns what is known of the device without reading it: where an image has holes it is zero. Of a block
// device nothing is known: to the kernel it has no holes.
func (d *Device) Holes() []source.Range {
	var out []source.Range
	for at := int64(0); at < d.size; {
		data, hole := d.nextData(at)
		out = appendRange(out, source.Zero, data-at)
		out = appendRange(out, source.Data, hole-data)
		at = hole
	}
	return out
}

// nextData returns the next range of data from an offset on.
func (d *Device) nextData(at int64) (from, to int64) {
	if d.block {
		return at, d.size
	}
	from, err := unix.Seek(int(d.f.Fd()), at, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO): // none
		return d.size, d.size
	case err != nil || from < at: // not known
		return at, d.size
	}
	to, err = unix.Seek(int(d.f.Fd()), from, unix.SEEK_HOLE)
	if err != nil || to <= from {
		to = d.size
	}
	return min(from, d.size), min(to, d.size)
}

// appendRange adds a range behind the last one, or to it if it is of the same kind.
func appendRange(ranges []source.Range, kind source.RangeKind, length int64) []source.Range {
	if length <= 0 {
		return ranges
	}
	last := len(ranges) - 1
	if last >= 0 && ranges[last].Kind == kind {
		ranges[last].Length += length
		return ranges
	}
	return append(ranges, source.Range{Start: end(ranges), Length: length, Kind: kind})
}

// end is where the last range ends.
func end(ranges []source.Range) int64 {
	if len(ranges) == 0 {
		return 0
	}
	last := &ranges[len(ranges)-1]
	return last.Start + last.Length
}

// hasSame reports whether anything is known to be as in the parent.
func hasSame(ranges []source.Range) bool {
	return slices.ContainsFunc(ranges, func(r source.Range) bool { return r.Kind == source.Same })
}

// total is how many bytes are of a kind.
func total(ranges []source.Range, kind source.RangeKind) (n int64) {
	for _, r := range ranges {
		if r.Kind == kind {
			n += r.Length
		}
	}
	return n
}
