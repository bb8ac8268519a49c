package delta_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kura-backup/kura/delta"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// stream joins columns and literals as docs/format.md says.
func stream(inserts, copies, addresses []byte, literals string) []byte {
	out := []byte{byte(len(inserts)), byte(len(copies)), byte(len(addresses))}
	return append(bytes.Join([][]byte{out, inserts, copies, addresses}, nil), literals...)
}

func TestApply_StreamsByHand_MakeWhatTheFormatSays(t *testing.T) {
	const base = "0123456789"
	for _, c := range []struct {
		name, target string
		stream       []byte
	}{
		{"nothing", "", stream(nil, nil, nil, "")},
		{"literals alone", "abc", stream(nil, nil, nil, "abc")},
		{"all of it", base, stream([]byte{0}, []byte{10}, []byte{0}, "")},
		{"address 0 goes on behind as much as was inserted", "ab2345", stream([]byte{2}, []byte{4}, []byte{0}, "ab")},
		{"address 1 goes on where the last copy ended", "ab0123", stream([]byte{2}, []byte{4}, []byte{1}, "ab")},
		{"odd addresses lead forwards", "0156", stream([]byte{0, 0}, []byte{2, 2}, []byte{0, 7}, "")},
		{"even ones backwards", "56701", stream([]byte{0, 0}, []byte{3, 2}, []byte{11, 16}, "")},
		{"literals are what is left", "x01yz", stream([]byte{1}, []byte{2}, []byte{1}, "xyz")},
		{"empty operations", "01", stream([]byte{0, 0, 0}, []byte{0, 2, 0}, []byte{0, 0, 0}, "")},
		{"an empty copy at the end of the base", "a", stream([]byte{0}, []byte{0}, []byte{21}, "a")},
	} {
		got, err := delta.Apply(nil, []byte(base), c.stream, len(c.target))
		if err != nil || string(got) != c.target {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
		if got, err := delta.Apply([]byte("x"), []byte(base), c.stream, len(c.target)+1); !errors.Is(err, delta.ErrInvalid) || string(got) != "x" {
			t.Errorf("%s, size too large: %q, %v", c.name, got, err)
		}
		if got, err := delta.Apply([]byte("x"), []byte(base), c.stream, len(c.target)-1); !errors.Is(err, delta.ErrInvalid) || string(got) != "x" {
			t.Errorf("%s, size too small: %q, %v", c.name, got, err)
		}
	}
}

func TestApply_Hostile_IsRefused(t *testing.T) {
	const base = "0123456789"
	most := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}
	over := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2}
	for _, c := range []struct {
		name   string
		size   int
		stream []byte
	}{
		{"empty", 0, nil},
		{"cut off in the lengths", 0, []byte{0, 0}},
		{"a varint that does not end", 0, []byte{0x80}},
		{"a varint above 64 bits", 0, over},
		{"a column longer than the stream", 4, append(bytes.Clone(most), 0, 0, 0)},
		{"columns longer than the stream", 4, []byte{1, 1, 1, 0}},
		{"an operation that does not end", 4, stream([]byte{0x80}, []byte{4}, []byte{0}, "")},
		{"too few copies", 4, stream([]byte{0, 0}, []byte{4}, []byte{0, 0}, "")},
		{"too many copies", 4, stream([]byte{0}, []byte{4, 0}, []byte{0}, "")},
		{"too many addresses", 4, stream([]byte{0}, []byte{4}, []byte{0, 0}, "")},
		{"a copy past the base", 11, stream([]byte{0}, []byte{11}, []byte{0}, "")},
		{"a copy from past the base", 4, stream([]byte{0}, []byte{4}, []byte{23}, "")},
		{"a copy past the base from its middle", 4, stream([]byte{0}, []byte{4}, []byte{15}, "")},
		{"a copy from before the base", 4, stream([]byte{0}, []byte{4}, []byte{2}, "")},
		{"the greatest copy", 4, stream([]byte{0}, most, []byte{0}, "")},
		{"the greatest address", 4, stream([]byte{0}, []byte{4}, most, "")},
		{"the greatest address but one", 4, stream([]byte{0}, []byte{4}, append([]byte{0xfe}, most[1:]...), "")},
		{"the greatest insert", 4, stream(most, []byte{4}, []byte{0}, "")},
		{"the diagonal leads out of the base", 16, stream([]byte{12}, []byte{4}, []byte{0}, "abcdefghijkl")},
		{"more copied than fits", 4, stream([]byte{0, 0}, []byte{3, 3}, []byte{0, 0}, "")},
		{"negative size", -1, stream(nil, nil, nil, "")},
	} {
		got, err := delta.Apply([]byte("x"), []byte(base), c.stream, c.size)
		if !errors.Is(err, delta.ErrInvalid) || string(got) != "x" {
			t.Errorf("%s: %q, %v", c.name, got, err)
		}
	}
}

// flipped returns a stream with some bits flipped, mostly at its beginning, where its operations are.
func flipped(t *rapid.T, stream []byte, least, most int) []byte {
	bad := bytes.Clone(stream)
	for range rapid.IntRange(least, most).Draw(t, "flips") {
		bad[min(rapid.IntRange(0, 1<<rapid.IntRange(2, 13).Draw(t, "bits")).Draw(t, "at"), len(bad)-1)] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
	}
	return bad
}

func TestApply_DamagedStreams_NeverMakeAnotherLength(t *testing.T) {
	d := newDump(1, 100_000)
	base := d.bytes()
	d.edit(.05, .05)
	target := d.bytes()
	var e delta.Encoder
	whole, _ := encode(t, &e, base, target)
	rapid.Check(t, func(t *rapid.T) {
		bad := flipped(t, whole, 1, 4)
		bad = bad[:rapid.IntRange(len(bad)/2, len(bad)).Draw(t, "cut")]
		got, err := delta.Apply(nil, base, bad, len(target))
		if err == nil && len(got) != len(target) || err != nil && (got != nil || !errors.Is(err, delta.ErrInvalid)) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	})
}

// TestApply_Golden_StreamsOfOldStay reads streams that were written once, and have to make the same for ever.
func TestApply_Golden_StreamsOfOldStay(t *testing.T) {
	const name = "testdata/streams.txt"
	if *update {
		writeGolden(t, name)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(lines) < 4 {
		t.Fatalf("only %d streams", len(lines))
	}
	for _, line := range lines {
		var seed uint64
		var length, size int
		var sum, code string
		if _, err := fmt.Sscan(line, &seed, &length, &size, &sum, &code); err != nil {
			t.Fatal(err)
		}
		stream, err := hex.DecodeString(code)
		if err != nil {
			t.Fatal(err)
		}
		got, err := delta.Apply(nil, noise(seed, length), stream, size)
		if h := sha256.Sum256(got); err != nil || hex.EncodeToString(h[:]) != sum {
			t.Errorf("base %d: %v, SHA-256 %x", seed, err, h)
		}
	}
}

// writeGolden writes a line for each stream: seed and length of the base, length and SHA-256 of the target, the stream.
func writeGolden(t *testing.T, name string) {
	var e delta.Encoder
	var out []byte
	for seed, edit := range []func(b []byte) []byte{
		func(b []byte) []byte { return b },
		func(b []byte) []byte { return append([]byte("in front"), b...) },
		func(b []byte) []byte {
			return bytes.Join([][]byte{b[9000:], b[:100], []byte("between"), b[500:7000]}, nil)
		},
		func(b []byte) []byte {
			b = bytes.Clone(b)
			for i := 500; i < len(b); i += 1500 {
				copy(b[i:], "replaced")
			}
			return b
		},
	} {
		base := noise(uint64(seed), 20_000)
		target := edit(base)
		stream, _ := encode(t, &e, base, target)
		out = fmt.Appendf(out, "%d %d %d %x %x\n", seed, len(base), len(target), sha256.Sum256(target), stream)
	}
	if err := os.WriteFile(name, out, 0o644); err != nil {
		t.Fatal(err)
	}
}
