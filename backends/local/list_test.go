package local_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/local"
	"github.com/kura-backup/kura/internal/testsys"
)

// tb is what tests and properties have in common.
type tb interface {
	rapid.TB
	Context() context.Context
}

func names(t tb, s *local.Store, prefix, after string) []string {
	t.Helper()
	var out []string
	for info, err := range s.List(t.Context(), prefix, after) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, info.Name)
	}
	return out
}

func write(t tb, path, data string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

// The tree is sharded, the listing is in plain byte order: over names from a
// small alphabet, so that shards of numbers, short names and long ones are
// prefixes of each other as often as can be.
func TestList_AnyNames_PlainByteOrder(t *testing.T) {
	rest := rapid.OneOf(
		rapid.StringMatching(`[01]{1,8}`),
		rapid.StringMatching(`[01a][01a.-]{0,3}[01a]`),
		rapid.StringMatching(`0{0,13}[0-9]{1,3}`),
	)
	name := rapid.OneOf(
		rapid.Custom(func(t *rapid.T) string {
			return rapid.SampledFrom([]string{"a/", "a0/", "a-0/", "0/"}).Draw(t, "class") + rest.Draw(t, "rest")
		}),
		rapid.SampledFrom([]string{"a.0", "a-", "a1", "b", "00", "a-1"}),
	)
	memory := testsys.MemoryDir(t)
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp(memory, "")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		s, err := local.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()

		all := rapid.SliceOfNDistinct(name, 0, 20, rapid.ID[string]).Draw(t, "names")
		all = slices.DeleteFunc(all, func(n string) bool { return !backends.ValidName(n) })
		for _, n := range all {
			if err := s.Put(t.Context(), n, []byte(n)); err != nil {
				t.Fatal(err)
			}
		}
		slices.Sort(all)
		bound := rapid.OneOf(rapid.Just(""), name, rapid.StringMatching(`[a0]?[-.01/]{0,4}`))
		prefix, after := bound.Draw(t, "prefix"), bound.Draw(t, "after")
		var want []string
		for _, n := range all {
			if strings.HasPrefix(n, prefix) && n > after {
				want = append(want, n)
			}
		}
		if diff := cmp.Diff(want, names(t, s, prefix, after)); diff != "" {
			t.Fatalf("List %q after %q (-want +got):\n%s", prefix, after, diff)
		}
	})
}

func TestLayout_PlacesOfObjects(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	defer s.Close()
	hash := strings.Repeat("9a", 32)
	for name, path := range map[string]string{
		"config":                 "config",
		"keys/" + hash + ".copy": "keys/9a/" + hash + ".copy",
		"log/0000000000000001":   "log/0000000000000/0000000000000001",
		"log/0000000000012345":   "log/0000000000012/0000000000012345",
		"log/123":                "log/12/123",
		"data/" + hash:           "data/9a/" + hash,
		"x/y":                    "x/y/y",
	} {
		if err := s.Put(t.Context(), name, []byte(name)); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(dir, path))
		if err != nil {
			t.Errorf("%s is not at %s: %v", name, path, err)
			continue
		}
		if info.Mode().Perm()&0o177 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		parent, err := os.Stat(filepath.Join(dir, filepath.Dir(path)))
		if err != nil || path != name && parent.Mode().Perm()&0o077 != 0 {
			t.Errorf("the folder of %s has mode %v, %v", path, parent.Mode(), err)
		}
	}
}

func TestList_ForeignFiles_IgnoredAndLeftAlone(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	defer s.Close()
	want := []string{"config", "data/abcdef", "log/0000000000000001"}
	for _, n := range want {
		if err := s.Put(t.Context(), n, []byte(n)); err != nil {
			t.Fatal(err)
		}
	}
	foreign := []string{
		"config~", ".config.swp", "#config#", "README.TXT", ".DS_Store",
		"data/ab/abcdef~", "data/ab/.abcdef.swp", "data/ab/ABCDEF",
		"data/ab/ffffff",            // an object's name in the wrong folder
		"data/abcdef",               // and where it would be without shards
		"data/zz/deep/zzzzzz",       // too deep
		"log/0000000000000001",      // not in its shard
		"log/0000000000001/0000001", // in that of another
		"lost+found/#12345", "data/lost+found/#1", "tmp/notes", "tmp/ab/abc",
		"data/backup/ba00",
	}
	for _, f := range foreign {
		write(t, filepath.Join(dir, f), "foreign")
	}
	for link, target := range map[string]string{"link": "config", "data/ab/ab0000": "abcdef", "keys": "data"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "data/ab/ab1111"), 0o700); err != nil { // a folder where a file could be
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, names(t, s, "", "")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if _, err := s.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(t.Context(), "data/ab1111"); err == nil {
		t.Error("a folder was deleted as an object")
	}
	for _, f := range append(foreign, "data/ab/ab1111") {
		if _, err := os.Lstat(filepath.Join(dir, f)); err != nil {
			t.Errorf("%s: %v", f, err)
		}
	}
}
