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

// brokenWriter has no room for anything.
type brokenWriter struct {
	*sourcetest.Writer
	err error
}

func (w *brokenWriter) Create(p string, n tree.Node) (source.File, error) {
	f, err := w.Writer.Create(p, n)
	return &fullFile{f, w.err}, err
}

// closedWriter has no files at all.
type closedWriter struct {
	*sourcetest.Writer
	err error
}

func (w *closedWriter) Create(string, tree.Node) (source.File, error) { return nil, w.err }

// watchedWriter calls look for each file, and for everything that is written.
type watchedWriter struct {
	*sourcetest.Writer
	look func()
}

func (w *watchedWriter) Create(p string, n tree.Node) (source.File, error) {
	f, err := w.Writer.Create(p, n)
	w.look()
	return &watchedFile{f, w.look}, err
}

type watchedFile struct {
	source.File
	look func()
}

func (f *watchedFile) Write(p []byte) (int, error) {
	f.look()
	return f.File.Write(p)
}
