package check

import (
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo/records"
)

func drawPacks(t *rapid.T) []candidate {
	n := rapid.IntRange(0, 60).Draw(t, "packs")
	packs := make([]candidate, n)
	for i := range packs {
		packs[i].ref = object.Ref{Class: object.DataPack, Hash: object.Sum([]byte{byte(i), byte(i >> 8), rapid.Byte().Draw(t, "salt")})}
		packs[i].size = rapid.Int64Range(1, 1000).Draw(t, "size")
	}
	return packs
}

func TestChoose_AllPartsTogether_AreEveryPackOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		packs := drawPacks(t)
		parts := rapid.Uint64Range(1, 20).Draw(t, "parts")
		times := map[object.Ref]int{}
		for n := uint64(1); n <= parts; n++ {
			for ref := range (Choice{Part: n, Parts: parts}).choose(packs, nil) {
				times[ref]++
			}
		}
		for _, p := range packs {
			if times[p.ref] != 1 {
				t.Fatalf("%v was read %d times", p.ref, times[p.ref])
			}
		}
	})
}

// A night's reading each time, and after enough of them everything was read, and nothing twice before that.
func TestChoose_RollingAgainAndAgain_ReadsAllBeforeAnythingTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		packs := drawPacks(t)
		size := rapid.Int64Range(1, 3000).Draw(t, "rolling")
		verified := records.Verified{}
		for night := int64(1); len(verified) < len(packs); night++ {
			got := Choice{Rolling: size}.choose(packs, verified)
			total := int64(0)
			for _, p := range packs {
				if _, ok := got[p.ref]; !ok {
					continue
				}
				total += p.size
				_, again := verified[p.ref.Hash]
				left := slices.ContainsFunc(packs, func(o candidate) bool {
					_, before := verified[o.ref.Hash]
					_, now := got[o.ref]
					return !before && !now
				})
				if again && left {
					t.Fatalf("%v was read twice while others were never read", p.ref)
				}
			}
			if len(got) == 0 || total > size && len(got) > 1 {
				t.Fatalf("%d packs with %d bytes for %d", len(got), total, size)
			}
			for ref := range got {
				verified[ref.Hash] = night
			}
		}
	})
}

func TestChoose_Drawn_RepeatsWithItsSeedAndKeepsToItsSize(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		packs := drawPacks(t)
		c := Choice{Seed: rapid.Uint64().Draw(t, "seed")}
		if rapid.Bool().Draw(t, "percent") {
			c.Percent = rapid.Float64Range(0.01, 100).Draw(t, "share")
		} else {
			c.Bytes = rapid.Int64Range(1, 5000).Draw(t, "bytes")
		}
		first, second := c.choose(packs, nil), c.choose(packs, nil)
		if len(first) != len(second) || len(packs) > 0 && len(first) == 0 {
			t.Fatalf("%d and %d packs", len(first), len(second))
		}
		total := int64(0)
		for _, p := range packs {
			_, a := first[p.ref]
			if _, b := second[p.ref]; a != b {
				t.Fatal("another choice with the same seed")
			}
			if a {
				total += p.size
			}
		}
		if c.Bytes > 0 && total > c.Bytes && len(first) > 1 {
			t.Fatalf("%d bytes for %d", total, c.Bytes)
		}
		if c.Percent == 100 && len(first) != len(packs) {
			t.Fatalf("%d of %d packs", len(first), len(packs))
		}
	})
}

func TestParseSubset(t *testing.T) {
	for s, want := range map[string]Choice{
		"1/1": {Part: 1, Parts: 1}, "7/7": {Part: 7, Parts: 7}, "2.5%": {Percent: 2.5}, "100%": {Percent: 100},
		"1": {Bytes: 1}, "500M": {Bytes: 500 << 20}, "20g": {Bytes: 20 << 30}, "3K": {Bytes: 3 << 10}, "1T": {Bytes: 1 << 40},
	} {
		if got, err := ParseSubset(s); err != nil || got != want {
			t.Errorf("%q: %+v, %v", s, got, err)
		}
	}
	for _, s := range []string{
		"", "/", "0/3", "4/3", "1/0", "-1/3", "1/9999999", "0%", "101%", "NaN%", "Inf%", "%", "M", "0", "-5", "5Q", "1.5G",
		"9223372036854775807K", "99999999999999999999", "1/2/3", "5 %",
	} {
		if got, err := ParseSubset(s); !errors.Is(err, ErrChoice) {
			t.Errorf("%q: %+v, %v", s, got, err)
		}
	}
}

func FuzzParseSubset(f *testing.F) {
	for _, s := range []string{"1/7", "5%", "20G", "", "NaN%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseSubset(s)
		if err == nil && (c.IsZero() || c.Bytes < 0 || c.Part > c.Parts || c.Percent > 100) {
			t.Errorf("%q: %+v", s, c)
		}
	})
}
