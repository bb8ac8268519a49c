package retain

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Unlimited, as a number of slots, means all of them.
const Unlimited = -1

// Policy says which snapshots to keep of a group. A rule that is zero keeps nothing. The zero Policy keeps
// everything: removing is only ever done on somebody's word.
type Policy struct {
	Last    int // the newest ones, whatever their times; Unlimited for all
	Hourly  int // the newest of each of the last hours that have any; likewise the others
	Daily   int
	Weekly  int // weeks begin on Mondays, as in ISO 8601
	Monthly int
	Yearly  int

	Within        Duration // all that are younger than the newest by less than this
	WithinHourly  Duration // of these the newest of each hour; likewise the others
	WithinDaily   Duration
	WithinWeekly  Duration
	WithinMonthly Duration
	WithinYearly  Duration

	Tags []TagList // all that have all tags of one of the lists
}

// IsZero reports whether the policy has no rule.
func (p *Policy) IsZero() bool {
	return len(p.rules()) == 0 && p.Within.IsZero() && len(p.Tags) == 0
}

// ParseCount understands a number of slots: 0 or more, or "unlimited", which -1 means, too.
func ParseCount(s string) (int, error) {
	if s == "unlimited" {
		return Unlimited, nil
	}
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < Unlimited {
		return 0, fmt.Errorf("%w: %q: want a number, or unlimited", ErrCount, s)
	}
	return int(n), nil
}

// TagList is a list of tags that a snapshot must have all of.
type TagList []string

func (l TagList) String() string { return strings.Join(l, ",") }

func (l TagList) in(s *Snapshot) bool {
	return !slices.ContainsFunc(l, func(tag string) bool { return !slices.Contains(s.Tags, tag) })
}

// rule keeps the newest snapshot of each slot, of the first n slots or of all since a time.
type rule struct {
	reason string
	n      int
	within Duration
	slot   func(place int, t time.Time) [4]int // place 0 is the newest snapshot
}

// rules returns those with slots that the policy has.
func (p *Policy) rules() []rule {
	all := []rule{
		{"last snapshot", p.Last, Duration{}, place},
		{"hourly snapshot", p.Hourly, Duration{}, hour},
		{"daily snapshot", p.Daily, Duration{}, day},
		{"weekly snapshot", p.Weekly, Duration{}, week},
		{"monthly snapshot", p.Monthly, Duration{}, month},
		{"yearly snapshot", p.Yearly, Duration{}, year},
		{"hourly within " + p.WithinHourly.String(), Unlimited, p.WithinHourly, hour},
		{"daily within " + p.WithinDaily.String(), Unlimited, p.WithinDaily, day},
		{"weekly within " + p.WithinWeekly.String(), Unlimited, p.WithinWeekly, week},
		{"monthly within " + p.WithinMonthly.String(), Unlimited, p.WithinMonthly, month},
		{"yearly within " + p.WithinYearly.String(), Unlimited, p.WithinYearly, year},
	}
	const counted = 6
	var out []rule
	for i, r := range all {
		if i < counted && r.n != 0 || i >= counted && !r.within.IsZero() {
			out = append(out, r)
		}
	}
	return out
}

func place(n int, _ time.Time) [4]int { return [4]int{n} }

func hour(_ int, t time.Time) [4]int {
	return [4]int{t.Year(), int(t.Month()), t.Day(), t.Hour()}
}

func day(_ int, t time.Time) [4]int { return [4]int{t.Year(), int(t.Month()), t.Day()} }

func week(_ int, t time.Time) [4]int {
	y, w := t.ISOWeek()
	return [4]int{y, w}
}

func month(_ int, t time.Time) [4]int { return [4]int{t.Year(), int(t.Month())} }

func year(_ int, t time.Time) [4]int { return [4]int{t.Year()} }

// mark adds the rule's reason to the snapshots that it keeps. The oldest one is kept, too, while slots are
// left: a policy of 12 months that has been in force for 5 keeps the beginning.
func (r *rule) mark(sorted []Snapshot, counted []int, reasons [][]string, loc *time.Location, newest time.Time) {
	since := r.within.Before(newest)
	filled := 0
	var last [4]int
	for n, i := range counted {
		t := sorted[i].Time.In(loc)
		if !r.within.IsZero() && !t.After(since) || filled == r.n {
			return
		}
		slot := r.slot(n, t)
		switch {
		case filled == 0 || slot != last:
			reasons[i] = append(reasons[i], r.reason)
		case n == len(counted)-1:
			reasons[i] = append(reasons[i], "oldest "+r.reason)
		default:
			continue
		}
		filled++
		last = slot
	}
}
