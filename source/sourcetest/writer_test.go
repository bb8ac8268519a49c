package sourcetest

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/kura-backup/kura/source"
	"github.com/kura-backup/kura/tree"
)

func create(t *testing.T, w source.Writer, p string) source.File {
	t.Helper()
	f, err := w.Create(p, source.FileNode(0o600))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestWriter_MapOfParent_TakesWhatIsTheSameFromIt(t *testing.T) {
	first := NewWriter()
	f := create(t, first, "/dev/a")
	if _, err := f.ReadFrom(strings.NewReader("aaaabbbb")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Zeros(1<<40), f.Close(), first.Describe(map[string]int{"size": 8}), first.Finish()); err != nil {
		t.Fatal(err)
	}

	second := first.Next()
	f = create(t, second, "/dev/a")
	read, err := f.ReadMap(strings.NewReader("xxxxyyyyzzzz"), []source.Range{
		{Start: 0, Length: 2, Kind: source.Data},
		{Start: 2, Length: 2, Kind: source.Zero},
		{Start: 4, Length: 4, Kind: source.Same},
		{Start: 8, Length: 4, Kind: source.Data},
	})
	if err := errors.Join(err, f.Close(), second.Finish()); err != nil {
		t.Fatal(err)
	}
	if got := second.Bytes("/dev/a"); !bytes.Equal(got, []byte("xx\x00\x00bbbbzzzz")) || read != 6 || second.Entry("/dev/a").Read != 6 {
		t.Errorf("%q, %d bytes read", got, read)
	}
	if got := string(second.Before()); got != `{"size":8}` {
		t.Errorf("before: %s", got)
	}
	p := make([]byte, 4)
	if n, err := first.Entry("/dev/a").Content.ReadAt(p, 1<<40+6); n != 2 || err != io.EOF || p[0] != 0 {
		t.Errorf("%d, %v, %q", n, err, p)
	}
}

func TestWriter_BrokenContract_Refused(t *testing.T) {
	w := NewWriter()
	f := create(t, w, "/a")
	if err := w.Link("/b", "/a"); !errors.Is(err, source.ErrNode) {
		t.Errorf("a link to an open file: %v", err)
	}
	if err := w.Finish(); !errors.Is(err, source.ErrOpen) {
		t.Errorf("an open file: %v", err)
	}
	if err := errors.Join(f.Close(), w.Link("/b", "/a"), w.Add("/c", source.FolderNode(0o700)), w.Finish()); err != nil {
		t.Error(err)
	}
	if _, err := f.Write([]byte("x")); err == nil {
		t.Error("a closed file was written")
	}
	if _, err := w.Create("/a", source.FileNode(0)); !errors.Is(err, source.ErrTwice) {
		t.Errorf("twice: %v", err)
	}
	for _, p := range []string{"", "/", "a", "/a/", "//a", "/a/../b", "/./a", "/a\x00", "/" + strings.Repeat("n", 5000)} {
		if err := w.Add(p, tree.Node{Type: tree.FIFO}); !errors.Is(err, source.ErrPath) {
			t.Errorf("%.20q: %v", p, err)
		}
	}
	if err := w.Add("/d", tree.Node{Type: tree.File}); !errors.Is(err, source.ErrNode) {
		t.Errorf("a file without content: %v", err)
	}
	if err := w.Describe([]int{1}); !errors.Is(err, source.ErrDetails) {
		t.Errorf("an array: %v", err)
	}
	if err := w.Describe(map[string]string{"a": strings.Repeat("x", source.MaxDetails)}); !errors.Is(err, source.ErrDetails) {
		t.Errorf("too long: %v", err)
	}
	if err := w.Add("/a/b", tree.Node{Type: tree.FIFO}); err != nil {
		t.Fatal(err)
	}
	if err := w.Finish(); !errors.Is(err, source.ErrPath) {
		t.Errorf("an entry in a file: %v", err)
	}
	g := create(t, w, "/g")
	if _, err := g.ReadMap(strings.NewReader("xx"), []source.Range{{Start: 1, Length: 1, Kind: source.Data}}); !errors.Is(err, source.ErrRange) {
		t.Errorf("a gap: %v", err)
	}
	if _, err := g.ReadMap(strings.NewReader("xx"), []source.Range{{Start: 0, Length: 3, Kind: source.Same}}); err == nil {
		t.Error("a device that is too short")
	}
}
