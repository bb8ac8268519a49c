package durable_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/kura-backup/kura/internal/durable"
	"github.com/kura-backup/kura/internal/testrand"
)

// TestCreateExclusive_LargeFiles_AreWrittenWhole has files that can be written past the page cache as a whole, but for
// their last bytes, and not at all.
func TestCreateExclusive_LargeFiles_AreWrittenWhole(t *testing.T) {
	r := testrand.New(t)
	data := make([]byte, 9<<20)
	for i := range data {
		data[i] = byte(r.Uint64())
	}
	for name, part := range map[string][]byte{
		"units":     data[:8<<20],
		"one more":  data[:8<<20+1],
		"one less":  data[:8<<20-1],
		"shifted":   data[100 : 8<<20],
		"least":     data[:1<<20],
		"too small": data[:1<<20-1],
	} {
		path, _ := folder(t)
		d, err := durable.OpenDir(path)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		for i, fsys := range []durable.FS{d, refusing{d, false}, refusing{d, true}} {
			w := durable.NewWriter(fsys, "tmp")
			file := fmt.Sprintf("f/%d", i)
			if err := w.CreateExclusive(t.Context(), file, part); err != nil {
				t.Fatalf("%s, %T: %v", name, fsys, err)
			}
			if got, _ := content(t, filepath.Join(path, file)); !bytes.Equal(got, part) {
				t.Errorf("%s, %T: %d other bytes, want %d", name, fsys, len(got), len(part))
			}
		}
	}
}

// refusing is a file system that says that files can be written past the page cache, and then can not: at once, or
// after a first piece of which it has written an odd part.
type refusing struct {
	*durable.Dir
	late bool
}

func (d refusing) CreateExcl(name string, perm fs.FileMode) (durable.File, error) {
	f, err := d.Dir.CreateExcl(name, perm)
	return &refusingFile{File: f, late: d.late}, err
}

type refusingFile struct {
	durable.File
	direct, late bool
}

func (f *refusingFile) SetDirect(on bool) error { f.direct = on; return nil }

func (f *refusingFile) Write(b []byte) (int, error) {
	if !f.direct {
		return f.File.Write(b)
	}
	refused := &fs.PathError{Op: "write", Path: "f", Err: syscall.EINVAL}
	if !f.late {
		return 0, refused
	}
	n, err := f.File.Write(b[:1000])
	return n, errors.Join(err, refused)
}
