package fuzz

import (
	"bytes"
	"io"
	"testing"

	"github.com/kura-backup/kura/chunk"
)

const chunkPolynomial = 0x3DA3358B4DC173

// chunkStream makes a stream and its holes from a script of 4-byte pieces: what it is, and its
// length in units of 1 to 4096 bytes.
func chunkStream(script []byte) (data []byte, holes [][2]int64) {
	for ; len(script) >= 4 && len(data) < 3<<20; script = script[4:] {
		n := (int(script[1])<<8 | int(script[2])) << (script[3] % 13) % (1 << 20)
		start := len(data)
		switch script[0] % 4 {
		case 0:
			data = append(data, make([]byte, n)...)
		case 1:
			data = append(data, make([]byte, n)...)
			if n > 0 {
				holes = append(holes, [2]int64{int64(start), int64(len(data))})
			}
		default:
			x := uint32(script[0])<<8 | uint32(script[3]) | 1
			for range n {
				x = x*1664525 + 1013904223
				data = append(data, byte(x>>24))
			}
		}
	}
	return data, holes
}

// unevenReader returns as many bytes as the next of sizes says.
type unevenReader struct {
	r     io.Reader
	sizes []byte
	i     int
}

func (u *unevenReader) Read(p []byte) (int, error) {
	n := 1 << 15
	if len(u.sizes) > 0 {
		n = 1 + int(u.sizes[u.i%len(u.sizes)])<<7
		u.i++
	}
	return u.r.Read(p[:min(n, len(p))])
}

// FuzzChunkCutter checks that a stream's extents are the stream, that they keep to the bounds, and that
// neither the way it is read nor what is known of its holes changes them.
func FuzzChunkCutter(f *testing.F) {
	f.Fuzz(func(t *testing.T, script, sizes []byte) {
		data, holes := chunkStream(script)
		c, err := chunk.New(chunkPolynomial)
		if err != nil {
			t.Fatal(err)
		}
		plain := chunkEnds(t, c, bytes.NewReader(data), data)
		uneven := chunkEnds(t, c, &unevenReader{r: bytes.NewReader(data), sizes: sizes}, data)
		sparse := chunkEnds(t, c, chunk.NewSparseReader(bytes.NewReader(data), func(off int64) (int64, int64, error) {
			for _, h := range holes {
				if h[1] > off {
					return h[0], h[1], nil
				}
			}
			return 0, 0, nil
		}), data)
		if !bytes.Equal(plain, uneven) {
			t.Fatal("other extents when read in other pieces")
		}
		if !bytes.Equal(plain, sparse) {
			t.Fatal("other extents when holes are known")
		}
	})
}

// chunkEnds returns a byte for each byte of the stream: 0 in zeros and holes, 1 in data, 2 where a chunk ends.
func chunkEnds(t *testing.T, c *chunk.Cutter, r io.Reader, data []byte) []byte {
	t.Helper()
	ends := make([]byte, len(data))
	off := 0
	c.Reset(r)
	for {
		ch, err := c.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if ch.Offset != int64(off) || ch.Length < 1 || ch.Length > int64(len(data)-off) {
			t.Fatalf("extent at %d of %d bytes, behind %d", ch.Offset, ch.Length, off)
		}
		part := data[off : off+int(ch.Length)]
		switch ch.Kind {
		case chunk.Data:
			if !bytes.Equal(part, ch.Data) || len(part) > chunk.MaxSize {
				t.Fatalf("chunk at %d is not the stream's", off)
			}
			mark := ends[off : off+len(part)]
			for i := range mark {
				mark[i] = 1
			}
			mark[len(mark)-1] = 2
		default:
			if len(bytes.Trim(part, "\x00")) > 0 {
				t.Fatalf("%v at %d are not zeros", ch.Kind, off)
			}
		}
		off += len(part)
	}
	if off != len(data) {
		t.Fatalf("extents end at %d of %d", off, len(data))
	}
	return ends
}
