package delta_test

import (
	"bytes"
	"fmt"
	"os"
	"testing"

	"github.com/kura-backup/kura/delta"
	"github.com/kura-backup/kura/internal/testrand"
)

// similar reports whether a sketch of a and one of b have a feature in common.
func similar(t testing.TB, a, b []byte) bool {
	t.Helper()
	x, okA := delta.SketchOf(a)
	y, okB := delta.SketchOf(b)
	if !okA || !okB {
		t.Fatal("no sketch")
	}
	for i := range x {
		if x[i] == y[i] {
			return true
		}
	}
	return false
}

// What the sketch finds and what it does not; docs/delta.md has more of it.
func TestSketchOf_EditedChunks_MatchAndOthersDoNot(t *testing.T) {
	const (
		pairs = 40
		size  = 1 << 18
	)
	seed := *quality
	chunk := func(i, size int) *dump { return newDump(seed+uint64(i), size) }
	for _, c := range []struct {
		name        string
		least, most int
		pair        func(i int) (a, b []byte)
	}{
		{"1% of rows updated and 1% inserted", 38, 40, func(i int) (a, b []byte) {
			d := chunk(i, size)
			a = d.bytes()
			d.edit(.01, .01)
			return a, d.bytes()
		}},
		{"5% updated and 5% inserted", 30, 40, func(i int) (a, b []byte) {
			d := chunk(i, size)
			a = d.bytes()
			d.edit(.05, .05)
			return a, d.bytes()
		}},
		{"64 KiB, 1% and 1%", 34, 40, func(i int) (a, b []byte) {
			d := chunk(i, delta.MinSize)
			a = d.bytes()
			d.edit(.01, .01)
			return a, d.bytes()
		}},
		{"boundaries moved by an eighth", 14, 40, func(i int) (a, b []byte) {
			all := chunk(i, size+size/8).bytes()
			return all[:size], all[size/8:]
		}},
		{"boundaries moved by a quarter", 6, 40, func(i int) (a, b []byte) {
			all := chunk(i, size+size/4).bytes()
			return all[:size], all[size/4:]
		}},
		{"every fourth page of 4 KiB rewritten", 3, 40, func(i int) (a, b []byte) {
			a, other := chunk(i, size).bytes(), chunk(i+1000, size).bytes()
			b = bytes.Clone(a)
			for at := 0; at+1<<12 <= size; at += 1 << 14 {
				copy(b[at:], other[at:at+1<<12])
			}
			return a, b
		}},
		{"other rows of a table", 0, 4, func(i int) (a, b []byte) { return chunk(i, size).bytes(), chunk(i+1000, size).bytes() }},
		{"noise", 0, 0, func(i int) (a, b []byte) { return noise(seed+uint64(i), 1<<18), noise(seed+uint64(i)+1000, 1<<18) }},
	} {
		got := 0
		for i := range pairs {
			if a, b := c.pair(i); similar(t, a, b) {
				got++
			}
		}
		t.Logf("%s: %d of %d pairs match", c.name, got, pairs)
		if got < c.least || got > c.most {
			t.Errorf("%s: should be %d to %d", c.name, c.least, c.most)
		}
	}
}

func TestSketchOf_Features_AreBelow48BitsAndOfTheirPlace(t *testing.T) {
	seen := map[uint64]bool{}
	for i := range 50 {
		s, ok := delta.SketchOf(noise(uint64(i), 1<<16))
		if !ok {
			t.Fatal("no sketch of noise")
		}
		for _, f := range s {
			if f >= 1<<48 || seen[f] {
				t.Fatalf("feature %x", f)
			}
			seen[f] = true
		}
	}
}

func TestSketchOf_TooLittleContent_HasNone(t *testing.T) {
	for name, data := range map[string][]byte{
		"nothing":             nil,
		"a few bytes":         noise(1, 31),
		"zeros":               make([]byte, 1<<20),
		"ones":                bytes.Repeat([]byte{0xff}, 1<<20),
		"a period of 3":       bytes.Repeat([]byte("abc"), 1<<18),
		"a period of 1 KiB":   bytes.Repeat(noise(1, 1<<10), 1<<10),
		"zeros and a bit":     append(make([]byte, 1<<20), noise(1, 500)...),
		"a kilobyte of noise": noise(2, 1<<10),
	} {
		if s, ok := delta.SketchOf(data); ok || s != (delta.Sketch{}) {
			t.Errorf("%s: %x", name, s)
		}
	}
}

// TestSketchOf_Golden_SketchesStay fails when sketches change: those that are stored would not find anything any more.
func TestSketchOf_Golden_SketchesStay(t *testing.T) {
	const name = "testdata/sketches.txt"
	var got []byte
	for seed, n := range []int{1 << 16, 1<<16 + 1, 100_003, 1 << 20} {
		s, ok := delta.SketchOf(noise(uint64(seed), n))
		got = fmt.Appendf(got, "%d %d %v %x %x %x\n", seed, n, ok, s[0], s[1], s[2])
	}
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// reference is the sketch as docs/format.md defines it, written from there.
func reference(data []byte) (s delta.Sketch, ok bool) {
	const c1, c2 = 0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93
	word := func(at int) (x uint64) {
		for i := range 8 {
			x |= uint64(data[at+i]) << (8 * i)
		}
		return x
	}
	fold := func(h, x uint64) uint64 { return ((h<<29 | h>>35) ^ x) * c2 }
	var greatest [9]uint64
	values := map[uint64]bool{}
	for i := 0; i+32 <= len(data); {
		if word(i)*c1>>58 != 21 {
			i++
			continue
		}
		h := fold(fold(fold(fold(0, word(i)), word(i+8)), word(i+16)), word(i+24))
		h = (h ^ h>>32) * c1
		h ^= h >> 29
		values[h%64] = true
		var state uint64
		for j := range greatest {
			state += 0x9E3779B97F4A7C15
			z := state
			z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
			z = (z ^ z>>27) * 0x94D049BB133111EB
			greatest[j] = max(greatest[j], h*((z^z>>31)|1))
		}
		i += 64
	}
	for k := range s {
		h := fold(fold(fold(uint64(k)+1, greatest[3*k]), greatest[3*k+1]), greatest[3*k+2])
		s[k] = (h ^ h>>32) % (1 << 48)
	}
	if len(values) < 24 {
		return delta.Sketch{}, false
	}
	return s, true
}

func TestSketchOf_AnyData_IsAsTheFormatDefinesIt(t *testing.T) {
	r := testrand.New(t)
	rich := 0
	for range 60 {
		data := noise(r.Uint64(), r.IntN(40_000))
		switch r.IntN(3) {
		case 0: // windows begin in more places than usual
			for i := range data {
				data[i] &= 3
			}
		case 1:
			data = data[:len(data)%600]
		}
		got, ok := delta.SketchOf(data)
		want, wantOK := reference(data)
		if got != want || ok != wantOK {
			t.Fatalf("%d bytes: %x %v, should be %x %v", len(data), got, ok, want, wantOK)
		}
		if ok {
			rich++
		}
	}
	if rich == 0 {
		t.Fatal("no data had a sketch")
	}
}
