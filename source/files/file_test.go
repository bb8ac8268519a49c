package files

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFile_Same_SeesEveryChange(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(root, "file")
	must(t, os.WriteFile(path, []byte("one"), 0o644))
	p := NewPool()
	defer p.Close()
	d := p.Root(root)
	var st Stat
	must(t, d.Stat("file", false, &st))
	f, err := d.Open(t.Context(), "file", st.UID)
	must(t, err)
	defer f.Close()
	if same, err := f.Same(&st); !same || err != nil {
		t.Errorf("untouched: %v, %v", same, err)
	}
	for name, change := range map[string]func(*Stat){
		"size": func(s *Stat) { s.Size++ }, "inode": func(s *Stat) { s.Inode++ }, "device": func(s *Stat) { s.Dev++ },
		"mtime": func(s *Stat) { s.MTime.Nsec ^= 1 }, "ctime": func(s *Stat) { s.CTime.Nsec ^= 1 },
	} {
		other := st
		change(&other)
		if same, err := f.Same(&other); same || err != nil {
			t.Errorf("%s: %v, %v", name, same, err)
		}
	}
}

func TestReadlink_AnyLength_IsWhole(t *testing.T) {
	root := t.TempDir()
	p := NewPool()
	defer p.Close()
	for i, n := range []int{1, 255, 256, 257, 4095} {
		name, target := fmt.Sprint(i), strings.Repeat("t", n)
		must(t, os.Symlink(target, filepath.Join(root, name)))
		got, err := p.Root(root).Readlink(name)
		if err != nil || got != target {
			t.Errorf("%d bytes: got %d, %v", n, len(got), err)
		}
	}
}
