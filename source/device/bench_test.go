package device

import (
	"io"
	"path/filepath"
	"testing"

	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/source"
	"github.com/kura-backup/kura/tree"
)

// sink is a Writer, and its only file, that takes everything and keeps nothing.
type sink struct{ size int64 }

func (s *sink) Create(string, tree.Node) (source.File, error) { return s, nil }
func (s *sink) Add(string, tree.Node) error                   { return nil }
func (s *sink) Link(string, string) error                     { return nil }
func (s *sink) Miss(string, error)                            {}
func (s *sink) Describe(any) error                            { return nil }
func (s *sink) Before() []byte                                { return nil }
func (s *sink) Write(p []byte) (int, error)                   { s.size += int64(len(p)); return len(p), nil }

func (s *sink) ReadFrom(r io.Reader) (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{s}, struct{ io.Reader }{r}, make([]byte, 1<<20))
}
func (s *sink) Zeros(n int64) error                                { s.size += n; return nil }
func (s *sink) ReadMap(io.ReaderAt, []source.Range) (int64, error) { return 0, nil }
func (s *sink) Size() int64                                        { return s.size }
func (s *sink) Close() error                                       { return nil }

// What reading and hashing cost, without what is stored of it.
func BenchmarkSource(b *testing.B) {
	const size = 256 << 20
	dir := testsys.MemoryDir(b)
	noise := random(b, 64<<20)
	for name, pieces := range map[string]map[int64][]byte{
		"holes": nil,
		"zeros": {0: make([]byte, size)},
		"noise": {0: noise, 64 << 20: noise, 128 << 20: noise, 192 << 20: noise},
	} {
		path := image(b, filepath.Join(dir, name), size, pieces)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(size)
			for b.Loop() {
				if err := New(Options{Devices: []Input{{Path: "/d", Read: path}}}).Write(b.Context(), &sink{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
