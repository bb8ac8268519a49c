package repo

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sort"
	"time"

	"github.com/kura-backup/kura/internal/object"
)

// EntryTimes returns when the log's entries were put, by the store's clock, from entry number first on.
func (r *Repository) EntryTimes(ctx context.Context, first uint64) (map[uint64]time.Time, error) {
	after := ""
	if first > 1 {
		after = object.LogName(first - 1)
	}
	times := map[uint64]time.Time{}
	for info, err := range r.store.List(ctx, object.LogPrefix, after) {
		if err != nil {
			return nil, fmt.Errorf("repo: %w", err)
		}
		if n, err := object.ParseNumbered(object.LogPrefix, info.Name); err == nil {
			times[n] = info.ModTime
		}
	}
	return times, nil
}

// How far a snapshot's time may be from that of its commit. A run begins before it commits, and may take
// days; clocks differ by minutes.
const (
	doubtAfter  = time.Hour
	doubtBefore = 7 * 24 * time.Hour

	// copying is how long a copy of a repository is thought to take at most.
	copying = 24 * time.Hour
)

// FindDoubtful sets Doubtful and Ahead of the snapshots. One is doubtful if it says that it was made more than an
// hour after its commit, or more than a week before, by the store's clock: the clock of the machine
// that made it was wrong. One whose manifest says that its time was given may be of any time past.
//
// The clock of a store in a folder is that of the same machine. So times of entries that can not be right, by those of
// the others, do not count: see settle.
//
// In a repository that was copied without the times of its files, the store's times are those of the
// copy, and say nothing of how long before a snapshot was made. It shows in entry 1 being much
// younger than the owner's signed word for when the repository was made.
func (r *Repository) FindDoubtful(ctx context.Context, list []*Snapshot) error {
	times, err := r.EntryTimes(ctx, 1)
	if err != nil {
		return err
	}
	settle(times)
	var copied time.Time
	if first := times[1]; first.Sub(time.Unix(0, r.config.Created)) > doubtBefore {
		copied = first.Add(copying)
	}
	for _, s := range list {
		put, ok := times[s.Entry.N]
		if !ok {
			continue
		}
		ahead := s.When().Sub(put)
		given := s.TimeGiven != 0 || put.Before(copied)
		s.Ahead = ahead > doubtAfter
		s.Doubtful = s.Ahead || -ahead > doubtBefore && !given
	}
	return nil
}

// settle puts other times in the place of those that can not be right. Entries are put one after the other: the most of them that agree
// with that are believed, and one that is more than a week after the next of these, or before the last, is given the time of that. Of two
// that contradict each other the earlier time is believed where nothing else tells.
func settle(times map[uint64]time.Time) {
	order := slices.Sorted(maps.Keys(times))
	// A longest sequence that does not descend: ends has, for each length, the one that ends earliest.
	var ends []int
	before := make([]int, len(order))
	for i, n := range order {
		k := sort.Search(len(ends), func(k int) bool { return times[order[ends[k]]].After(times[n]) })
		before[i] = -1
		if k > 0 {
			before[i] = ends[k-1]
		}
		if k == len(ends) {
			ends = append(ends, i)
		} else {
			ends[k] = i
		}
	}
	if len(ends) == 0 {
		return
	}
	believed := make([]bool, len(order))
	for i := ends[len(ends)-1]; i >= 0; i = before[i] {
		believed[i] = true
	}
	var last time.Time
	for i, n := range order {
		if believed[i] {
			last = times[n]
		} else if last.Sub(times[n]) > doubtBefore {
			times[n] = last
		}
	}
	var next time.Time
	for i, n := range slices.Backward(order) {
		if believed[i] {
			next = times[n]
		} else if !next.IsZero() && times[n].Sub(next) > doubtBefore {
			times[n] = next
		}
	}
}
