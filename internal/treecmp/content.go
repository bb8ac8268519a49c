package treecmp

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// file compares the content and the flags of two regular files.
func (c *comparer) file(name string, sizeA, sizeB int64) error {
	return c.withBoth(name, 0, func(a, b int) error {
		if err := c.flags(name, a, b); err != nil {
			return err
		}
		if sizeA != sizeB {
			c.differ(name, Size, fmt.Sprint(sizeA), fmt.Sprint(sizeB))
			return nil
		}
		return c.content(name, a, b, sizeA)
	})
}

// span is a range of a file, [start, end).
type span struct{ start, end int64 }

// content compares where at least one file has data: in a terabyte of holes that is little.
func (c *comparer) content(name string, a, b int, size int64) error {
	dataA, err := dataOf(a, size)
	if err != nil {
		return err
	}
	dataB, err := dataOf(b, size)
	if err != nil {
		return err
	}
	for _, spans := range [][]span{dataA, dataB} {
		for _, s := range spans {
			at, err := firstDifference(a, b, s)
			if err != nil {
				return err
			}
			if at >= 0 {
				c.differ(name, Content, fmt.Sprintf("other bytes from %d on", at), fmt.Sprintf("of %d", size))
				return nil
			}
		}
	}
	if first, second := fmt.Sprint(dataA), fmt.Sprint(dataB); c.o.Holes && first != second {
		c.differ(name, Holes, "data at "+first, "at "+second)
	}
	return nil
}

// dataOf returns where a file has data; all of it where the file system does not tell.
func dataOf(fd int, size int64) (spans []span, err error) {
	for at := int64(0); at < size; {
		start, err := unix.Seek(fd, at, unix.SEEK_DATA)
		if err == unix.ENXIO {
			break
		}
		if err == unix.EINVAL {
			return []span{{0, size}}, nil
		}
		if err != nil {
			return nil, err
		}
		end, err := unix.Seek(fd, start, unix.SEEK_HOLE)
		if err != nil {
			return nil, err
		}
		spans = append(spans, span{start, min(end, size)})
		at = end
	}
	return spans, nil
}

// firstDifference returns the offset of the first byte in which two files differ, -1 if there is none.
func firstDifference(a, b int, s span) (int64, error) {
	const piece = 128 << 10
	var bufA, bufB [piece]byte
	for at := s.start; at < s.end; {
		n := int(min(piece, s.end-at))
		if err := errors.Join(readFull(a, bufA[:n], at), readFull(b, bufB[:n], at)); err != nil {
			return 0, err
		}
		if !bytes.Equal(bufA[:n], bufB[:n]) {
			for i := range n {
				if bufA[i] != bufB[i] {
					return at + int64(i), nil
				}
			}
		}
		at += int64(n)
	}
	return -1, nil
}

func readFull(fd int, buf []byte, at int64) error {
	for len(buf) > 0 {
		n, err := unix.Pread(fd, buf, at)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return io.ErrUnexpectedEOF // it shrank meanwhile
		}
		buf, at = buf[n:], at+int64(n)
	}
	return nil
}
