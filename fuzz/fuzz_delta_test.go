package fuzz

import (
	"bytes"
	"errors"
	"testing"

	"github.com/kura-backup/kura/delta"
)

// FuzzDelta makes a base and a target of a script of pieces, so that they have much in common, and wants the target back.
func FuzzDelta(f *testing.F) {
	f.Add([]byte("0123456789abcdef0123456789ABCDEF-0123456789abcdef"), []byte{1, 0, 0, 40, 0, 3, 0, 9, 1, 0, 16, 30}, uint16(500))
	f.Add(bytes.Repeat([]byte("row,"), 100), []byte{1, 0, 0, 255, 2, 0, 7, 9, 1, 1, 0, 140, 3, 0, 0, 200}, uint16(20))
	f.Add([]byte{}, []byte{0, 0, 0, 9}, uint16(0))
	var e delta.Encoder
	f.Fuzz(func(t *testing.T, base, script []byte, limit uint16) {
		base = bytes.Repeat(base, 1+len(base)%5)
		var target []byte
		for ; len(script) >= 4 && len(target) < 1<<20; script = script[4:] {
			at := int(script[1])<<8 | int(script[2])
			n := int(script[3]) << (script[0] >> 4)
			switch script[0] % 4 {
			case 0:
				target = append(target, script...)
			case 1, 2:
				at = min(at, len(base))
				target = append(target, base[at:min(at+n, len(base))]...)
			default:
				target = append(target, bytes.Repeat(script[2:3], n)...)
			}
		}
		out, m, ok := e.Encode(nil, base, target, int(limit))
		if ok && len(out) > int(limit) {
			t.Fatalf("%d bytes of stream, the limit being %d", len(out), limit)
		}
		if !ok {
			out, m, ok = e.Encode(nil, base, target, len(target)+64)
		}
		if !ok {
			return
		}
		got, err := delta.Apply(nil, base, out, len(target))
		if err != nil || !bytes.Equal(got, target) {
			t.Fatalf("a target of %d bytes came back as one of %d: %v", len(target), len(got), err)
		}
		if m.Copied < 0 || m.Copied > len(target) || m.Target > len(target) || m.Base > len(base) {
			t.Fatalf("%+v", m)
		}
	})
}

// FuzzDeltaApply applies any stream, in each of the three ways.
func FuzzDeltaApply(f *testing.F) {
	f.Add([]byte("0123456789"), []byte{1, 1, 1, 2, 4, 0, 'a', 'b'}, 6)
	f.Add([]byte("0123456789"), []byte{2, 2, 2, 0, 0, 3, 2, 11, 16}, 5)
	f.Add([]byte("0123456789"), []byte{0, 0, 0, 'a'}, 1)
	f.Add([]byte{}, []byte{1, 1, 10, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}, 0)
	f.Fuzz(func(t *testing.T, base, stream []byte, size int) {
		size %= 1 << 24
		got, err := delta.Apply(nil, base, stream, size)
		switch {
		case err == nil && len(got) != size:
			t.Fatalf("%d bytes instead of %d", len(got), size)
		case err != nil && !errors.Is(err, delta.ErrInvalid):
			t.Fatalf("an error of its own: %v", err)
		case err != nil && got != nil:
			t.Fatal("an error, and yet a target")
		}
		var pieces, made delta.Pieces
		for rest := base; len(rest) > 0; rest = rest[min(1+len(rest)/3, len(rest)):] {
			pieces.Add(rest[:min(1+len(rest)/3, len(rest))])
		}
		if perr := made.Apply(&pieces, stream, size); errors.Is(perr, delta.ErrPieces) {
			return
		} else if (perr == nil) != (err == nil) || !bytes.Equal(made.AppendTo(nil), got) {
			t.Fatalf("in pieces: %d bytes, %v; otherwise %d, %v", made.Len(), perr, len(got), err)
		}
		if !delta.Makes(base, stream, got) && err == nil {
			t.Fatal("it makes something else when it is compared")
		}
	})
}

// FuzzDeltaSketch sketches any bytes: the same ones always the same way, and never above 48 bits.
func FuzzDeltaSketch(f *testing.F) {
	f.Add([]byte("some bytes"), uint16(9))
	f.Fuzz(func(t *testing.T, data []byte, times uint16) {
		for len(data) > 0 && len(data) < int(times) {
			data = append(data, data...)
			data[len(data)/2]++
		}
		a, okA := delta.SketchOf(data)
		b, okB := delta.SketchOf(bytes.Clone(data))
		if a != b || okA != okB || !okA && a != (delta.Sketch{}) {
			t.Fatalf("%x %v, then %x %v", a, okA, b, okB)
		}
		for _, v := range a {
			if v >= 1<<48 {
				t.Fatalf("%x", v)
			}
		}
	})
}
