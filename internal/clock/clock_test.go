package clock_test

import (
	"testing"
	"time"

	"github.com/kura-backup/kura/internal/clock"
)

func TestFake_MovesOnlyWhenAdvanced(t *testing.T) {
	start := time.Date(2024, 2, 29, 23, 59, 59, 0, time.UTC)
	c := clock.NewFake(start)
	if got := c.Now(); !got.Equal(start) {
		t.Fatalf("Now() = %v, want %v", got, start)
	}
	c.Advance(time.Second)
	c.Advance(-time.Hour)
	if got, want := c.Now(), start.Add(time.Second-time.Hour); !got.Equal(want) {
		t.Fatalf("after advancing: %v, want %v", got, want)
	}
}

func TestSystem_DoesNotRunBackwards(t *testing.T) {
	a := clock.Now()
	if d := clock.Since(a); d < 0 {
		t.Fatalf("Since(Now()) = %v", d)
	}
	if b := clock.System.Now(); b.Before(a) {
		t.Fatalf("%v is before %v", b, a)
	}
}

func TestUptime_GoesOn(t *testing.T) {
	a := clock.Uptime()
	if a <= 0 {
		t.Fatalf("up for %v", a)
	}
	if b := clock.Uptime(); b < a {
		t.Fatalf("%v after %v", b, a)
	}
}
