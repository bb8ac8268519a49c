package fuzz

import (
	"testing"
	"time"

	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/internal/zst"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/retain"
)

// FuzzRetainDuration parses durations: what parses is shown in a way that parses to the same, and can be
// counted back from any time without going forward.
func FuzzRetainDuration(f *testing.F) {
	for _, s := range []string{"1y5m7d2h", "7d", "0h", " 12h ", "1000000y", "1d1d", "-1d", "9999999999999999999d", "d", "1m\x00"} {
		f.Add(s)
	}
	now := time.Date(2026, 3, 31, 2, 30, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, s string) {
		d, err := retain.ParseDuration(s)
		if err != nil {
			return
		}
		again, err := retain.ParseDuration(d.String())
		if err != nil || again != d {
			t.Fatalf("%q → %q: %v, %v", s, d, again, err)
		}
		if d.Before(now).After(now) {
			t.Fatalf("%q before %v is %v", s, now, d.Before(now))
		}
	})
}

// FuzzRetainCount parses numbers of slots.
func FuzzRetainCount(f *testing.F) {
	for _, s := range []string{"0", "7", "-1", "unlimited", "-2", "2147483648", "0x7", "1_0", "+1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := retain.ParseCount(s); err == nil && n < retain.Unlimited {
			t.Fatalf("%q is %d", s, n)
		}
	})
}

// FuzzRetainGroupBy parses what groups have in common: what parses is shown in a way that parses to the same.
func FuzzRetainGroupBy(f *testing.F) {
	for _, s := range []string{"", "host,paths", "tags", "host,host", "host,", ",", "path"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		by, err := retain.ParseGroupBy(s)
		if err != nil {
			return
		}
		if again, err := retain.ParseGroupBy(by.String()); err != nil || again != by {
			t.Fatalf("%q → %q: %v, %v", s, by, again, err)
		}
	})
}

// FuzzSnapshotTags decodes the plaintext of tags that snapshots are given later.
func FuzzSnapshotTags(f *testing.F) {
	plain, err := wire.Marshal(map[int][]string{1: {"a", "b"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(zst.Encode(nil, plain, zst.Default))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, stored []byte) {
		if tags, err := repo.DecodeTags(stored); err != nil && tags != nil {
			t.Fatal("tags and an error")
		}
	})
}
