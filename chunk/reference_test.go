package chunk_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"io"
	"slices"
	"testing"

	"github.com/restic/chunker"

	"github.com/kura-backup/kura/chunk"
)

// testPol is an irreducible polynomial of degree 53; the golden file depends on it.
const testPol = 0x3DA3358B4DC173

var update = flag.Bool("update", false, "rewrite the golden files")

// alone leaves a test of what one goroutine does out of the race run.
func alone(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("in one goroutine")
	}
}

// extent is a chunk with its data copied, as the format describes it.
type extent struct {
	kind   chunk.Kind
	length int64
	data   string
}

// span is a half-open range of offsets.
type span struct{ start, end int64 }

// reference cuts data as docs/format.md, section 12, says, one sentence after the other, with the whole
// stream in memory and restic's own reader of streams.
func reference(t testing.TB, data []byte, holes []span) []extent {
	t.Helper()
	n := (len(data) + 4095) / 4096
	zero := make([]bool, n)
	hole := make([]bool, n)
	for i := range n {
		lo, hi := i*4096, min((i+1)*4096, len(data))
		zero[i] = len(bytes.Trim(data[lo:hi], "\x00")) == 0
		hole[i] = zero[i]
		for off := lo; off < hi && hole[i]; off++ {
			hole[i] = slices.ContainsFunc(holes, func(s span) bool { return int64(off) >= s.start && int64(off) < s.end })
		}
	}
	var out []extent
	for i := 0; i < n; {
		run := i
		for run < n && zero[run] {
			run++
		}
		if run-i >= 16 {
			for i < run {
				j, kind := i, chunk.Zeros
				if hole[i] {
					kind = chunk.Hole
				}
				for j < run && hole[j] == hole[i] {
					j++
				}
				out = append(out, extent{kind: kind, length: int64(min(j*4096, len(data)) - i*4096)})
				i = j
			}
			continue
		}
		j := i
		for j < n {
			k := j
			for k < n && zero[k] {
				k++
			}
			if k-j >= 16 {
				break
			}
			j = max(k, j+1)
		}
		c := chunker.New(bytes.NewReader(data[i*4096:min(j*4096, len(data))]), testPol)
		for {
			ch, err := c.Next(nil)
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, extent{kind: chunk.Data, length: int64(ch.Length), data: string(ch.Data)})
		}
		i = j
	}
	return out
}

func newCutter(t testing.TB) *chunk.Cutter {
	t.Helper()
	c, err := chunk.New(testPol)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// cut returns all extents of r.
func cut(t testing.TB, c *chunk.Cutter, r io.Reader) []extent {
	t.Helper()
	c.Reset(r)
	return collect(t, c)
}

// collect returns all extents of the stream that c was reset to.
func collect(t testing.TB, c *chunk.Cutter) []extent {
	t.Helper()
	var out []extent
	var off int64
	for {
		ch, err := c.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if ch.Offset != off || ch.Length <= 0 {
			t.Fatalf("extent at %d with length %d, want it at %d", ch.Offset, ch.Length, off)
		}
		if (ch.Kind == chunk.Data) != (ch.Length == int64(len(ch.Data))) {
			t.Fatalf("%v extent of length %d has %d bytes", ch.Kind, ch.Length, len(ch.Data))
		}
		off += ch.Length
		out = append(out, extent{ch.Kind, ch.Length, string(ch.Data)})
	}
	if _, err := c.Next(); err != io.EOF {
		t.Fatalf("after the end: %v, want io.EOF", err)
	}
	return out
}

// withoutHoles replaces holes by zeros and joins what then are neighbours of one kind.
func withoutHoles(in []extent) []extent {
	var out []extent
	for _, e := range in {
		if e.kind == chunk.Hole {
			e.kind = chunk.Zeros
		}
		if n := len(out); n > 0 && e.kind == chunk.Zeros && out[n-1].kind == chunk.Zeros {
			out[n-1].length += e.length
			continue
		}
		out = append(out, e)
	}
	return out
}

func diff(t interface {
	Helper()
	Fatalf(string, ...any)
}, what string, got, want []extent,
) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("%s: %d extents, want %d; the first difference is extent %d:\ngot  %s\nwant %s",
				what, len(got), len(want), i, describe(got, i), describe(want, i))
		}
	}
}

func describe(list []extent, i int) string {
	if i >= len(list) {
		return "nothing"
	}
	var off int64
	for _, e := range list[:i] {
		off += e.length
	}
	return list[i].kind.String() + " at " + itoa(off) + " length " + itoa(list[i].length)
}

// noise is a deterministic stream without zero blocks: SplitMix64, as little-endian words.
func noise(seed uint64, n int) []byte {
	out := make([]byte, 0, n+8)
	for len(out) < n {
		seed += 0x9E3779B97F4A7C15
		z := seed
		z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
		z = (z ^ z>>27) * 0x94D049BB133111EB
		out = binary.LittleEndian.AppendUint64(out, z^z>>31)
	}
	return out[:n]
}

// spanReader returns data as a stream that knows holes.
func spanReader(data []byte, holes []span) chunk.SparseReader {
	return chunk.NewSparseReader(bytes.NewReader(data), func(off int64) (int64, int64, error) {
		for _, h := range holes {
			if h.end > off {
				return h.start, h.end, nil
			}
		}
		return 0, 0, nil
	})
}

var errTest = errors.New("test: stream failed")
