package zst

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"
)

const limit = 16 << 20

var levels = []Level{Fastest, Default, Better, Best}

// text is compressible but not trivially so.
func text(n int) []byte {
	rng := rand.New(rand.NewPCG(1, uint64(n)))
	out := make([]byte, 0, n+64)
	for len(out) < min(n, 1<<20) {
		out = fmt.Appendf(out, "row %d of the table has value %x\n", len(out), rng.Uint32N(1<<12))
	}
	return bytes.Repeat(out, 1+n/(len(out)+1))[:n]
}

func TestRoundTrip_AnySizeAndLevel_ComesBack(t *testing.T) {
	for _, level := range levels {
		for _, n := range []int{0, 1, 2, 255, 256, 257, 1024, 1025, 4096, 128 << 10, 128<<10 + 1, MaxWindow, MaxWindow + 1} {
			if n > 1<<20 && level > Default {
				continue // slow, and the frames are made in the same way
			}
			src := text(n)
			frame := Encode([]byte("before"), src, level)
			rest, ok := bytes.CutPrefix(frame, []byte("before"))
			if !ok {
				t.Fatalf("level %d, %d bytes: dst was not appended to", level, n)
			}
			checkHeader(t, rest, n)
			got, err := Decode([]byte("before"), rest, n)
			if err != nil {
				t.Fatalf("level %d, %d bytes: %v", level, n, err)
			}
			if got, ok = bytes.CutPrefix(got, []byte("before")); !ok || !bytes.Equal(got, src) {
				t.Fatalf("level %d, %d bytes: content differs", level, n)
			}
		}
	}
}

// checkHeader checks what the format says of every frame.
func checkHeader(t *testing.T, frame []byte, n int) {
	t.Helper()
	var h zstd.Header
	if err := h.Decode(frame); err != nil {
		t.Fatal(err)
	}
	window := h.WindowSize
	if h.SingleSegment {
		window = h.FrameContentSize
	}
	if !h.HasFCS || h.FrameContentSize != uint64(n) || window > MaxWindow || h.DictionaryID != 0 || h.HasCheckSum {
		t.Fatalf("header of a frame of %d bytes: %+v", n, h)
	}
}

func TestRoundTrip_AnyBytes_ComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		src := rapid.SliceOf(rapid.Byte()).Draw(t, "src")
		level := rapid.SampledFrom(levels).Draw(t, "level")
		got, err := Decode(nil, Encode(nil, src, level), len(src))
		if err != nil || !bytes.Equal(got, src) {
			t.Fatalf("got %x, %v", got, err)
		}
	})
}

func TestDecode_EnoughCapacity_DoesNotMoveDst(t *testing.T) {
	src := text(5000)
	frame := Encode(nil, src, Default)
	buf := make([]byte, 3, 3+5000+1)
	buf = buf[:cap(buf)]
	buf[5003] = 0xaa // behind what is needed
	got, err := Decode(buf[:3], frame, 5000)
	if err != nil {
		t.Fatal(err)
	}
	if &got[0] != &buf[0] || len(got) != 5003 || buf[5003] != 0xaa {
		t.Fatal("dst was moved or written past the content")
	}
}

func TestDecode_MoreThanLimit_IsTooLarge(t *testing.T) {
	src := text(5000)
	for _, limit := range []int{4999, 0, -1} {
		if _, err := Decode(nil, Encode(nil, src, Default), limit); !errors.Is(err, ErrTooLarge) {
			t.Errorf("limit %d: %v", limit, err)
		}
	}
}

// foreign makes a frame with other options than ours.
func foreign(t *testing.T, src []byte, opts ...zstd.EOption) []byte {
	t.Helper()
	e, err := zstd.NewWriter(nil, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return e.EncodeAll(src, nil)
}

func TestDecode_OtherEncodersFrames_AreRead(t *testing.T) {
	for name, opts := range map[string][]zstd.EOption{
		"checksum":     {zstd.WithEncoderCRC(true)},
		"small window": {zstd.WithWindowSize(1 << 16), zstd.WithSingleSegment(false)},
	} {
		src := text(300 << 10)
		got, err := Decode(nil, foreign(t, src, opts...), len(src))
		if err != nil || !bytes.Equal(got, src) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDecode_BadFrames_AreInvalid(t *testing.T) {
	small := Encode(nil, text(1000), Default)
	streamed := func() []byte { // a stream has no content size
		var b bytes.Buffer
		e, err := zstd.NewWriter(&b)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = e.Write(text(200 << 10))
		_ = e.Close()
		return b.Bytes()
	}()
	// A single segment that claims 7 MiB with one block: 4 bytes of magic, descriptor, size.
	liar := binary.LittleEndian.AppendUint32([]byte{0x28, 0xb5, 0x2f, 0xfd, 0xa0}, 7<<20)
	liar = append(liar, 1, 0, 0)
	// The same with a repeated byte, which is not as long as it claims.
	short := binary.LittleEndian.AppendUint32([]byte{0x28, 0xb5, 0x2f, 0xfd, 0xa0}, 1000)
	short = append(short, 1|1<<1|(999<<3&0xff), 999<<3>>8, 0, 'x')
	for name, in := range map[string][]byte{
		"nothing":              {},
		"not a frame":          []byte("this is not a frame at all"),
		"trailing byte":        append(bytes.Clone(small), 0),
		"two frames":           append(bytes.Clone(small), small...),
		"then a skippable":     append(bytes.Clone(small), 0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0),
		"skippable":            {0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0},
		"no content size":      streamed,
		"window of 16 MiB":     foreign(t, text(10<<20), zstd.WithWindowSize(16<<20), zstd.WithSingleSegment(false)),
		"segment over window":  foreign(t, text(10<<20), zstd.WithSingleSegment(true)),
		"dictionary":           foreign(t, text(1000), zstd.WithEncoderDictRaw(7, text(500))),
		"more than its blocks": liar,
		"less than it claims":  short,
	} {
		if _, err := Decode(nil, in, limit); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for n := range small {
		if _, err := Decode(nil, small[:n], limit); !errors.Is(err, ErrInvalid) {
			t.Fatalf("%d of %d bytes: %v", n, len(small), err)
		}
	}
}

func TestDecode_Bomb_IsJudgedBeforeAllocation(t *testing.T) {
	bomb := Encode(nil, make([]byte, limit), Default)
	if len(bomb) > 10000 {
		t.Fatalf("bomb of %d bytes is no bomb", len(bomb))
	}
	if n := testing.AllocsPerRun(10, func() {
		if _, err := Decode(nil, bomb, limit-1); !errors.Is(err, ErrTooLarge) {
			t.Fatal(err)
		}
	}); n > 10 {
		t.Fatalf("%v allocations", n)
	}
}

func TestPools_ManyGoroutines_DoNotMixFrames(t *testing.T) {
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 20 {
				src := text(1000*g + i)
				got, err := Decode(nil, Encode(nil, src, levels[i%3]), len(src))
				if err != nil || !bytes.Equal(got, src) {
					t.Errorf("goroutine %d, round %d: %v", g, i, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkZst(b *testing.B) {
	src := text(1 << 20)
	for name, level := range map[string]Level{"fastest": Fastest, "default": Default, "better": Better} {
		b.Run("encode/"+name, func(b *testing.B) {
			dst := make([]byte, 0, 1<<20)
			b.SetBytes(int64(len(src)))
			b.ReportAllocs()
			for b.Loop() {
				dst = Encode(dst[:0], src, level)
			}
		})
	}
	b.Run("encode/random", func(b *testing.B) {
		noise := make([]byte, 1<<20)
		rng := rand.NewChaCha8([32]byte{})
		_, _ = rng.Read(noise)
		dst := make([]byte, 0, 1<<21)
		b.SetBytes(int64(len(noise)))
		b.ReportAllocs()
		for b.Loop() {
			dst = Encode(dst[:0], noise, Default)
		}
	})
	b.Run("decode", func(b *testing.B) {
		frame := Encode(nil, src, Default)
		dst := make([]byte, 0, 1<<20)
		b.SetBytes(int64(len(src)))
		b.ReportAllocs()
		for b.Loop() {
			var err error
			if dst, err = Decode(dst[:0], frame, len(src)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
