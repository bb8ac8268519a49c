package chunk_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/restic/chunker"

	"github.com/kura-backup/kura/chunk"
)

func drain(b *testing.B, c *chunk.Cutter, r io.Reader) {
	c.Reset(r)
	rest(b, c)
}

func rest(b *testing.B, c *chunk.Cutter) {
	for {
		if _, err := c.Next(); err == io.EOF {
			return
		} else if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCutter(b *testing.B) {
	for _, bc := range []struct {
		name string
		data []byte
	}{
		{"noise256MiB", noise(1, 256<<20)},
		{"zeros256MiB", make([]byte, 256<<20)},
		{"small8KiB", noise(1, 8<<10)},
		{"small400KiB", noise(1, 400<<10)},
	} {
		b.Run(bc.name, func(b *testing.B) {
			c, r := newCutter(b), bytes.NewReader(nil)
			b.SetBytes(int64(len(bc.data)))
			b.ReportAllocs()
			for b.Loop() {
				r.Reset(bc.data)
				drain(b, c, r)
			}
		})
	}
}

func noiseFile(b *testing.B) *os.File {
	name := filepath.Join(b.TempDir(), "file")
	if err := os.WriteFile(name, noise(1, 256<<20), 0o600); err != nil {
		b.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	return f
}

func BenchmarkCutter_File(b *testing.B) {
	f := noiseFile(b)
	c := newCutter(b)
	b.SetBytes(256 << 20)
	for b.Loop() {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			b.Fatal(err)
		}
		drain(b, c, f)
	}
}

// BenchmarkCutter_Ahead is the same file, read and searched in other goroutines. What it is worth shows with more CPUs
// than there are searchers.
func BenchmarkCutter_Ahead(b *testing.B) {
	f := noiseFile(b)
	for _, searchers := range []int{1, 2, 4} {
		b.Run(fmt.Sprint("searchers", searchers), func(b *testing.B) {
			a, err := chunk.NewAhead(uint64(testPol), searchers)
			if err != nil {
				b.Fatal(err)
			}
			c := newCutter(b)
			b.SetBytes(256 << 20)
			for b.Loop() {
				if _, err := f.Seek(0, io.SeekStart); err != nil {
					b.Fatal(err)
				}
				c.ResetAhead(f, a)
				rest(b, c)
			}
		})
	}
}

func BenchmarkCutter_Hole1TiB(b *testing.B) {
	c := newCutter(b)
	for b.Loop() {
		drain(b, c, &neverRead{1 << 40})
	}
}

// BenchmarkLibrary is restic's chunker over the same bytes, for comparison.
func BenchmarkLibrary(b *testing.B) {
	data := noise(1, 256<<20)
	base := chunker.NewBase(testPol)
	b.SetBytes(256 << 20)
	for b.Loop() {
		base.Reset(testPol)
		for rest := data; len(rest) > 0; {
			n := base.NextSplitPoint(rest)
			if n < 0 {
				break
			}
			rest = rest[n:]
		}
	}
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		newCutter(b)
	}
}
