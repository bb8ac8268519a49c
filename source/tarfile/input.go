package tarfile

import (
	"bufio"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/kura-backup/kura/source/stream"
)

const (
	blockSize  = 512
	bufferSize = 256 << 10
	// maxZstdWindow bounds what a zstd frame may ask for: that of zstd's highest level with --long=27.
	maxZstdWindow = 128 << 20
)

// decompress returns the archive as it is without compression.
func decompress(r io.Reader) (io.ReadCloser, error) {
	in := bufio.NewReaderSize(r, bufferSize)
	head, err := in.Peek(10)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch format := stream.Compressed(head); format {
	case "":
		return io.NopCloser(in), nil
	case "gzip":
		z, err := gzip.NewReader(in)
		return whole{z, z}, err
	case "zstd":
		z, err := zstd.NewReader(in, zstd.WithDecoderMaxWindow(maxZstdWindow), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		return whole{z, z.IOReadCloser()}, nil
	case "bzip2":
		z := bzip2.NewReader(in)
		return whole{z, io.NopCloser(z)}, nil
	default:
		return nil, fmt.Errorf("%w: it is compressed with %s. Pass on what %s -dc writes", ErrUnknown, format, format)
	}
}

// whole is a decompressor.
type whole struct {
	io.Reader
	io.Closer
}

// counter counts the bytes that the archive's reader takes, and keeps the last block of them.
type counter struct {
	r    io.Reader
	n    int64
	last [blockSize]byte // the one at place i of the stream is at i modulo its size
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	from := max(0, n-blockSize)
	for i, b := range p[from:n] {
		c.last[(c.n+int64(from+i))%blockSize] = b
	}
	c.n += int64(n)
	return n, err
}

// endsAfter reports whether the archive's end mark, of one or two blocks of zeros, is what was read from start on.
func (c *counter) endsAfter(start int64) bool {
	return (c.n == start+blockSize || c.n == start+2*blockSize) && isZero(c.last[:])
}

// onlyZeros reads what is behind the end mark: nothing but what fills up a record of the tape.
func (c *counter) onlyZeros() error {
	buf := make([]byte, bufferSize)
	for {
		n, err := c.r.Read(buf)
		for _, b := range buf[:n] {
			if b != 0 {
				return ErrMore
			}
		}
		switch {
		case err == io.EOF:
			return nil
		case errors.Is(err, io.ErrUnexpectedEOF):
			return fmt.Errorf("%w behind its end mark: %w", ErrTruncated, err)
		case err != nil:
			return err
		}
	}
}
