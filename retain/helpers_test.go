package retain_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/kura-backup/kura/retain"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// zones are where the edges of days lie elsewhere, and where an hour comes twice or not at all.
var zones = func() []*time.Location {
	out := []*time.Location{time.UTC, time.FixedZone("east", 13*3600), time.FixedZone("west", -9*3600-1800)}
	if berlin, err := time.LoadLocation("Europe/Berlin"); err == nil {
		out = append(out, berlin)
	}
	return out
}()

// snapshots draws snapshots of two hosts and paths, some of them at the same time, in bursts of minutes,
// days, and over the years.
func snapshots() *rapid.Generator[[]retain.Snapshot] {
	return rapid.Custom(func(t *rapid.T) []retain.Snapshot {
		n := rapid.IntRange(0, 16).Draw(t, "n")
		unit := rapid.SampledFrom([]time.Duration{20 * time.Minute, 5 * time.Hour, 26 * time.Hour, 11 * 24 * time.Hour, 100 * 24 * time.Hour}).Draw(t, "unit")
		out := make([]retain.Snapshot, n)
		for i := range out {
			out[i] = retain.Snapshot{
				ID:       fmt.Sprintf("%02d", i),
				Time:     epoch.Add(time.Duration(rapid.IntRange(0, 30).Draw(t, "time")) * unit),
				Host:     rapid.SampledFrom([]string{"a", "b"}).Draw(t, "host"),
				Paths:    rapid.SliceOfN(rapid.SampledFrom([]string{"/x", "/y"}), 0, 3).Draw(t, "paths"),
				Tags:     rapid.SliceOfN(rapid.SampledFrom([]string{"s", "t"}), 0, 3).Draw(t, "tags"),
				Sound:    rapid.IntRange(0, 4).Draw(t, "unsound") > 0,
				Pinned:   rapid.IntRange(0, 9).Draw(t, "pinned") == 0,
				Doubtful: rapid.IntRange(0, 6).Draw(t, "doubtful") == 0,
			}
		}
		return out
	})
}

// count draws a number of slots, mostly none.
func count(t *rapid.T, what string) int {
	return rapid.SampledFrom([]int{0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 5, retain.Unlimited}).Draw(t, what)
}

func within(t *rapid.T, what string) retain.Duration {
	return rapid.SampledFrom([]retain.Duration{{}, {}, {}, {}, {}, {}, {}, {}, {}, {Hours: 3}, {Days: 2}, {Months: 1, Days: 3}, {Years: 1}}).Draw(t, what)
}

func policies() *rapid.Generator[retain.Policy] {
	return rapid.Custom(func(t *rapid.T) retain.Policy {
		return retain.Policy{
			Last: count(t, "last"), Hourly: count(t, "hourly"), Daily: count(t, "daily"),
			Weekly: count(t, "weekly"), Monthly: count(t, "monthly"), Yearly: count(t, "yearly"),
			Within: within(t, "within"), WithinHourly: within(t, "within-hourly"), WithinDaily: within(t, "within-daily"),
			WithinWeekly: within(t, "within-weekly"), WithinMonthly: within(t, "within-monthly"), WithinYearly: within(t, "within-yearly"),
			Tags: rapid.SampledFrom([][]retain.TagList{nil, nil, {{"s"}}, {{"s", "t"}}, {{"s"}, {"t"}}}).Draw(t, "tags"),
		}
	})
}

// someRule draws a policy that is not empty.
func someRule() *rapid.Generator[retain.Policy] {
	return policies().Filter(func(p retain.Policy) bool { return !p.IsZero() })
}

func zone() *rapid.Generator[*time.Location] { return rapid.SampledFrom(zones) }

func ids(list []retain.Snapshot) []string {
	out := []string{}
	for _, s := range list {
		out = append(out, s.ID)
	}
	return out
}

func kept(keep []retain.Keep) (out []retain.Snapshot) {
	for _, k := range keep {
		out = append(out, k.Snapshot)
	}
	return out
}

func contains(list []retain.Snapshot, id string) bool { return slices.Contains(ids(list), id) }

// at is a sound snapshot at a time in UTC, named by it.
func at(when string) retain.Snapshot {
	t, err := time.Parse("2006-01-02 15:04", when)
	if err != nil {
		panic(err)
	}
	return retain.Snapshot{ID: when, Time: t, Sound: true}
}

func list(times ...string) (out []retain.Snapshot) {
	for _, t := range times {
		out = append(out, at(t))
	}
	return out
}

func wantKept(t *testing.T, p retain.Policy, in []retain.Snapshot, want ...string) {
	t.Helper()
	keep, _ := retain.Apply(p, in, time.UTC)
	if got := ids(kept(keep)); !slices.Equal(got, want) {
		t.Errorf("kept %q, want %q", got, want)
	}
}
