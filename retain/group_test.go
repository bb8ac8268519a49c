package retain_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kura-backup/kura/retain"
)

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
