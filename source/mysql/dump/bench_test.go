package dump

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
)

type discard struct{ io.Writer }

func (discard) Close() error { return nil }

// BenchmarkSplitter splits rows of about 130 bytes, some with escapes, as they come in a dump.
func BenchmarkSplitter(b *testing.B) {
	var text bytes.Buffer
	text.WriteString(before)
	for i := range 64 {
		text.WriteString("INSERT INTO `t` VALUES")
		for j := range 8000 {
			sep := ","
			if j == 0 {
				sep = "\n"
			}
			fmt.Fprintf(&text, "%s(%d,'%s',NULL,'it\\'s %d','2026-01-01 00:00:00')", sep, i*8000+j, strings.Repeat("abcdefgh", 8), j)
		}
		text.WriteString(";\n")
	}
	text.WriteString(after)
	b.SetBytes(int64(text.Len()))
	for b.Loop() {
		s := NewSplitter(func(Part) (io.WriteCloser, error) { return discard{io.Discard}, nil })
		if _, err := io.CopyBuffer(struct{ io.Writer }{s}, struct{ io.Reader }{bytes.NewReader(text.Bytes())}, make([]byte, 1<<20)); err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
