package retain

import (
	"cmp"
	"slices"
	"time"
)

// Snapshot is what a policy looks at. It is a plain value.
type Snapshot struct {
	ID    string
	Time  time.Time
	Host  string
	Paths []string
	Tags  []string
	Sound bool // complete, and nothing suspicious about its source
}

// Policy says how many snapshots to keep of a group. The zero Policy keeps everything: removing is
// only ever done on somebody's word.
type Policy struct {
	Last int // the newest ones, whatever their times
}

// IsZero reports whether the policy has no rule.
func (p Policy) IsZero() bool { return p == Policy{} }

// rule keeps the newest snapshot of each of the first n slots.
type rule struct {
	reason string
	n      int
	slot   func(place int, s *Snapshot) int64 // place 0 is the newest snapshot
}

func (p Policy) rules() []rule {
	return []rule{
		{"last snapshot", p.Last, func(place int, _ *Snapshot) int64 { return int64(place) }},
	}
}

// Keep is a snapshot that is kept, and why.
type Keep struct {
	Snapshot Snapshot
	Reasons  []string
}

// The reasons that no rule of a policy gives.
const (
	ReasonNoPolicy = "no policy"
	ReasonUnsound  = "newer than every complete snapshot"
)

// Apply divides the snapshots of one group into those to keep and those to remove, both newest first.
// Snapshots of the same time are ordered by their ids, so that the answer does not depend on the order
// of list, which is not changed.
func Apply(p Policy, list []Snapshot) (keep []Keep, remove []Snapshot) {
	sorted := slices.Clone(list)
	slices.SortFunc(sorted, newestFirst)
	if p.IsZero() {
		for _, s := range sorted {
			keep = append(keep, Keep{s, []string{ReasonNoPolicy}})
		}
		return keep, nil
	}
	reasons := make([][]string, len(sorted))
	counted := countedBy(sorted, func(s *Snapshot) bool { return s.Sound })
	switch {
	case len(counted) == 0:
		counted = countedBy(sorted, func(*Snapshot) bool { return true })
	default:
		for i := range counted[0] {
			reasons[i] = []string{ReasonUnsound}
		}
	}
	for _, r := range p.rules() {
		r.mark(sorted, counted, reasons)
	}
	for i, s := range sorted {
		if len(reasons[i]) > 0 {
			keep = append(keep, Keep{s, reasons[i]})
		} else {
			remove = append(remove, s)
		}
	}
	return keep, remove
}

// countedBy returns the places of the snapshots that fill slots.
func countedBy(sorted []Snapshot, counts func(*Snapshot) bool) (places []int) {
	for i := range sorted {
		if counts(&sorted[i]) {
			places = append(places, i)
		}
	}
	return places
}

// mark adds the rule's reason to the snapshots that it keeps.
func (r rule) mark(sorted []Snapshot, counted []int, reasons [][]string) {
	filled := 0
	var last int64
	for n, i := range counted {
		slot := r.slot(n, &sorted[i])
		if filled > 0 && slot == last {
			continue
		}
		if filled == r.n {
			return
		}
		filled++
		last = slot
		reasons[i] = append(reasons[i], r.reason)
	}
}

func newestFirst(a, b Snapshot) int {
	return cmp.Or(b.Time.Compare(a.Time), cmp.Compare(b.ID, a.ID))
}
