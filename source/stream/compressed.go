package stream

import (
	"bytes"
	"io"
)

// magics are what compressed streams begin with.
var magics = []struct {
	format string
	begin  []byte
}{
	{"gzip", []byte{0x1f, 0x8b, 8}},
	{"zstd", []byte{0x28, 0xb5, 0x2f, 0xfd}},
	{"xz", []byte{0xfd, '7', 'z', 'X', 'Z', 0}},
	{"bzip2", []byte("BZh")},
	{"lz4", []byte{0x04, 0x22, 0x4d, 0x18}},
}

// bzip2Block follows bzip2's magic and a digit.
var bzip2Block = []byte{0x31, 0x41, 0x59, 0x26, 0x53, 0x59}

// magicBytes is how many bytes have to be known.
const magicBytes = 10

// Compressed returns how what begins with head is compressed, or nothing.
func Compressed(head []byte) string {
	for _, m := range magics {
		if !bytes.HasPrefix(head, m.begin) {
			continue
		}
		if m.format == "bzip2" && (len(head) < magicBytes || head[3] < '1' || head[3] > '9' || !bytes.Equal(head[4:magicBytes], bzip2Block)) {
			continue
		}
		return m.format
	}
	return ""
}

// sniffer passes on what it reads, and tells whether it is compressed.
type sniffer struct {
	r    io.Reader
	head []byte
	tell func(format string)
}

func (s *sniffer) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if s.tell != nil {
		s.head = append(s.head, p[:min(n, magicBytes-len(s.head))]...)
		if len(s.head) == magicBytes || err != nil {
			if format := Compressed(s.head); format != "" {
				s.tell(format)
			}
			s.tell = nil
		}
	}
	return n, err
}
