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

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func snapshots() *rapid.Generator[[]retain.Snapshot] {
	return rapid.Custom(func(t *rapid.T) []retain.Snapshot {
		n := rapid.IntRange(0, 12).Draw(t, "n")
		out := make([]retain.Snapshot, n)
		for i := range out {
			out[i] = retain.Snapshot{
				ID:    fmt.Sprintf("%02d", i),
				Time:  epoch.Add(time.Duration(rapid.IntRange(0, 8).Draw(t, "hour")) * time.Hour),
				Host:  rapid.SampledFrom([]string{"a", "b"}).Draw(t, "host"),
				Paths: rapid.SliceOfN(rapid.SampledFrom([]string{"/x", "/y"}), 0, 3).Draw(t, "paths"),
				Tags:  rapid.SliceOfN(rapid.SampledFrom([]string{"s", "t"}), 0, 3).Draw(t, "tags"),
				Sound: rapid.IntRange(0, 3).Draw(t, "unsound") > 0,
			}
		}
		return out
	})
}

func ids(list []retain.Snapshot) []string {
	out := []string{}
	for _, s := range list {
		out = append(out, s.ID)
	}
	return out
}

func kept(keep []retain.Keep) []retain.Snapshot {
	var out []retain.Snapshot
	for _, k := range keep {
		out = append(out, k.Snapshot)
	}
	return out
}

func sound(list []retain.Snapshot) (out []retain.Snapshot) {
	for _, s := range list {
		if s.Sound {
			out = append(out, s)
		}
	}
	return out
}

func TestApply_Properties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := snapshots().Draw(t, "list")
		before := slices.Clone(list)
		n := rapid.IntRange(1, 6).Draw(t, "last")
		keep, remove := retain.Apply(retain.Policy{Last: n}, list)
		stay := kept(keep)
		if !cmp.Equal(list, before) {
			t.Fatal("the list was changed")
		}

		// Every snapshot is on one side.
		both := slices.Sorted(slices.Values(append(ids(stay), ids(remove)...)))
		if want := slices.Sorted(slices.Values(ids(list))); !slices.Equal(both, want) {
			t.Fatalf("kept and removed: %v, list: %v", both, want)
		}
		for _, k := range keep {
			if len(k.Reasons) == 0 {
				t.Fatalf("%s is kept without a reason", k.Snapshot.ID)
			}
		}

		// The newest snapshots stay, no more than asked for, and no fewer than there are.
		if got, all := len(sound(stay)), len(sound(list)); got != min(n, all) {
			t.Fatalf("%d of %d sound snapshots stay of %d", got, n, all)
		}
		if len(sound(list)) == 0 && len(stay) != min(n, len(list)) {
			t.Fatalf("%d unsound ones stay of %d", len(stay), len(list))
		}
		for _, k := range sound(stay) {
			for _, r := range sound(remove) {
				if k.Time.Before(r.Time) {
					t.Fatalf("%s stays, the newer %s does not", k.ID, r.ID)
				}
			}
		}
		if all := sound(list); len(all) > 0 {
			newest := slices.MaxFunc(all, func(a, b retain.Snapshot) int { return a.Time.Compare(b.Time) })
			for _, s := range list {
				if !s.Sound && s.Time.After(newest.Time) != slices.Contains(ids(stay), s.ID) && !s.Time.Equal(newest.Time) {
					t.Fatalf("unsound %s: newest sound %s", s.ID, newest.ID)
				}
			}
		}

		// Idempotent: what stays would stay.
		again, gone := retain.Apply(retain.Policy{Last: n}, stay)
		if len(gone) != 0 || !slices.Equal(ids(kept(again)), ids(stay)) {
			t.Fatalf("applied again: %v go of %v", ids(gone), ids(stay))
		}

		// Monotone: asking for more keeps all of it.
		more, _ := retain.Apply(retain.Policy{Last: n + 1}, list)
		for _, s := range stay {
			if !slices.Contains(ids(kept(more)), s.ID) {
				t.Fatalf("%s stays with %d and not with %d", s.ID, n, n+1)
			}
		}

		// The order of the list does not matter.
		shuffled := rapid.Permutation(list).Draw(t, "shuffled")
		if k, _ := retain.Apply(retain.Policy{Last: n}, shuffled); !cmp.Equal(k, keep) {
			t.Fatalf("another order, another answer: %s", cmp.Diff(keep, k))
		}
	})
}

func TestApply_NoPolicy_KeepsAll(t *testing.T) {
	list := []retain.Snapshot{{ID: "a", Sound: true}, {ID: "b"}}
	keep, remove := retain.Apply(retain.Policy{}, list)
	if len(keep) != 2 || len(remove) != 0 || keep[0].Reasons[0] != retain.ReasonNoPolicy {
		t.Errorf("keep %v, remove %v", keep, remove)
	}
}

// A run that was cut off must not push out the newest complete snapshot.
func TestApply_PartialSnapshots_FillNoSlot(t *testing.T) {
	at := func(h int) time.Time { return epoch.Add(time.Duration(h) * time.Hour) }
	list := []retain.Snapshot{
		{ID: "old", Time: at(1), Sound: true},
		{ID: "cut1", Time: at(2)},
		{ID: "good", Time: at(3), Sound: true},
		{ID: "cut2", Time: at(4)},
	}
	keep, remove := retain.Apply(retain.Policy{Last: 1}, list)
	want := []retain.Keep{
		{Snapshot: list[3], Reasons: []string{retain.ReasonUnsound}},
		{Snapshot: list[2], Reasons: []string{"last snapshot"}},
	}
	if diff := cmp.Diff(want, keep); diff != "" {
		t.Error(diff)
	}
	if got := ids(remove); !slices.Equal(got, []string{"cut1", "old"}) {
		t.Errorf("removed %v", got)
	}
}

func TestGroup_Properties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := snapshots().Draw(t, "list")
		by := retain.GroupBy{
			Host:  rapid.Bool().Draw(t, "host"),
			Paths: rapid.Bool().Draw(t, "paths"),
			Tags:  rapid.Bool().Draw(t, "tags"),
		}
		groups := retain.Group(list, by)
		var all []string
		for i, g := range groups {
			if i > 0 && groups[i-1].Key.Compare(g.Key) >= 0 {
				t.Fatalf("keys out of order: %v, %v", groups[i-1].Key, g.Key)
			}
			if len(g.Snapshots) == 0 {
				t.Fatalf("empty group %v", g.Key)
			}
			if one := retain.Group(g.Snapshots, by); len(one) != 1 || one[0].Key.Compare(g.Key) != 0 {
				t.Fatalf("group %v falls apart: %v", g.Key, one)
			}
			all = append(all, ids(g.Snapshots)...)
		}
		slices.Sort(all)
		if want := slices.Sorted(slices.Values(ids(list))); !slices.Equal(all, want) {
			t.Fatalf("in groups: %v, list: %v", all, want)
		}
		if by == (retain.GroupBy{}) && len(groups) > 1 {
			t.Fatalf("%d groups by nothing", len(groups))
		}
	})
}

// Snapshots of the same paths in another order are the same job.
func TestGroup_PathsInAnotherOrder_SameGroup(t *testing.T) {
	list := []retain.Snapshot{
		{ID: "a", Host: "h", Paths: []string{"/x", "/y"}},
		{ID: "b", Host: "h", Paths: []string{"/y", "/x", "/x"}},
		{ID: "c", Host: "h", Paths: []string{"/x"}},
		{ID: "d", Host: "i", Paths: []string{"/x", "/y"}},
	}
	var got [][]string
	for _, g := range retain.Group(list, retain.DefaultGroupBy) {
		got = append(got, ids(g.Snapshots))
	}
	if diff := cmp.Diff([][]string{{"c"}, {"b", "a"}, {"d"}}, got); diff != "" {
		t.Error(diff)
	}
}

func TestParseGroupBy_Table(t *testing.T) {
	for in, want := range map[string]retain.GroupBy{
		"":           {},
		"host":       {Host: true},
		"host,paths": retain.DefaultGroupBy,
		"tags,path":  {Paths: true, Tags: true},
	} {
		got, err := retain.ParseGroupBy(in)
		if err != nil || got != want {
			t.Errorf("%q: %v, %v", in, got, err)
		}
		if again, err := retain.ParseGroupBy(got.String()); err != nil || again != got {
			t.Errorf("%q → %q: %v, %v", in, got, again, err)
		}
	}
	for _, in := range []string{"hosts,", "user", ","} {
		if _, err := retain.ParseGroupBy(in); !errors.Is(err, retain.ErrGroupBy) {
			t.Errorf("%q: %v", in, err)
		}
	}
}
