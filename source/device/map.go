package device

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/kura-backup/kura/source"
)

// Limits of maps, which may come from anywhere.
const (
	maxMapLine   = 4096
	maxMapRanges = 16 << 20
	maxStateName = 256
)

// Map is what somebody knows of a device beforehand.
type Map struct {
	Ranges []source.Range
	// Since and State name the state of the device that the map begins with and the one that it ends with. They are empty where
	// nothing is the same.
	Since, State string
}

var kindNames = map[source.RangeKind]string{source.Data: "data", source.Zero: "zero", source.Same: "same"}

var kindsByName = map[string]source.RangeKind{"data": source.Data, "zero": source.Zero, "same": source.Same}

// ReadMap reads the text form of a map:
//
//	# since NAME
//	# state NAME
//	START LENGTH data|zero|same
//
// Numbers are bytes, decimal or with 0x in front, or with k, m, g or t behind them for KiB to TiB. The ranges
// follow one another from 0 up to the size of the device, without gaps. Empty lines mean nothing, nor do other comments.
func ReadMap(r io.Reader, size int64) (*Map, error) {
	m := new(Map)
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, maxMapLine), maxMapLine)
	n := 0
	for lines.Scan() {
		n++
		if err := m.line(strings.TrimSpace(lines.Text()), size); err != nil {
			return nil, fmt.Errorf("%w: line %d: %w", ErrMap, n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%w: line %d: %w", ErrMap, n+1, err)
	}
	if got := end(m.Ranges); got != size {
		return nil, fmt.Errorf("%w: it ends at %d and the device at %d", ErrMap, got, size)
	}
	return m, m.check()
}

func (m *Map) line(line string, size int64) error {
	if text, ok := strings.CutPrefix(line, "#"); ok {
		return m.comment(strings.Fields(text))
	}
	line, _, _ = strings.Cut(line, "#")
	words := strings.Fields(line)
	if len(words) == 0 {
		return nil
	}
	if len(words) != 3 {
		return fmt.Errorf("want START LENGTH data|zero|same, have %.80q", line)
	}
	start, err := parseBytes(words[0])
	if err != nil {
		return err
	}
	length, err := parseBytes(words[1])
	if err != nil {
		return err
	}
	kind, ok := kindsByName[words[2]]
	switch next := end(m.Ranges); {
	case !ok:
		return fmt.Errorf("%.80q is none of data, zero, same", words[2])
	case length == 0:
		return fmt.Errorf("the range at %d is empty", start)
	case start < next:
		return fmt.Errorf("the range at %d overlaps the one that ends at %d", start, next)
	case start > next:
		return fmt.Errorf("nothing is said of the bytes from %d to %d", next, start)
	case length > size-start:
		return fmt.Errorf("the range at %d, of %d bytes, ends behind the device, which has %d", start, length, size)
	case len(m.Ranges) == maxMapRanges:
		return fmt.Errorf("more than %d ranges", maxMapRanges)
	}
	m.Ranges = appendRange(m.Ranges, kind, length)
	return nil
}

// comment understands the two that say which states a map is about.
func (m *Map) comment(words []string) error {
	if len(words) != 2 {
		return nil
	}
	to := &m.Since
	switch words[0] {
	case "since":
	case "state":
		to = &m.State
	default:
		return nil
	}
	if *to != "" && *to != words[1] {
		return fmt.Errorf("two names of one state: %.80q and %.80q", *to, words[1])
	}
	*to = words[1]
	return CheckState(words[1])
}

// check refuses a map in which something is the same as in a state without a name.
func (m *Map) check() error {
	if hasSame(m.Ranges) && m.Since == "" {
		return fmt.Errorf("%w: it does not say since which state what it calls the same is the same", ErrMap)
	}
	if m.Since != "" && m.Since == m.State && total(m.Ranges, source.Same) != end(m.Ranges) {
		return fmt.Errorf("%w: it begins and ends with the state %s, though something has changed", ErrMap, m.Since)
	}
	return nil
}

// WriteTo writes the text form.
func (m *Map) WriteTo(w io.Writer) (n int64, err error) {
	out := bufio.NewWriter(w)
	for _, c := range [...]struct{ what, name string }{{"since", m.Since}, {"state", m.State}} {
		if c.name != "" && err == nil {
			var k int
			k, err = fmt.Fprintf(out, "# %s %s\n", c.what, c.name)
			n += int64(k)
		}
	}
	for _, r := range m.Ranges {
		if err != nil {
			return n, err
		}
		var k int
		k, err = fmt.Fprintf(out, "%d %d %s\n", r.Start, r.Length, kindNames[r.Kind])
		n += int64(k)
	}
	if err == nil {
		err = out.Flush()
	}
	return n, err
}

// CheckState returns an error unless a text can be the name of a state.
func CheckState(name string) error {
	bad := strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f || r > 0x7e })
	if name == "" || len(name) > maxStateName || bad {
		return fmt.Errorf("%w: %.80q can not be the name of a state", ErrMap, name)
	}
	return nil
}

// parseBytes understands a number of bytes.
func parseBytes(s string) (int64, error) {
	digits, base, shift := s, 10, 0
	if hex, ok := strings.CutPrefix(strings.ToLower(s), "0x"); ok {
		digits, base = hex, 16
	} else if i := len(s) - 1; i > 0 {
		if unit := strings.IndexByte("bkmgt", s[i]|0x20); unit >= 0 {
			digits, shift = s[:i], 10*unit
		}
	}
	n, err := strconv.ParseUint(digits, base, 63)
	if err != nil || n > math.MaxInt64>>shift {
		return 0, fmt.Errorf("%.80q is not a number of bytes", s)
	}
	return int64(n) << shift, nil
}
