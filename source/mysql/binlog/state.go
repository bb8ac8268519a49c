package binlog

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// State is the last GTID of each domain. The zero value is one of which nothing is known yet. It is not safe for concurrent use.
type State struct {
	last  map[uint32]GTID
	known bool

	newest  *Event // with which the last transaction begins
	before  *GTID  // what was the last of its domain before it
	ended   bool   // the last event was the last of its file
	dropped bool
}

// ParseState reads a list of GTIDs with commas between them, as servers write it.
func ParseState(text string) (*State, error) {
	s := &State{last: map[uint32]GTID{}, known: true}
	for _, part := range strings.Split(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		g, err := ParseGTID(part)
		if err != nil {
			return nil, err
		}
		s.last[g.Domain] = g
	}
	return s, nil
}

func (s *State) String() string {
	list := slices.SortedFunc(maps.Values(s.last), func(a, b GTID) int { return cmp.Compare(a.Domain, b.Domain) })
	var texts []string
	for _, g := range list {
		texts = append(texts, g.String())
	}
	return strings.Join(texts, ",")
}

// Last returns the last GTID of a domain.
func (s *State) Last(domain uint32) (GTID, bool) {
	g, ok := s.last[domain]
	return g, ok
}

// Equal reports whether both are the same.
func (s *State) Equal(other *State) bool { return maps.Equal(s.last, other.last) }

// Follow takes note of an event. Where a list of what came before says otherwise, the error wraps ErrGap: something is missing in front
// of the file, or it is one of other logs.
func (s *State) Follow(e *Event) error {
	if s.last == nil {
		s.last = map[uint32]GTID{}
	}
	if e.GTID != nil {
		s.newest, s.before = e, nil
		if g, ok := s.last[e.GTID.Domain]; ok {
			s.before = &g
		}
		s.last[e.GTID.Domain], s.known = *e.GTID, true
	}
	if e.Before == nil {
		s.ended = e.Last || s.ended && e.Start == Begin
		return nil
	}
	before := map[uint32]GTID{}
	for _, g := range e.Before {
		before[g.Domain] = g // a domain's last one is the last of its list
	}
	s.dropped = s.known && !maps.Equal(s.last, before) && !s.ended && maps.Equal(s.without(), before)
	if s.known && !s.dropped && !maps.Equal(s.last, before) {
		return fmt.Errorf("%w: before it was %v, and not %v", ErrGap, &State{last: before}, s)
	}
	s.last, s.known, s.newest = before, true, nil
	return nil
}

// without is the state without the last transaction.
func (s *State) without() map[uint32]GTID {
	out := maps.Clone(s.last)
	if s.newest != nil {
		delete(out, s.newest.GTID.Domain)
	}
	if s.newest != nil && s.before != nil {
		out[s.before.Domain] = *s.before
	}
	return out
}

// Dropped reports whether the last list took back the transaction before it: the server was killed while it wrote it, and the file ends
// in the middle of it.
func (s *State) Dropped() bool { return s.dropped }
