package mysql

import (
	"strings"
	"sync"

	"github.com/kura-backup/kura/source"
	"github.com/kura-backup/kura/source/sourcetest"
	"github.com/kura-backup/kura/tree"
)

// slowWriter waits in the middle of the first file of a table.
type slowWriter struct {
	*sourcetest.Writer
	once          sync.Once
	reached, goOn chan struct{}
}

func (w *slowWriter) Create(p string, n tree.Node) (source.File, error) {
	f, err := w.Writer.Create(p, n)
	if !strings.Contains(p, "+") {
		f = &slowFile{f, w}
	}
	return f, err
}

type slowFile struct {
	source.File
	w *slowWriter
}

func (f *slowFile) Write(p []byte) (int, error) {
	f.w.once.Do(func() {
		close(f.w.reached)
		<-f.w.goOn
	})
	return f.File.Write(p)
}

// fullWriter has no room for the rows of tables.
type fullWriter struct {
	*sourcetest.Writer
	err error
}

func (w *fullWriter) Create(p string, n tree.Node) (source.File, error) {
	f, err := w.Writer.Create(p, n)
	if !strings.Contains(p, "+") {
		f = &fullFile{f, w.err}
	}
	return f, err
}

type fullFile struct {
	source.File
	err error
}

func (f *fullFile) Write([]byte) (int, error) { return 0, f.err }
