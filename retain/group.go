package retain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// GroupBy says what the snapshots of a group have in common. The zero GroupBy puts all into one group.
type GroupBy struct {
	Host  bool
	Paths bool
	Tags  bool
}

// DefaultGroupBy is one group for each host and set of paths.
var DefaultGroupBy = GroupBy{Host: true, Paths: true}

// ParseGroupBy understands a list such as "host,paths". The empty string is the zero GroupBy.
func ParseGroupBy(s string) (GroupBy, error) {
	var g GroupBy
	if s == "" {
		return g, nil
	}
	for word := range strings.SplitSeq(s, ",") {
		switch word {
		case "host", "hosts":
			g.Host = true
		case "path", "paths":
			g.Paths = true
		case "tag", "tags":
			g.Tags = true
		default:
			return GroupBy{}, fmt.Errorf("%w: %q is none of host, paths, tags", ErrGroupBy, word)
		}
	}
	return g, nil
}

// String is the list that ParseGroupBy understands.
func (g GroupBy) String() string {
	var words []string
	if g.Host {
		words = append(words, "host")
	}
	if g.Paths {
		words = append(words, "paths")
	}
	if g.Tags {
		words = append(words, "tags")
	}
	return strings.Join(words, ",")
}

// Key is what the snapshots of a group have in common. Fields that they are not grouped by are empty;
// the lists are sorted and hold no value twice.
type Key struct {
	Host  string
	Paths []string
	Tags  []string
}

// String names the key to people.
func (k Key) String() string {
	var parts []string
	if k.Host != "" {
		parts = append(parts, "host "+k.Host)
	}
	if len(k.Paths) > 0 {
		parts = append(parts, "paths "+strings.Join(k.Paths, ", "))
	}
	if len(k.Tags) > 0 {
		parts = append(parts, "tags "+strings.Join(k.Tags, ", "))
	}
	if len(parts) == 0 {
		return "all snapshots"
	}
	return strings.Join(parts, ", ")
}

// Compare orders keys by host, paths, and tags.
func (k Key) Compare(other Key) int {
	return cmp.Or(
		cmp.Compare(k.Host, other.Host),
		slices.Compare(k.Paths, other.Paths),
		slices.Compare(k.Tags, other.Tags),
	)
}

func (g GroupBy) key(s *Snapshot) (k Key) {
	if g.Host {
		k.Host = s.Host
	}
	if g.Paths {
		k.Paths = set(s.Paths)
	}
	if g.Tags {
		k.Tags = set(s.Tags)
	}
	return k
}

func set(list []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(list)))
}

// Grouped is one group, newest snapshot first.
type Grouped struct {
	Key       Key
	Snapshots []Snapshot
}

// Group puts snapshots into groups, in the order of their keys. The list is not changed.
func Group(list []Snapshot, by GroupBy) []Grouped {
	type keyed struct {
		key Key
		Snapshot
	}
	all := make([]keyed, len(list))
	for i := range list {
		all[i] = keyed{by.key(&list[i]), list[i]}
	}
	slices.SortFunc(all, func(a, b keyed) int {
		return cmp.Or(a.key.Compare(b.key), newestFirst(a.Snapshot, b.Snapshot))
	})
	var groups []Grouped
	for _, s := range all {
		if n := len(groups); n == 0 || groups[n-1].Key.Compare(s.key) != 0 {
			groups = append(groups, Grouped{Key: s.key})
		}
		g := &groups[len(groups)-1]
		g.Snapshots = append(g.Snapshots, s.Snapshot)
	}
	return groups
}
