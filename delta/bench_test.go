//go:build unix

package delta_test

import (
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/kura-backup/kura/delta"
)

type edition struct {
	name         string
	base, target []byte
}

// editions are bases and targets as backups meet them.
func editions() []edition {
	var out []edition
	for _, c := range []struct {
		name              string
		size              int
		updated, inserted float64
	}{{"dump1percent1MiB", 1 << 20, .01, .01}, {"dump1percent2MiB", 2 << 20, .01, .01}, {"dump5percent1MiB", 1 << 20, .05, .05}, {"everyRow1MiB", 1 << 20, 1, 0}} {
		d := newDump(1, c.size)
		base := d.bytes()
		d.edit(c.updated, c.inserted)
		out = append(out, edition{c.name, base, d.bytes()})
	}
	r := rand.New(rand.NewPCG(1, 5))
	base := noise(1, 2<<20)
	fields, pages := append([]byte{}, base...), append([]byte{}, base...)
	for range len(base) / 10_000 {
		copy(fields[r.IntN(len(fields)-100):], noise(r.Uint64(), 100))
	}
	for at := 0; at < len(base); at += 4 << 14 {
		copy(pages[at:], noise(r.Uint64(), 1<<14))
	}
	return append(out, edition{"noise1percent2MiB", base, fields}, edition{"pages25percent2MiB", base, pages},
		edition{"unrelatedNoise1MiB", noise(2, 1<<20), noise(3, 1<<20)}, edition{"unrelatedDump1MiB", newDump(2, 1<<20).bytes(), newDump(3, 1<<20).bytes()})
}

// measure runs f on n bytes at a time. Beside the rate by the clock it reports the one by CPU time, which neighbours of a shared machine
// disturb less.
func measure(b *testing.B, n int, f func()) {
	b.Helper()
	b.SetBytes(int64(n))
	b.ReportAllocs()
	f() // tables and buffers are there
	start := cpuTime(b)
	for b.Loop() {
		f()
	}
	b.ReportMetric(float64(n)*float64(b.N)/1e6/(cpuTime(b)-start), "MB/cpu-s")
}

func cpuTime(b *testing.B) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

func BenchmarkEncode(b *testing.B) {
	for _, c := range editions() {
		b.Run(c.name, func(b *testing.B) {
			var e delta.Encoder
			var out []byte
			measure(b, len(c.target), func() { out, _, _ = e.Encode(out[:0], c.base, c.target, len(c.target)/2) })
			b.ReportMetric(float64(len(out)), "stream-bytes")
		})
	}
}

func BenchmarkApply(b *testing.B) {
	for _, c := range editions() {
		var e delta.Encoder
		stream, _, ok := e.Encode(nil, c.base, c.target, len(c.target)/2)
		if !ok {
			continue
		}
		b.Run(c.name, func(b *testing.B) {
			var out []byte
			measure(b, len(c.target), func() {
				var err error
				if out, err = delta.Apply(out[:0], c.base, stream, len(c.target)); err != nil {
					b.Fatal(err)
				}
			})
		})
	}
}

// BenchmarkChain makes the last of eight generations, a hundredth of each being updated and another inserted.
func BenchmarkChain(b *testing.B) {
	d := newDump(1, 1<<20)
	first := d.bytes()
	var e delta.Encoder
	var streams [][]byte
	var sizes []int
	last := first
	for range 8 {
		d.edit(.01, .01)
		target := d.bytes()
		stream, _, _ := e.Encode(nil, last, target, len(target)/2)
		streams, sizes, last = append(streams, stream), append(sizes, len(target)), target
	}
	b.Run("oneByOne", func(b *testing.B) {
		var from, to []byte
		measure(b, len(last), func() {
			from = append(from[:0], first...)
			for i, s := range streams {
				to, _ = delta.Apply(to[:0], from, s, sizes[i])
				from, to = to, from
			}
			if len(from) != len(last) {
				b.Fatal(len(from))
			}
		})
	})
	b.Run("inPieces", func(b *testing.B) {
		var from, to delta.Pieces
		var out []byte
		measure(b, len(last), func() {
			from.Reset()
			from.Add(first)
			for i, s := range streams {
				to.Reset()
				if err := to.Apply(&from, s, sizes[i]); err != nil {
					b.Fatal(err)
				}
				from, to = to, from
			}
			if out = from.AppendTo(out[:0]); len(out) != len(last) {
				b.Fatal(len(out))
			}
		})
	})
}

func BenchmarkSketch(b *testing.B) {
	for _, c := range []struct {
		name string
		data []byte
	}{{"noise1MiB", noise(1, 1<<20)}, {"dump1MiB", newDump(1, 1<<20).bytes()}, {"dump64KiB", newDump(1, 1<<16).bytes()}, {"zeros1MiB", make([]byte, 1<<20)}} {
		b.Run(c.name, func(b *testing.B) { measure(b, len(c.data), func() { delta.SketchOf(c.data) }) })
	}
}

// BenchmarkZstd is what the others are to be faster than.
func BenchmarkZstd(b *testing.B) {
	data := newDump(1, 1<<20).bytes()
	var out []byte
	measure(b, len(data), func() { out = zstdEncoder.EncodeAll(data, out[:0]) })
}
