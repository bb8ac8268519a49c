package retain

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

var (
	// ErrGroupBy is wrapped by the errors of ParseGroupBy.
	ErrGroupBy = errors.New("retain: not a way to group snapshots")

	// ErrDuration is wrapped by the errors of ParseDuration.
	ErrDuration = errors.New("retain: not a duration")

	// ErrCount is wrapped by the errors of ParseCount.
	ErrCount = errors.New("retain: not a number of snapshots")

	// ErrRemovesAll is wrapped by a RemovesAllError.
	ErrRemovesAll = errors.New("retain: nothing would be left of a group")
)

// RemovesAllError is the refusal of Decide to remove all snapshots of a group.
type RemovesAllError struct{ Key Key }

func (e *RemovesAllError) Error() string {
	return fmt.Sprintf("%v: %v", ErrRemovesAll, e.Key)
}

func (e *RemovesAllError) Unwrap() error { return ErrRemovesAll }

// Snapshot is what a policy looks at. It is a plain value.
type Snapshot struct {
	ID       string
	Time     time.Time
	Host     string
	Paths    []string
	Tags     []string
	Sound    bool // complete, and nothing suspicious about its source
	Pinned   bool // it stays, whatever the policy says
	Doubtful bool // its time can not be right
}

// counts reports whether the snapshot may take a slot.
func (s *Snapshot) counts() bool { return s.Sound && !s.Doubtful }

// Keep is a snapshot that is kept, and why.
type Keep struct {
	Snapshot Snapshot
	Reasons  []string
}

// The reasons that no rule of a policy gives.
const (
	ReasonNoPolicy = "no policy"
	ReasonPinned   = "pinned"
	ReasonDoubtful = "doubtful time"
	ReasonUnsound  = "no complete one is newer"
)

// Decision is what a policy says of one group. Both lists are newest first.
type Decision struct {
	Key    Key
	Keep   []Keep
	Remove []Snapshot
	// Lone is set for a group with one snapshot, which therefore stays for as long as no other joins it,
	// although another group with the same host or the same paths has a newer one: mostly the host
	// was renamed, or something else is backed up now.
	Lone bool
}

// Options say how to decide.
type Options struct {
	Policy   Policy
	GroupBy  GroupBy
	Location *time.Location // whose hours, days, weeks, months and years count
	// AllowRemoveAll allows that all snapshots of a group are removed, for a policy that keeps none. With
	// the zero Policy all but pinned ones are removed then.
	AllowRemoveAll bool
}

// Decide groups the snapshots and applies the policy to each group. The error is a RemovesAllError for a
// group of which nothing would be left, unless that is allowed. The list is not changed, and its
// order does not matter.
func Decide(list []Snapshot, o Options) ([]Decision, error) {
	var out []Decision
	groups := Group(list, o.GroupBy)
	lone := loneIn(groups)
	for _, g := range groups {
		d := Decision{Key: g.Key, Lone: lone(&g)}
		if o.Policy.IsZero() && o.AllowRemoveAll {
			d.Keep, d.Remove = onlyPinned(g.Snapshots)
		} else {
			d.Keep, d.Remove = Apply(o.Policy, g.Snapshots, o.Location)
		}
		if len(d.Keep) == 0 && !o.AllowRemoveAll {
			return nil, &RemovesAllError{g.Key}
		}
		out = append(out, d)
	}
	return out, nil
}

// loneIn returns what tells the lone groups; see Decision.
func loneIn(groups []Grouped) func(*Grouped) bool {
	byHost, byPaths := map[string]time.Time{}, map[string]time.Time{} // the newest of each
	paths := func(s *Snapshot) string { return strings.Join(set(s.Paths), "\x00") }
	note := func(newest map[string]time.Time, key string, t time.Time) {
		if t.After(newest[key]) {
			newest[key] = t
		}
	}
	for i := range groups {
		s := &groups[i].Snapshots[0]
		note(byHost, s.Host, s.Time)
		note(byPaths, paths(s), s.Time)
	}
	return func(g *Grouped) bool {
		s := &g.Snapshots[0]
		return len(g.Snapshots) == 1 && (byHost[s.Host].After(s.Time) || byPaths[paths(s)].After(s.Time))
	}
}

func onlyPinned(list []Snapshot) (keep []Keep, remove []Snapshot) {
	for _, s := range list {
		if s.Pinned {
			keep = append(keep, Keep{s, []string{ReasonPinned}})
		} else {
			remove = append(remove, s)
		}
	}
	return keep, remove
}

// Apply divides the snapshots of one group into those to keep and those to remove, both newest first.
// Snapshots of the same time are ordered by their ids, so that the answer does not depend on the order
// of list, which is not changed. With the zero Policy all are kept. Something of a group is always kept
// unless the policy has nothing but tags.
func Apply(p Policy, list []Snapshot, loc *time.Location) (keep []Keep, remove []Snapshot) {
	sorted := slices.Clone(list)
	slices.SortFunc(sorted, newestFirst)
	reasons := make([][]string, len(sorted))
	var counted []int // places of those that take slots
	for i := range sorted {
		s := &sorted[i]
		reasons[i] = p.reasons(s, len(counted) == 0)
		if s.counts() {
			counted = append(counted, i)
		}
	}
	if len(counted) > 0 {
		p.applyRules(sorted, counted, reasons, loc)
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

// reasons are those for which a snapshot is kept whatever others there are, but for whether it is newer
// than all that count.
func (p *Policy) reasons(s *Snapshot, newest bool) (out []string) {
	if s.Pinned {
		out = append(out, ReasonPinned)
	}
	if s.Doubtful {
		out = append(out, ReasonDoubtful)
	}
	if p.IsZero() {
		return append(out, ReasonNoPolicy)
	}
	if !s.Sound && !s.Doubtful && newest {
		out = append(out, ReasonUnsound)
	}
	for _, tags := range p.Tags {
		if tags.in(s) {
			out = append(out, "has tags "+tags.String())
		}
	}
	return out
}

func (p *Policy) applyRules(sorted []Snapshot, counted []int, reasons [][]string, loc *time.Location) {
	newest := sorted[counted[0]].Time.In(loc)
	if !p.Within.IsZero() {
		since := p.Within.Before(newest)
		for i := range sorted {
			if s := &sorted[i]; !s.Doubtful && s.Time.After(since) {
				reasons[i] = append(reasons[i], "within "+p.Within.String())
			}
		}
	}
	for _, r := range p.rules() {
		r.mark(sorted, counted, reasons, loc, newest)
	}
}

func newestFirst(a, b Snapshot) int {
	return cmp.Or(b.Time.Compare(a.Time), cmp.Compare(b.ID, a.ID))
}
