package delta_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/kura-backup/kura/delta"
)

// edited returns base after a random script of edits, moves of blocks among them.
func edited(t *rapid.T, base []byte) []byte {
	out := bytes.Clone(base)
	for range rapid.IntRange(0, 12).Draw(t, "edits") {
		at := rapid.IntRange(0, len(out)).Draw(t, "at")
		n := rapid.IntRange(0, min(len(out)-at, 1<<rapid.IntRange(0, 14).Draw(t, "bits"))).Draw(t, "n")
		piece := bytes.Clone(out[at : at+n])
		switch rapid.IntRange(0, 4).Draw(t, "kind") {
		case 0:
			copy(out[at:], noise(rapid.Uint64().Draw(t, "seed"), n))
		case 1:
			out = append(out[:at:at], out[at+n:]...)
		case 2:
			out = append(out[:at:at], append(noise(rapid.Uint64().Draw(t, "seed"), n), out[at:]...)...)
		case 3:
			to := rapid.IntRange(0, len(out)).Draw(t, "to")
			out = append(out[:to:to], append(piece, out[to:]...)...)
		default:
			clear(out[at : at+n])
		}
	}
	return out
}

func TestEncode_RandomEdits_ApplyMakesTheTarget(t *testing.T) {
	var e delta.Encoder
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.OneOf(rapid.IntRange(0, 200), rapid.IntRange(0, 100_000)).Draw(t, "size")
		base := noise(rapid.Uint64().Draw(t, "seed"), n)
		switch rapid.IntRange(0, 3).Draw(t, "content") {
		case 0: // few values: matches everywhere
			for i := range base {
				base[i] &= 1
			}
		case 1: // periodic
			p := rapid.IntRange(1, 100).Draw(t, "period")
			for i := p; i < n; i++ {
				base[i] = base[i-p]
			}
		}
		target := edited(t, base)
		if rapid.Bool().Draw(t, "joined") { // the target's base is one of several
			other := noise(rapid.Uint64().Draw(t, "seed"), rapid.IntRange(0, 50_000).Draw(t, "other"))
			base = bytes.Join([][]byte{other, base, other}, nil)
		}
		limit := rapid.IntRange(0, len(target)+64).Draw(t, "limit")
		if rapid.Bool().Draw(t, "wide") {
			limit = len(target) + 64
		}
		out, m, ok := e.Encode(nil, base, target, limit)
		if !ok {
			if len(out) != 0 || m != (delta.Match{}) {
				t.Fatalf("no stream, and yet %d bytes and %+v", len(out), m)
			}
			return
		}
		if len(out) > limit {
			t.Fatalf("a stream of %d bytes, the limit being %d", len(out), limit)
		}
		got, err := delta.Apply(nil, base, out, len(target))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, target) {
			t.Fatal("another target")
		}
		if m.Copied > len(target) || m.Target > len(target) || m.Base > len(base) {
			t.Fatalf("%+v", m)
		}
		if m.Target > 0 && !bytes.Equal(target[m.Target-256:m.Target], base[m.Base-256:m.Base]) {
			t.Fatalf("%+v, where target and base differ", m)
		}
	})
}

func TestEncode_SmallAndOddSizes_ApplyMakesTheTarget(t *testing.T) {
	var e delta.Encoder
	base := noise(1, 300)
	for _, b := range []int{0, 1, 7, 8, 15, 16, 17, 31, 32, 300} {
		for n := range 70 {
			encode(t, &e, base[:b], base[:n])
			encode(t, &e, base[:b], base[300-n:])
		}
	}
}

// cost is what a delta of changes may take behind zstd, beside what the changed bytes take by themselves.
func TestEncode_KnownEdits_StreamsAreSmall(t *testing.T) {
	seed := *quality
	r := rand.New(rand.NewPCG(seed, 4))
	var e delta.Encoder
	check := func(name string, base, target, fresh []byte, edits, each int) {
		t.Run(name, func(t *testing.T) {
			stream, m := encode(t, &e, base, target)
			if stream == nil {
				t.Fatal("given up")
			}
			got, alone := zstdLen(stream), zstdLen(fresh)
			t.Logf("%d bytes: stream %d, behind zstd %d; %d new bytes alone %d; whole target %d", len(target), len(stream), got, len(fresh), alone, zstdLen(target))
			if most := alone + alone/8 + edits*each + 64; got > most {
				t.Errorf("%d bytes for %d edits, should be at most %d", got, edits, most)
			}
			if m.Copied < len(target)-2*len(fresh)-32*edits {
				t.Errorf("only %d bytes of %d are copied, %d being new", m.Copied, len(target), len(fresh))
			}
		})
	}

	for _, c := range []struct {
		name              string
		size              int
		updated, inserted float64
	}{
		{"dump, 1% updated and 1% inserted", 1 << 20, .01, .01},
		{"dump of 4 MiB", 4 << 20, .01, .01},
		{"dump, 5% and 5%", 1 << 20, .05, .05},
		{"dump, 20% updated", 1 << 20, .2, 0},
	} {
		d := newDump(seed, c.size)
		base, n := d.bytes(), float64(len(d.rows))
		fresh := d.edit(c.updated, c.inserted)
		check(c.name, base, d.bytes(), fresh, int(n*(c.updated+c.inserted)), 4)
	}

	base := noise(seed, 1<<20)
	check("the same", base, base, nil, 0, 0)
	check("a byte in front", base, append([]byte{1}, base...), []byte{1}, 1, 8)
	check("a byte less", base, base[1:], nil, 1, 8)
	check("halves swapped", base, append(bytes.Clone(base[1<<19:]), base[:1<<19]...), nil, 2, 8)
	check("a part of a long base", base, base[300_001:400_000], nil, 1, 8)

	target := bytes.Clone(base)
	var fresh []byte
	for range 300 {
		at := r.IntN(len(target) - 8)
		copy(target[at:], noise(r.Uint64(), 8))
		fresh = append(fresh, target[at:at+8]...)
	}
	check("fields of 8 bytes", base, target, fresh, 300, 5)

	target, fresh = bytes.Clone(base), nil
	for page := 0; page < len(target); page += 4 << 14 {
		copy(target[page:page+1<<14], noise(r.Uint64(), 1<<14))
		fresh = append(fresh, target[page:page+1<<14]...)
	}
	check("pages", base, target, fresh, 16, 8)
}

func TestEncode_FourBases_AllAreUsed(t *testing.T) {
	var e delta.Encoder
	base := noise(1, 4<<20)
	var target []byte
	for i := range 4 {
		target = append(target, base[i<<20+1000*i:][:300_000]...)
	}
	stream, m := encode(t, &e, base, target)
	if len(stream) > 64 || m.Copied != len(target) {
		t.Errorf("%d bytes of stream, %d of %d copied", len(stream), m.Copied, len(target))
	}
	if m.Target != len(target) || m.Base != 3<<20+3000+300_000 {
		t.Errorf("aligned at %d of the target, %d of the base", m.Target, m.Base)
	}
}

func TestEncode_BaseAboveTheIndex_IsUsedToItsEnd(t *testing.T) {
	var e delta.Encoder
	base := noise(1, 40<<20)
	target := bytes.Clone(base[39<<20:])
	copy(target[1000:], "changed")
	stream, _ := encode(t, &e, base, target)
	if stream == nil || len(stream) > 64 {
		t.Errorf("%d bytes of stream", len(stream))
	}
}

func TestEncode_Unrelated_IsGivenUp(t *testing.T) {
	var e delta.Encoder
	for name, c := range map[string]struct{ base, target []byte }{
		"noise":   {noise(1, 1<<20), noise(2, 1<<20)},
		"dumps":   {newDump(1, 1<<20).bytes(), newDump(2, 1<<20).bytes()},
		"no base": {nil, noise(2, 1<<20)},
		"half":    {noise(1, 1<<20), append(noise(2, 1<<19), noise(1, 1<<19)...)},
	} {
		dst := []byte("head")
		out, m, ok := e.Encode(dst, c.base, c.target, len(c.target)/3)
		if ok || string(out) != "head" || m != (delta.Match{}) {
			t.Errorf("%s: %v, %d bytes, %+v", name, ok, len(out), m)
		}
	}
}

func TestEncode_HalfInCommon_IsNotGivenUp(t *testing.T) {
	var e delta.Encoder
	seed := *quality
	base := noise(seed, 1<<20)
	for _, unit := range []int{1 << 12, 1 << 14, 1 << 16, 1 << 19} {
		target := bytes.Clone(base)
		for at := 0; at < len(target); at += 2 * unit {
			copy(target[at:at+unit], noise(seed+uint64(at)+1, unit))
		}
		out, m, ok := e.Encode(nil, base, target, len(target)*6/10)
		if !ok || m.Copied < len(target)/2-4096 {
			t.Errorf("every other %d bytes: %v, %d bytes of stream, %+v", unit, ok, len(out), m)
		}
	}
}

// Whatever the content, the work is bounded: this test would not end before its time otherwise.
func TestEncode_RepetitiveData_Ends(t *testing.T) {
	var e delta.Encoder
	zeros := make([]byte, 4<<20)
	line := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
	other := bytes.Repeat([]byte("0123456789abcdefX"), 1<<18)
	mixed := bytes.Clone(line)
	for i := 0; i < len(mixed); i += 50 {
		mixed[i]++
	}
	for _, base := range [][]byte{zeros, line, other, mixed} {
		for _, target := range [][]byte{zeros, line, other, mixed} {
			encode(t, &e, base, target)
		}
	}
}
