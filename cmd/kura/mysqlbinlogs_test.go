package main

import (
	"testing"
	"time"
)

// What can be lost with a server is what happened between two times that it was asked, and while the second of them was being saved.
func TestDescribeLag_SaysWhatCanBeLost(t *testing.T) {
	asOf := time.Date(2026, 3, 1, 17, 59, 59, 0, time.Local)
	for _, c := range []struct {
		lag, every time.Duration
		want       string
	}{
		{312400 * time.Microsecond, 0, "complete up to 2026-03-01 17:59:59, saved 312ms later; what happens from then on is lost with the server, until the next run"},
		{312400 * time.Microsecond, time.Minute, "complete up to 2026-03-01 17:59:59, saved 312ms later; with --every 1m0s the last 1m0.312s can be lost with the server"},
		{0, time.Minute, "complete up to 2026-03-01 17:59:59, saved 0s later; with --every 1m0s the last 1m0s can be lost with the server"},
		{3 * time.Second, time.Second, "complete up to 2026-03-01 17:59:59, saved 3s later; with --every 1s the last 6s can be lost with the server"},
	} {
		if got := describeLag(asOf, c.lag, c.every); got != c.want {
			t.Errorf("%v, every %v:\n%s\nwant\n%s", c.lag, c.every, got, c.want)
		}
	}
}
