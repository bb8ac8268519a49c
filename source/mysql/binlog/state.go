package binlog

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// State is the last GTID of each domain.
type State map[uint32]GTID

// ParseState reads a list of GTIDs with commas between them, as servers write it.
func ParseState(text string) (State, error) {
	s := State{}
	for _, part := range strings.Split(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		g, err := ParseGTID(part)
		if err != nil {
			return nil, err
		}
		s[g.Domain] = g
	}
	return s, nil
}

func (s State) String() string {
	list := slices.SortedFunc(maps.Values(s), func(a, b GTID) int { return cmp.Compare(a.Domain, b.Domain) })
	var texts []string
	for _, g := range list {
		texts = append(texts, g.String())
	}
	return strings.Join(texts, ",")
}

// Follow takes note of an event. A list of what came before that does not have what did is an error wrapping ErrFormat: the file is
// not the one that follows.
func (s State) Follow(e *Event) error {
	if e.GTID != nil {
		s[e.GTID.Domain] = *e.GTID
	}
	if e.Before == nil {
		return nil
	}
	for _, g := range s {
		if !slices.Contains(e.Before, g) {
			return fmt.Errorf("%w: what comes before it is %v, and not %v", ErrFormat, e.Before, s)
		}
	}
	for _, g := range e.Before {
		if s[g.Domain].Number < g.Number {
			s[g.Domain] = g
		}
	}
	return nil
}
