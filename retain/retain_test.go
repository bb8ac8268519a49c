package retain_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kura-backup/kura/retain"
)

func TestApply_EverySnapshotIsOnOneSide(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := snapshots().Draw(t, "list")
		before := slices.Clone(in)
		keep, remove := retain.Apply(policies().Draw(t, "policy"), in, zone().Draw(t, "zone"))
		if !cmp.Equal(in, before) {
			t.Fatal("the list was changed")
		}
		both := slices.Sorted(slices.Values(append(ids(kept(keep)), ids(remove)...)))
		if want := slices.Sorted(slices.Values(ids(in))); !slices.Equal(both, want) {
			t.Fatalf("kept and removed: %v, list: %v", both, want)
		}
		for _, k := range keep {
			if len(k.Reasons) == 0 {
				t.Fatalf("%s is kept without a reason", k.Snapshot.ID)
			}
		}
	})
}

func TestApply_Again_RemovesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, loc := policies().Draw(t, "policy"), zone().Draw(t, "zone")
		keep, _ := retain.Apply(p, snapshots().Draw(t, "list"), loc)
		if _, gone := retain.Apply(p, kept(keep), loc); len(gone) != 0 {
			t.Fatalf("%v go of %v", ids(gone), ids(kept(keep)))
		}
	})
}

func TestApply_OrderOfTheList_DoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, loc, in := policies().Draw(t, "policy"), zone().Draw(t, "zone"), snapshots().Draw(t, "list")
		keep, remove := retain.Apply(p, in, loc)
		k, r := retain.Apply(p, rapid.Permutation(in).Draw(t, "shuffled"), loc)
		if !cmp.Equal(k, keep) || !cmp.Equal(r, remove) {
			t.Fatalf("another order, another answer: %s", cmp.Diff(keep, k))
		}
	})
}

// more makes a policy that is at least as generous.
func more(t *rapid.T, p retain.Policy) retain.Policy {
	for _, n := range []*int{&p.Last, &p.Hourly, &p.Daily, &p.Weekly, &p.Monthly, &p.Yearly} {
		add := rapid.SampledFrom([]int{0, 0, 1, 4, retain.Unlimited}).Draw(t, "more")
		switch {
		case *n == retain.Unlimited || add == retain.Unlimited:
			*n = retain.Unlimited
		default:
			*n += add
		}
	}
	for _, d := range []*retain.Duration{&p.Within, &p.WithinHourly, &p.WithinDaily, &p.WithinWeekly, &p.WithinMonthly, &p.WithinYearly} {
		d.Days += rapid.SampledFrom([]int{0, 0, 1, 40}).Draw(t, "longer")
	}
	p.Tags = append(slices.Clone(p.Tags), rapid.SampledFrom([][]retain.TagList{nil, {{"t"}}}).Draw(t, "more tags")...)
	return p
}

func TestApply_MoreGenerousPolicy_KeepsAllOfItAndMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, loc, in := someRule().Draw(t, "policy"), zone().Draw(t, "zone"), snapshots().Draw(t, "list")
		keep, _ := retain.Apply(p, in, loc)
		generous := more(t, p)
		all, _ := retain.Apply(generous, in, loc)
		for _, s := range kept(keep) {
			if !contains(kept(all), s.ID) {
				t.Fatalf("%s stays with %+v and not with %+v", s.ID, p, generous)
			}
		}
	})
}

// Whatever a clock, an interrupted run or a pin adds to a group, it takes the place of nothing.
func TestApply_SnapshotsThatTakeNoSlot_DisplaceNobody(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, loc, in := policies().Draw(t, "policy"), zone().Draw(t, "zone"), snapshots().Draw(t, "list")
		odd := retain.Snapshot{ID: "odd", Time: epoch.Add(time.Duration(rapid.IntRange(-1e5, 1e5).Draw(t, "time")) * time.Hour)}
		switch rapid.IntRange(0, 2).Draw(t, "what") {
		case 0:
			odd.Doubtful, odd.Sound = true, rapid.Bool().Draw(t, "sound")
		case 1: // partial
		case 2:
			odd.Pinned = true
		}
		before, _ := retain.Apply(p, in, loc)
		after, removed := retain.Apply(p, append(slices.Clone(in), odd), loc)
		for _, s := range kept(before) {
			if !contains(kept(after), s.ID) {
				t.Fatalf("%s is displaced by %+v", s.ID, odd)
			}
		}
		if (odd.Doubtful || odd.Pinned) && contains(removed, odd.ID) {
			t.Fatalf("%+v is removed", odd)
		}
		if len(after) > len(before)+1 {
			t.Fatal("it changes what is kept of the others")
		}
	})
}

func TestApply_Pinning_ChangesNothingForOthers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, loc, in := policies().Draw(t, "policy"), zone().Draw(t, "zone"), snapshots().Draw(t, "list")
		if len(in) == 0 {
			return
		}
		before, _ := retain.Apply(p, in, loc)
		pinned := slices.Clone(in)
		n := rapid.IntRange(0, len(in)-1).Draw(t, "which")
		pinned[n].Pinned = true
		after, _ := retain.Apply(p, pinned, loc)
		if !contains(kept(after), in[n].ID) {
			t.Fatal("a pinned snapshot goes")
		}
		for _, s := range in {
			if s.ID != in[n].ID && contains(kept(before), s.ID) != contains(kept(after), s.ID) {
				t.Fatalf("%s fares differently", s.ID)
			}
		}
	})
}

func TestDecide_WithoutPermission_LeavesSomethingOfEveryGroup(t *testing.T) {
	refused := 0
	rapid.Check(t, func(t *rapid.T) {
		in := snapshots().Draw(t, "list")
		o := retain.Options{Policy: policies().Draw(t, "policy"), GroupBy: retain.DefaultGroupBy, Location: zone().Draw(t, "zone")}
		if rapid.Bool().Draw(t, "tags only") {
			o.Policy = retain.Policy{Tags: []retain.TagList{{"s"}}}
		}
		got, err := retain.Decide(in, o)
		for _, d := range got {
			if len(d.Keep) == 0 {
				t.Fatalf("nothing is left of %v", d.Key)
			}
		}
		if err != nil {
			refused++
			if !errors.Is(err, retain.ErrRemovesAll) || len(o.Policy.Tags) == 0 {
				t.Fatal(err)
			}
		}
		o.AllowRemoveAll = true
		got, err = retain.Decide(in, o)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range got {
			for _, s := range d.Remove {
				if s.Pinned {
					t.Fatalf("pinned %s is removed", s.ID)
				}
			}
		}
	})
	if t.Logf("%d refused", refused); refused == 0 {
		t.Error("nothing was ever refused")
	}
}

func TestDecide_NoPolicyButPermission_RemovesAllButPinned(t *testing.T) {
	in := list("2026-01-01 10:00", "2026-01-02 10:00", "2026-01-03 10:00")
	in[1].Pinned, in[2].Doubtful = true, true
	got, err := retain.Decide(in, retain.Options{AllowRemoveAll: true, Location: time.UTC})
	if err != nil || len(got) != 1 || !slices.Equal(ids(kept(got[0].Keep)), []string{in[1].ID}) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestApply_NoPolicy_KeepsAll(t *testing.T) {
	in := []retain.Snapshot{{ID: "a", Sound: true}, {ID: "b"}}
	keep, remove := retain.Apply(retain.Policy{}, in, time.UTC)
	if len(keep) != 2 || len(remove) != 0 || keep[0].Reasons[0] != retain.ReasonNoPolicy {
		t.Errorf("keep %v, remove %v", keep, remove)
	}
}

// A run that was cut off leaves a partial snapshot, which stays live when the next run is complete. It must
// not push out the newest complete one, and must not stay for ever.
func TestApply_PartialSnapshots_StayUntilACompleteOneIsNewer(t *testing.T) {
	in := list("2026-01-01 01:00", "2026-01-01 02:00", "2026-01-01 03:00", "2026-01-01 04:00")
	in[1].Sound, in[3].Sound = false, false
	keep, remove := retain.Apply(retain.Policy{Last: 1}, in, time.UTC)
	want := []retain.Keep{
		{Snapshot: in[3], Reasons: []string{retain.ReasonUnsound}},
		{Snapshot: in[2], Reasons: []string{"last snapshot"}},
	}
	if diff := cmp.Diff(want, keep); diff != "" {
		t.Error(diff)
	}
	if got := ids(remove); !slices.Equal(got, []string{in[1].ID, in[0].ID}) {
		t.Errorf("removed %v", got)
	}
	// A snapshot of doubtful time is no reason to let a partial one go.
	in[2].Doubtful = true
	wantKept(t, retain.Policy{Last: 1}, in[1:], in[3].ID, in[2].ID, in[1].ID)
	// Without any complete one all stay.
	wantKept(t, retain.Policy{Last: 1}, []retain.Snapshot{in[1], in[3]}, in[3].ID, in[1].ID)
	// A rule without slots holds for them as for others.
	in[2].Doubtful, in[1].Tags = false, []string{"keep"}
	wantKept(t, retain.Policy{Last: 1, Tags: []retain.TagList{{"keep"}}}, in[:3], in[2].ID, in[1].ID)
	wantKept(t, retain.Policy{Within: retain.Duration{Hours: 2}}, in[:3], in[2].ID, in[1].ID)
}

// The clock was at 2031 for a while, and at 2001 for another.
func TestApply_WrongClock_PushesOutNothing(t *testing.T) {
	good := list("2026-03-01 10:00", "2026-03-02 10:00", "2026-03-03 10:00")
	odd := list("2031-01-01 10:00", "2001-01-01 10:00")
	for i := range odd {
		odd[i].Doubtful = true
	}
	in := append(slices.Clone(good), odd...)
	for name, p := range map[string]retain.Policy{
		"last":   {Last: 2},
		"daily":  {Daily: 2},
		"within": {Within: retain.Duration{Days: 1, Hours: 1}},
	} {
		keep, remove := retain.Apply(p, in, time.UTC)
		if got := ids(kept(keep)); !slices.Equal(got, []string{odd[0].ID, good[2].ID, good[1].ID, odd[1].ID}) {
			t.Errorf("%s: kept %q", name, got)
		}
		if len(remove) != 1 || keep[0].Reasons[0] != retain.ReasonDoubtful {
			t.Errorf("%s: removed %v, reasons %v", name, ids(remove), keep[0].Reasons)
		}
	}
}

func TestApply_Rules_Table(t *testing.T) {
	days := list("2026-03-06 09:00", "2026-03-06 18:00", "2026-03-07 09:00", "2026-03-09 09:00", "2026-03-09 09:30")
	wantKept(t, retain.Policy{Last: 2}, days, "2026-03-09 09:30", "2026-03-09 09:00")
	wantKept(t, retain.Policy{Hourly: 2}, days, "2026-03-09 09:30", "2026-03-07 09:00")
	wantKept(t, retain.Policy{Daily: 2}, days, "2026-03-09 09:30", "2026-03-07 09:00")
	wantKept(t, retain.Policy{Daily: 3}, days, "2026-03-09 09:30", "2026-03-07 09:00", "2026-03-06 18:00")
	// The oldest one stays while there are days left to fill.
	wantKept(t, retain.Policy{Daily: 4}, days, "2026-03-09 09:30", "2026-03-07 09:00", "2026-03-06 18:00", "2026-03-06 09:00")
	// 2026-03-09 is a Monday.
	wantKept(t, retain.Policy{Weekly: 2}, days, "2026-03-09 09:30", "2026-03-07 09:00")
	wantKept(t, retain.Policy{Monthly: 1}, days, "2026-03-09 09:30")
	wantKept(t, retain.Policy{Yearly: retain.Unlimited}, days, "2026-03-09 09:30", "2026-03-06 09:00")
	wantKept(t, retain.Policy{Within: retain.Duration{Days: 2, Hours: 1}}, days, "2026-03-09 09:30", "2026-03-09 09:00", "2026-03-07 09:00")
	// Exactly as old as that is too old.
	wantKept(t, retain.Policy{Within: retain.Duration{Days: 2, Hours: 0}}, list("2026-03-07 09:30", "2026-03-09 09:30"), "2026-03-09 09:30")
	wantKept(t, retain.Policy{WithinDaily: retain.Duration{Days: 3}}, days, "2026-03-09 09:30", "2026-03-07 09:00", "2026-03-06 18:00")

	// The last days of 2024 are in the first week of 2025, and the first of 2027 in the last of 2026.
	years := list("2024-12-29 10:00", "2024-12-30 10:00", "2025-01-01 10:00", "2026-12-31 10:00", "2027-01-03 10:00")
	wantKept(t, retain.Policy{Weekly: 3}, years, "2027-01-03 10:00", "2025-01-01 10:00", "2024-12-29 10:00")
}

func TestApply_Days_AreThoseOfTheZone(t *testing.T) {
	in := list("2026-03-06 22:30", "2026-03-06 23:30", "2026-03-07 00:30")
	keep, _ := retain.Apply(retain.Policy{Daily: 1}, in, time.FixedZone("", 3600))
	if got := fmt.Sprint(ids(kept(keep))); got != "[2026-03-07 00:30]" {
		t.Error(got)
	}
	_, remove := retain.Apply(retain.Policy{Daily: 2}, in, time.FixedZone("", 3600))
	if got := fmt.Sprint(ids(remove)); got != "[2026-03-06 23:30]" {
		t.Error(got)
	}
}

// A month back from 10 o'clock in summer time is 10 o'clock in winter time.
func TestApply_Within_CountsByTheCalendarOfTheZone(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip(err)
	}
	in := list("2026-03-01 08:30", "2026-03-01 09:30", "2026-04-01 08:00")
	_, remove := retain.Apply(retain.Policy{Within: retain.Duration{Months: 1}}, in, berlin)
	if got := ids(remove); !slices.Equal(got, []string{"2026-03-01 08:30"}) {
		t.Errorf("removed %q", got)
	}
}

func TestApply_Reasons_SayWhichRules(t *testing.T) {
	in := list("2026-03-06 09:00", "2026-03-06 18:00")
	in[0].Tags, in[1].Pinned = []string{"a", "b"}, true
	keep, _ := retain.Apply(retain.Policy{Last: 1, Daily: 5, WithinYearly: retain.Duration{Years: 1}, Tags: []retain.TagList{{"b", "a"}}}, in, time.UTC)
	want := [][]string{
		{"pinned", "last snapshot", "daily snapshot", "yearly within 1y"},
		{"has tags b,a", "oldest daily snapshot", "oldest yearly within 1y"},
	}
	for i, k := range keep {
		if !slices.Equal(k.Reasons, want[i]) {
			t.Errorf("%s: %q", k.Snapshot.ID, k.Reasons)
		}
	}
}

func TestDecide_LoneSnapshots_AreTold(t *testing.T) {
	host := func(s retain.Snapshot, name string, paths ...string) retain.Snapshot {
		s.ID, s.Host, s.Paths = s.ID+name+fmt.Sprint(paths), name, paths
		return s
	}
	in := []retain.Snapshot{
		host(at("2026-01-01 10:00"), "old-name", "/srv"), // the host was renamed
		host(at("2026-01-02 10:00"), "new-name", "/srv"),
		host(at("2026-01-03 10:00"), "new-name", "/srv"),
		host(at("2026-01-01 10:00"), "new-name", "/srv/"), // the paths changed
		host(at("2026-01-01 10:00"), "other", "/home"),    // has nothing to do with them
		host(at("2026-01-09 10:00"), "latest", "/srv"),    // a new host
	}
	got, err := retain.Decide(in, retain.Options{Policy: retain.Policy{Last: 1}, GroupBy: retain.DefaultGroupBy, Location: time.UTC})
	if err != nil {
		t.Fatal(err)
	}
	var lone []string
	for _, d := range got {
		if d.Lone {
			lone = append(lone, d.Key.String())
		}
	}
	if diff := cmp.Diff([]string{"host new-name, paths /srv/", "host old-name, paths /srv"}, lone); diff != "" {
		t.Error(diff)
	}
}

func TestParseDuration_Table(t *testing.T) {
	for in, want := range map[string]retain.Duration{
		"1y5m7d2h": {1, 5, 7, 2},
		"2h7d":     {0, 0, 7, 2},
		" 30d ":    {0, 0, 30, 0},
		"0d":       {},
		"1000000h": {0, 0, 0, 1000000},
	} {
		got, err := retain.ParseDuration(in)
		if err != nil || got != want {
			t.Errorf("%q: %v, %v", in, got, err)
		}
		if again, err := retain.ParseDuration(got.String()); err != nil || again != got {
			t.Errorf("%q → %q: %v, %v", in, got, again, err)
		}
	}
	for _, in := range []string{"", " ", "7", "d", "-1d", "1w", "1d1d", "1d 2h", "1.5d", "1000001d", "99999999999999999999d", "1d5"} {
		if got, err := retain.ParseDuration(in); !errors.Is(err, retain.ErrDuration) {
			t.Errorf("%q: %v, %v", in, got, err)
		}
	}
}

func TestParseCount_Table(t *testing.T) {
	for in, want := range map[string]int{"0": 0, "7": 7, "unlimited": retain.Unlimited, "-1": retain.Unlimited} {
		if got, err := retain.ParseCount(in); err != nil || got != want {
			t.Errorf("%q: %d, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "-2", "x", "1.5", "Unlimited", "99999999999"} {
		if got, err := retain.ParseCount(in); !errors.Is(err, retain.ErrCount) {
			t.Errorf("%q: %d, %v", in, got, err)
		}
	}
}
