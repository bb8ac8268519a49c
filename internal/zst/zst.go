package zst

import (
	"errors"
	"fmt"
	"runtime"
	"slices"

	"github.com/klauspost/compress/zstd"

	"github.com/kura-backup/kura/internal/freelist"
)

// MaxWindow is the largest window of a frame.
const MaxWindow = 8 << 20

// maxBlock is the most bytes that one block of a frame can stand for.
const maxBlock = 128 << 10

var (
	// ErrInvalid is returned for bytes that are not exactly one frame of the format.
	ErrInvalid = errors.New("zst: invalid frame")

	// ErrTooLarge is returned for a frame with more content than the caller takes.
	ErrTooLarge = errors.New("zst: content is larger than allowed")
)

// Level trades time for size.
type Level uint8

// The levels, from the fastest to the smallest.
const (
	Fastest Level = iota
	Default
	Better
	Best
)

var encoderLevels = [...]zstd.EncoderLevel{
	Fastest: zstd.SpeedFastest,
	Default: zstd.SpeedDefault,
	Better:  zstd.SpeedBetterCompression,
	Best:    zstd.SpeedBestCompression,
}

// window is the window of the encoders. A larger one would cost its size in memory for each of them,
// and gains nothing for the most common contents, which are not larger: with 8 MiB the packs of
// a tree of 4 GB came out no smaller, and two encoders held 10 MiB more.
const window = 2 << 20

// sizes of contents, each with its own kind of encoder. Within the window a frame is a single segment:
// only so does the library write the size of a content under 256 bytes.
const (
	small = iota // at most the window
	large        // more

	sizes
)

// Idle encoders by level and size, and idle decoders. More than there are CPUs are not kept.
var (
	encoders = newEncoders()
	decoders = freelist.New[*zstd.Decoder](runtime.GOMAXPROCS(0))
)

func newEncoders() (lists [len(encoderLevels)][sizes]*freelist.List[*zstd.Encoder]) {
	for level := range lists {
		for size := range lists[level] {
			lists[level][size] = freelist.New[*zstd.Encoder](runtime.GOMAXPROCS(0))
		}
	}
	return lists
}

func encoder(level Level, size int) *zstd.Encoder {
	if e, ok := encoders[level][size].Get(); ok {
		return e
	}
	e, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(encoderLevels[level]),
		zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false),
		zstd.WithWindowSize(window),
		zstd.WithSingleSegment(size == small),
		zstd.WithZeroFrames(true),
		zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic(err) // the options are constant
	}
	return e
}

// MaxEncoded is the most that Encode needs room for. With less, it grows its output from nothing for each content that does not compress: for a file
// of noise this took a fifth of all CPU time.
func MaxEncoded(n int) int { return n + n/64 + 1024 }

// Encode appends one frame with the content src to dst.
func Encode(dst, src []byte, level Level) []byte {
	size := small
	if len(src) > window {
		size = large
	}
	e := encoder(level, size)
	dst = e.EncodeAll(src, dst)
	encoders[level][size].Put(e)
	return dst
}

func decoder() *zstd.Decoder {
	if d, ok := decoders.Get(); ok {
		return d
	}
	d, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(MaxWindow),
		zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		panic(err) // the options are constant
	}
	return d
}

// Decode appends the content of the frame src to dst, at most limit bytes. It never allocates
// more than that, and uses dst's capacity first.
func Decode(dst, src []byte, limit int) ([]byte, error) {
	size, err := contentSize(src)
	if err != nil {
		return nil, err
	}
	if size > uint64(max(limit, 0)) {
		return nil, fmt.Errorf("%w: %d bytes, limit %d", ErrTooLarge, size, limit)
	}
	start := len(dst)
	dst = slices.Grow(dst, int(size))
	d := decoder()
	out, err := d.DecodeAll(src, dst[:start:start+int(size)])
	decoders.Put(d)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if uint64(len(out)-start) != size {
		return nil, fmt.Errorf("%w: %d bytes of content, header says %d", ErrInvalid, len(out)-start, size)
	}
	return dst[:start+int(size)], nil
}

// contentSize walks over the headers of the frame and of its blocks, so that what is decoded
// is known to be one whole frame whose size its blocks could really have.
func contentSize(src []byte) (uint64, error) {
	var h zstd.Header
	if err := h.Decode(src); err != nil {
		return 0, fmt.Errorf("%w: header: %w", ErrInvalid, err)
	}
	window := h.WindowSize
	if h.SingleSegment {
		window = h.FrameContentSize
	}
	switch {
	case h.Skippable:
		return 0, fmt.Errorf("%w: skippable", ErrInvalid)
	case h.DictionaryID != 0:
		return 0, fmt.Errorf("%w: needs a dictionary", ErrInvalid)
	case !h.HasFCS:
		return 0, fmt.Errorf("%w: no content size", ErrInvalid)
	case window > MaxWindow:
		return 0, fmt.Errorf("%w: window of %d bytes", ErrInvalid, window)
	}
	rest := src[h.HeaderSize:]
	blocks := uint64(0)
	for last := false; !last; blocks++ {
		if len(rest) < 3 {
			return 0, fmt.Errorf("%w: cut off", ErrInvalid)
		}
		b := uint32(rest[0]) | uint32(rest[1])<<8 | uint32(rest[2])<<16
		last = b&1 != 0
		size := int(b >> 3)
		if kind := b >> 1 & 3; kind == 1 {
			size = 1 // one byte, repeated
		}
		if len(rest)-3 < size {
			return 0, fmt.Errorf("%w: cut off", ErrInvalid)
		}
		rest = rest[3+size:]
	}
	trailer := 0
	if h.HasCheckSum {
		trailer = 4
	}
	if len(rest) != trailer {
		return 0, fmt.Errorf("%w: %d bytes after the frame", ErrInvalid, len(rest))
	}
	if h.FrameContentSize > blocks*maxBlock {
		return 0, fmt.Errorf("%w: %d blocks cannot hold %d bytes", ErrInvalid, blocks, h.FrameContentSize)
	}
	return h.FrameContentSize, nil
}
