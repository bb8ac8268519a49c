package local

import (
	"io/fs"
	"slices"
	"sync"

	"github.com/kura-backup/kura/internal/durable"
)

// reader reads the folders of a far file system before the walk comes to them: one after the other, each of
// them would cost several trips over the network. It belongs to one goroutine.
type reader struct {
	fsys    durable.Far
	waiting []string // in the order in which the walk will want them
	reading map[string]chan listing
	wg      sync.WaitGroup
}

// listing is what came of reading a folder.
type listing struct {
	entries []fs.DirEntry
	err     error
}

func newReader(fsys durable.Far) *reader {
	return &reader{fsys: fsys, reading: make(map[string]chan listing)}
}

// ahead is told of the folders among the items, which the walk wants before all others.
func (r *reader) ahead(items []item) {
	var folders []string
	for _, it := range items {
		if it.path != "" {
			folders = append(folders, it.path)
		}
	}
	r.waiting = append(folders, r.waiting...)
	r.fill()
}

// fill starts to read as much as is worth it.
func (r *reader) fill() {
	for len(r.waiting) > 0 && len(r.reading) < r.fsys.Parallel() {
		dir := r.waiting[0]
		r.waiting = r.waiting[1:]
		done := make(chan listing, 1)
		r.reading[dir] = done
		r.wg.Go(func() {
			entries, err := r.fsys.ReadDir(dir)
			done <- listing{entries, err}
		})
	}
}

func (r *reader) readDir(dir string) ([]fs.DirEntry, error) {
	done, ok := r.reading[dir]
	if !ok {
		// Not come to yet, or the first of all.
		if i := slices.Index(r.waiting, dir); i >= 0 {
			r.waiting = slices.Delete(r.waiting, i, i+1)
		}
		return r.fsys.ReadDir(dir)
	}
	got := <-done
	delete(r.reading, dir)
	r.fill()
	return got.entries, got.err
}

// stop waits for what was begun.
func (r *reader) stop() { r.wg.Wait() }
