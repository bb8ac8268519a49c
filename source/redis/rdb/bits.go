package rdb

import (
	"bufio"
	"io"
	"math/bits"
)

// widthOf is how many bits the numbers below n take.
func widthOf(n uint64) int {
	if n <= 1 {
		return 0
	}
	return bits.Len64(n - 1)
}

// packedSize is how many bytes n numbers below n take.
func packedSize(n uint64) uint64 {
	w := uint64(widthOf(n))
	return n/8*w + (n%8*w+7)/8
}

// bitWriter writes numbers of few bits, the lowest bits first. Its writer keeps the error.
type bitWriter struct {
	w    *bufio.Writer
	held uint64
	n    int
}

func (b *bitWriter) put(v uint64, width int) {
	for width > 0 {
		take := min(width, 8-b.n)
		b.held |= v & (1<<take - 1) << b.n
		v >>= take
		b.n += take
		width -= take
		if b.n == 8 {
			b.pad()
		}
	}
}

// pad fills up the last byte.
func (b *bitWriter) pad() {
	if b.n > 0 {
		_ = b.w.WriteByte(byte(b.held)) // the error comes with Flush
		b.held, b.n = 0, 0
	}
}

// bitReader reads what a bitWriter has written.
type bitReader struct {
	r    io.ByteReader
	held uint64
	n    int
}

func (b *bitReader) get(width int) (v uint64, err error) {
	for got := 0; got < width; {
		if b.n == 0 {
			c, err := b.r.ReadByte()
			if err != nil {
				return 0, err
			}
			b.held, b.n = uint64(c), 8
		}
		take := min(width-got, b.n)
		v |= b.held & (1<<take - 1) << got
		b.held >>= take
		b.n -= take
		got += take
	}
	return v, nil
}
