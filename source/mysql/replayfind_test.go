package mysql

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/kura-backup/kura/source/sourcetest"
)

// After a replay into the server itself the log has the old times once more, behind where another replay ends. The archive of before knows
// better.
func TestFindReplay_AfterAReplayIntoTheServerItself_EndsWhereItDid(t *testing.T) {
	s, from, now := shop(t)
	stamped(t, s, now, 0, 100, 200, 300, 400)
	a := &Archive{Config: configOf(s)}
	var archives []Archived // the newest first
	out := sourcetest.NewWriter()
	add := func() {
		out = out.Next()
		d := archive(t, a, out)
		// As if all this had happened when the transactions say.
		d.AsOf, d.Ends = time.Unix(now+450, 0), time.Unix(now+450, 0)
		archives = slices.Insert(archives, 0, Archived{d, files(out, d.Root)})
	}
	find := func(until int64) (*Replay, error) {
		return FindReplay(t.Context(), archives, from, Until{Time: time.Unix(now+until, 0)})
	}
	add()
	r, err := find(350)
	if err != nil || r.Transactions != 4 {
		t.Fatalf("%+v, %v", r, err)
	}
	for range 3 { // as often as it takes to find the right moment
		s.SQL(t, "DELETE FROM shop.t")
		if err := r.Run(t.Context(), open(t, configOf(s))); err != nil {
			t.Fatal(err)
		}
		add()
		add()
	}
	if _, err := PrepareReplay(t.Context(), archives[0].Details, from, Until{Time: time.Unix(now+250, 0)}, archives[0].Open); !errors.Is(err, ErrOrder) {
		t.Fatalf("the newest alone: %v", err)
	}
	again, err := find(250)
	if err != nil || again.Transactions != 3 {
		t.Fatalf("%+v, %v", again, err)
	}
	s.SQL(t, "DELETE FROM shop.t")
	if err := again.Run(t.Context(), open(t, configOf(s))); err != nil {
		t.Fatal(err)
	}
	if got := s.SQL(t, "SELECT GROUP_CONCAT(id ORDER BY id) FROM shop.t"); got != "1,2,3" {
		t.Errorf("%s", got)
	}
}

// Whatever times they say, transactions that were not there yet when the archive of a later moment was made were committed behind it.
func TestFindReplay_TimesNotInOrder_ArchiveOfThenDecides(t *testing.T) {
	const now, until = 1_700_000_000, 150
	times := []int64{now, now + 100, now + 160, now + 200, now + 50, now + 100, now + 300}
	from := Coordinates{File: "binlog.000001", Position: 4 + 84 + 43, GTID: "0-1-7"}
	for name, c := range map[string]struct {
		asOf []int64 // of the archive with as many transactions; 0 is none
		want int
	}{
		"each":                             {[]int64{120, 140, 170, 210, 220, 230, 310}, 2},
		"before and after":                 {[]int64{0, 0, 0, 210, 0, 0, 310}, 2},
		"its end was noted late":           {[]int64{200, 210, 220, 230, 240, 250, 310}, 2},
		"none of in between":               {[]int64{120, 140, 0, 0, 0, 0, 310}, -1},
		"all later than the wrong times":   {[]int64{0, 0, 0, 0, 300, 305, 310}, -1},
		"that one is of before the moment": {[]int64{0, 0, 149, 149, 300, 305, 310}, -1},
	} {
		var archives []Archived
		for n, asOf := range c.asOf {
			if asOf == 0 {
				continue
			}
			log := logOf(7, now, times[:n+1]...)
			d := &ArchiveDetails{
				Prefix: "binlog.", Digits: 6, First: 1, AsOf: time.Unix(now+asOf, 0), Ends: time.Unix(now+310, 0), Logs: []Log{{int64(len(log)), now, now}},
			}
			archives = slices.Insert(archives, 0, Archived{d, func(string) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(log)), nil }})
		}
		r, err := FindReplay(t.Context(), archives, from, Until{Time: time.Unix(now+until, 0)})
		if c.want < 0 && !errors.Is(err, ErrOrder) || c.want >= 0 && (err != nil || r.Transactions != c.want) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}
