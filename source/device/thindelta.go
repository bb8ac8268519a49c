package device

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/kura-backup/kura/source"
)

// thinRanges says what a range of thin_delta means. What the newer device does not map reads as zeros, or as what an external
// origin has; reading it settles that, and is as fast as memory.
var thinRanges = map[string]source.RangeKind{
	"same": source.Same, "different": source.Data, "right_only": source.Data, "left_only": source.Data,
}

// ParseThinDelta makes a map of what thin_delta says of two devices of a thin pool, the older one first, of a device of a size. What
// it does not mention neither of them maps: it is the same.
func ParseThinDelta(r io.Reader, size int64) (*Map, error) {
	p := thinParser{size: size, m: new(Map)}
	d := xml.NewDecoder(io.LimitReader(r, 4<<30))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			if start, ok := token.(xml.StartElement); ok {
				err = p.element(&start)
			}
			if stop, ok := token.(xml.EndElement); ok && stop.Name.Local == "superblock" {
				p.complete = true
			}
		}
		if err != nil {
			return nil, fmt.Errorf("%w: thin_delta: %w", ErrMap, err)
		}
	}
	if !p.complete || !p.diff {
		return nil, fmt.Errorf("%w: thin_delta: not all of its output is there", ErrMap)
	}
	p.m.Ranges = appendRange(p.m.Ranges, source.Same, size-end(p.m.Ranges))
	return p.m, nil
}

type thinParser struct {
	size, unit     int64
	m              *Map
	diff, complete bool
}

func (p *thinParser) element(e *xml.StartElement) error {
	switch name := e.Name.Local; name {
	case "superblock":
		sectors, err := attribute(e, "data_block_size")
		if err != nil {
			return err
		}
		// The kernel has blocks of 64 KiB to 1 GiB.
		if p.unit != 0 || sectors < 128 || sectors > 2<<20 {
			return fmt.Errorf("a data block size of %d sectors", sectors)
		}
		p.unit = sectors * 512
		return nil
	case "diff":
		if p.unit == 0 || p.diff {
			return errors.New("a diff at the wrong place")
		}
		p.diff = true
		return nil
	default:
		kind, ok := thinRanges[name]
		if !ok || !p.diff {
			return fmt.Errorf("<%.40s> is not known here; run thin_delta without --verbose", name)
		}
		return p.add(e, kind)
	}
}

func (p *thinParser) add(e *xml.StartElement, kind source.RangeKind) error {
	begin, err := attribute(e, "begin")
	if err != nil {
		return err
	}
	length, err := attribute(e, "length")
	if err != nil {
		return err
	}
	if begin > math.MaxInt64/p.unit || length > math.MaxInt64/p.unit-begin {
		return fmt.Errorf("a range of %d blocks at %d", length, begin)
	}
	next := end(p.m.Ranges)
	from, to := begin*p.unit, (begin+length)*p.unit
	if from < next && next < p.size {
		return fmt.Errorf("the range at block %d overlaps the one before", begin)
	}
	if len(p.m.Ranges) > maxMapRanges {
		return fmt.Errorf("more than %d ranges", maxMapRanges)
	}
	// The last block of a device may be larger than what is left of it, and a device that shrank has blocks behind its end.
	p.m.Ranges = appendRange(p.m.Ranges, source.Same, min(from, p.size)-next)
	p.m.Ranges = appendRange(p.m.Ranges, kind, min(to, p.size)-end(p.m.Ranges))
	return nil
}

func attribute(e *xml.StartElement, name string) (int64, error) {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			n, err := strconv.ParseInt(a.Value, 10, 64)
			if err != nil || n < 0 {
				return 0, fmt.Errorf("<%.40s> has %s=%.40q", e.Name.Local, name, a.Value)
			}
			return n, nil
		}
	}
	return 0, fmt.Errorf("<%.40s> has no %s", e.Name.Local, name)
}
