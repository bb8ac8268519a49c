package retain_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/kura-backup/kura/retain"
)

// The oracle says the same as the package, in the words of restic's documentation and of docs/retention.md,
// and as slowly as they can be read: of every snapshot it asks every rule anew.

type oracle struct {
	policy retain.Policy
	list   []retain.Snapshot
	loc    *time.Location
}

func (o *oracle) newer(a, b retain.Snapshot) bool {
	return a.Time.After(b.Time) || a.Time.Equal(b.Time) && a.ID > b.ID
}

func (o *oracle) counting() (out []retain.Snapshot) {
	for _, s := range o.list {
		if s.Sound && !s.Doubtful {
			out = append(out, s)
		}
	}
	return out
}

// "relative to the latest snapshot"
func (o *oracle) inside(d retain.Duration, s retain.Snapshot) bool {
	counting := o.counting()
	if d == (retain.Duration{}) || len(counting) == 0 {
		return false
	}
	latest := counting[0].Time
	for _, c := range counting {
		if c.Time.After(latest) {
			latest = c.Time
		}
	}
	return s.Time.After(latest.In(o.loc).AddDate(-d.Years, -d.Months, -d.Days).Add(-time.Duration(d.Hours) * time.Hour))
}

// "for the last n days which have one or more snapshots, keep the most recent one for each day"
func (o *oracle) bySlot(s retain.Snapshot, n int, among []retain.Snapshot, slot func(retain.Snapshot) string) bool {
	if n == 0 || !slices.ContainsFunc(among, func(x retain.Snapshot) bool { return x.ID == s.ID }) {
		return false
	}
	newest := map[string]retain.Snapshot{} // of each slot
	oldest := s
	for _, x := range among {
		if y, ok := newest[slot(x)]; !ok || o.newer(x, y) {
			newest[slot(x)] = x
		}
		if o.newer(oldest, x) {
			oldest = x
		}
	}
	before := 0 // slots that are newer than that of s
	for name, x := range newest {
		if name != slot(s) && o.newer(x, newest[slot(s)]) {
			before++
		}
	}
	limited := n != retain.Unlimited
	if newest[slot(s)].ID == s.ID {
		return !limited || before < n
	}
	// "If there are not enough snapshots to keep one for each, the oldest snapshot is kept additionally"
	return s.ID == oldest.ID && (!limited || len(newest) < n)
}

func (o *oracle) keeps(s retain.Snapshot) bool {
	if s.Pinned || s.Doubtful || o.policy.IsZero() {
		return true
	}
	if !s.Sound && !slices.ContainsFunc(o.counting(), func(c retain.Snapshot) bool { return o.newer(c, s) }) {
		return true
	}
	for _, tags := range o.policy.Tags {
		all := true
		for _, tag := range tags {
			all = all && slices.Contains(s.Tags, tag)
		}
		if all {
			return true
		}
	}
	if o.inside(o.policy.Within, s) {
		return true
	}
	format := func(layout string) func(retain.Snapshot) string {
		return func(s retain.Snapshot) string { return s.Time.In(o.loc).Format(layout) }
	}
	week := func(s retain.Snapshot) string {
		// The week of a day is that of its Thursday.
		day := s.Time.In(o.loc)
		thursday := time.Date(day.Year(), day.Month(), day.Day(), 12, 0, 0, 0, time.UTC)
		thursday = thursday.AddDate(0, 0, 3-(int(thursday.Weekday())+6)%7)
		return fmt.Sprint(thursday.Year(), (thursday.YearDay()-1)/7)
	}
	p := o.policy
	all := o.counting()
	for _, r := range []struct {
		n      int
		within retain.Duration
		slot   func(retain.Snapshot) string
	}{
		{p.Last, retain.Duration{}, func(s retain.Snapshot) string { return s.ID }},
		{p.Hourly, p.WithinHourly, format("2006-01-02 15")},
		{p.Daily, p.WithinDaily, format("2006-01-02")},
		{p.Weekly, p.WithinWeekly, week},
		{p.Monthly, p.WithinMonthly, format("2006-01")},
		{p.Yearly, p.WithinYearly, format("2006")},
	} {
		if o.bySlot(s, r.n, all, r.slot) {
			return true
		}
		// The oldest of those within is kept only if it is the oldest of all.
		if o.inside(r.within, s) {
			older := slices.ContainsFunc(all, func(x retain.Snapshot) bool { return o.newer(s, x) })
			same := slices.ContainsFunc(all, func(x retain.Snapshot) bool { return r.slot(x) == r.slot(s) && o.newer(x, s) })
			if s.Sound && (!older || !same) {
				return true
			}
		}
	}
	return false
}

func TestApply_AgreesWithTheOracle(t *testing.T) {
	checked, stayed := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		in, loc := snapshots().Draw(t, "list"), zone().Draw(t, "zone")
		p := policies().Draw(t, "policy")
		keep, _ := retain.Apply(p, in, loc)
		o := &oracle{p, in, loc}
		for _, s := range in {
			checked++
			if want := o.keeps(s); want != contains(kept(keep), s.ID) {
				t.Fatalf("%+v: kept %t, oracle %t\npolicy %+v", s, !want, want, p)
			}
		}
		stayed += len(keep)
	})
	t.Logf("%d snapshots, %d kept", checked, stayed)
	if stayed == 0 || stayed == checked {
		t.Error("that shows nothing")
	}
}
