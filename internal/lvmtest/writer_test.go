package lvmtest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// volume makes a logical volume with a file system, which is mounted, and in which there is a file of as many MiB that do not compress.
func (b *box) volume(name, kind string, size, filled int) (at string) {
	b.t.Helper()
	b.sh("lvcreate --yes --name %s --size %dm %s", name, size, group)
	return b.format(name, kind, filled)
}

func (b *box) format(name, kind string, filled int) (at string) {
	b.t.Helper()
	at = filepath.Join(b.dir, "mnt-"+name)
	must(b.t, os.Mkdir(at, 0o755))
	b.sh("mkfs.%s -q /dev/%s/%s && mount /dev/%s/%s %s", kind, group, name, group, name, at)
	b.t.Cleanup(func() { b.sh("umount %s", at) })
	if filled > 0 {
		writeFile(b, filepath.Join(at, "large"), random(filled*mib, 1))
	}
	return at
}

func device(name string) string { return "/dev/" + group + "/" + name }

// writeFile writes a file that is on the disk then.
func writeFile(b *box, path string, data []byte) {
	b.t.Helper()
	must(b.t, write(path, data))
}

func write(path string, data []byte) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

func random(n int, seed uint64) []byte {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	out := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(out) // never fails
	return out
}

// names is how many files a writer has.
const names = 40

// writer replaces files of a file system, one after the other, by versions with higher and higher numbers.
type writer struct {
	b      *box
	at     string
	synced [names]atomic.Uint64 // the version that is safe on the disk
	count  atomic.Int64
}

// write starts a writer, which writes until the test ends.
func (b *box) write(at string) *writer {
	b.t.Helper()
	w := &writer{b: b, at: at}
	var stop atomic.Bool
	var done sync.WaitGroup
	done.Go(func() {
		for n := uint64(1); !stop.Load(); n++ {
			if err := w.replace(int(n%names), n); err != nil {
				b.t.Error(err)
				return
			}
			w.count.Add(1)
			time.Sleep(20 * time.Millisecond) // others want to run, too
		}
	})
	b.t.Cleanup(func() {
		stop.Store(true)
		done.Wait()
	})
	w.goesOn()
	return w
}

func (w *writer) replace(name int, version uint64) error {
	path := filepath.Join(w.at, fmt.Sprintf("f%d", name))
	if err := write(path+".new", content(version)); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	dir, err := os.Open(w.at)
	if err != nil {
		return err
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return err
	}
	w.synced[name].Store(version)
	return nil
}

func content(version uint64) []byte {
	return bytes.Repeat(binary.LittleEndian.AppendUint64(nil, version), 1000)
}

// goesOn waits until all files were written once more, which they are unless the file system stands still.
func (w *writer) goesOn() {
	w.b.t.Helper()
	from := w.count.Load()
	w.b.until("writing goes on", func() bool { return w.count.Load() > from+names })
}

// acknowledged is what is on the disk by now.
func (w *writer) acknowledged() (out [names]uint64) {
	for i := range out {
		out[i] = w.synced[i].Load()
	}
	return out
}

// check compares a copy, which is mounted at a place, with what was on the disk before the copy was made.
func (w *writer) check(at string, before [names]uint64) {
	w.b.t.Helper()
	for i, least := range before {
		data, err := os.ReadFile(filepath.Join(at, fmt.Sprintf("f%d", i)))
		if errors.Is(err, fs.ErrNotExist) && least == 0 {
			continue
		}
		must(w.b.t, err)
		if len(data) < 8 {
			w.b.t.Errorf("f%d has %d bytes", i, len(data))
			continue
		}
		version := binary.LittleEndian.Uint64(data)
		if version < least || !bytes.Equal(data, content(version)) {
			w.b.t.Errorf("f%d has version %d, whole: %v, after %d was on the disk", i, version, bytes.Equal(data, content(version)), least)
		}
	}
	if large, err := os.ReadFile(filepath.Join(w.at, "large")); err == nil {
		copied, err := os.ReadFile(filepath.Join(at, "large"))
		if err != nil || !bytes.Equal(large, copied) {
			w.b.t.Errorf("large: %v, equal: %v", err, bytes.Equal(large, copied))
		}
	}
}
