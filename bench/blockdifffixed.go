package main

import (
	"errors"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
	"github.com/zeebo/blake3"
)

// fixedChunks is what a store of chunks of a fixed size would hold: each once, compressed by itself, and no zeros.
type fixedChunks struct {
	size    int
	encoder *zstd.Encoder
	have    map[[32]byte]struct{}
	bytes   int64
	names   int64   // bytes, of all generations
	stored  []int64 // with names, after each generation
}

func newFixedChunks(size int) (*fixedChunks, error) {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	return &fixedChunks{size: size, encoder: e, have: map[[32]byte]struct{}{}}, err
}

// add stores a generation.
func (c *fixedChunks) add(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	zero := blake3.Sum256(make([]byte, c.size))
	c.have[zero] = struct{}{}
	chunk := make([]byte, c.size)
	var packed []byte
	for {
		n, err := io.ReadFull(f, chunk)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		name := blake3.Sum256(chunk[:n])
		c.names += int64(len(name))
		if _, ok := c.have[name]; ok {
			continue
		}
		c.have[name] = struct{}{}
		packed = c.encoder.EncodeAll(chunk[:n], packed[:0])
		c.bytes += int64(min(len(packed), n))
	}
	c.stored = append(c.stored, c.bytes+c.names)
	return nil
}
