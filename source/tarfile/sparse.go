package tarfile

import (
	"archive/tar"
	"bytes"
	"io"
	"strings"

	"github.com/kura-backup/kura/source"
)

// sparseRecords are how keys of pax headers of sparse files begin.
const sparseRecords = "GNU.sparse."

func isSparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, sparseRecords) {
			return true
		}
	}
	return false
}

// sparseWriter writes a file that has holes. Where they are archive/tar does not tell; but what it returns without having
// read anything of the archive is one.
type sparseWriter struct {
	f     source.File
	zeros int64 // not written yet
}

func (s *sparseWriter) copy(content io.Reader, in *counter) error {
	buf := make([]byte, 1<<20)
	for {
		before := in.n
		n, err := content.Read(buf)
		if in.n == before {
			s.zeros += int64(n)
		} else if e := s.blocks(buf[:n]); e != nil {
			return e
		}
		if err == io.EOF {
			return s.f.Zeros(s.zeros)
		}
		if err != nil {
			return err
		}
	}
}

// blocks writes bytes, of which whole blocks of zeros may have been holes.
func (s *sparseWriter) blocks(p []byte) error {
	for len(p) > 0 {
		n := sameBlocks(p)
		if isZero(p[:min(blockSize, n)]) {
			s.zeros += int64(n)
		} else {
			if err := s.f.Zeros(s.zeros); err != nil {
				return err
			}
			s.zeros = 0
			if _, err := s.f.Write(p[:n]); err != nil {
				return err
			}
		}
		p = p[n:]
	}
	return nil
}

// sameBlocks returns how many bytes p begins with of blocks that are all zeros, or all not.
func sameBlocks(p []byte) int {
	n := min(blockSize, len(p))
	zero := isZero(p[:n])
	for n < len(p) {
		next := min(n+blockSize, len(p))
		if isZero(p[n:next]) != zero {
			break
		}
		n = next
	}
	return n
}

var zeroBlock [blockSize]byte

func isZero(p []byte) bool { return bytes.Equal(p, zeroBlock[:len(p)]) }
