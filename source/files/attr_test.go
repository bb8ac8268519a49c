package files

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAttrs_NoneAndSome_SortedByName(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(root, "file")
	must(t, os.WriteFile(path, nil, 0o644))
	p := NewPool()
	defer p.Close()
	d := p.Root(root)
	read := func() []Attr {
		t.Helper()
		f, err := d.Open(t.Context(), "file", 0)
		must(t, err)
		defer f.Close()
		attrs, err := f.Attrs()
		must(t, err)
		same, err := d.AttrsOf("file")
		must(t, err)
		if fmt.Sprint(attrs) != fmt.Sprint(same) {
			t.Errorf("by name %v, by descriptor %v", same, attrs)
		}
		return attrs
	}
	before := len(read()) // a security label, perhaps
	if err := unix.Setxattr(path, "user.z", []byte("\x00"), 0); err != nil {
		t.Skip("no extended attributes here:", err)
	}
	must(t, unix.Setxattr(path, "user.a", nil, 0))
	attrs := read()
	if len(attrs) != before+2 {
		t.Fatalf("%v", attrs)
	}
	for i := range attrs[1:] {
		if attrs[i].Name >= attrs[i+1].Name {
			t.Errorf("%s behind %s", attrs[i+1].Name, attrs[i].Name)
		}
	}
}

func TestOwners_UnknownIDs_HaveNoName(t *testing.T) {
	var o Owners
	if u, g := o.User(0), o.Group(0); u != "root" || g == "" {
		t.Errorf("%q, %q", u, g)
	}
	if u, g := o.User(3_123_456_789), o.Group(3_123_456_789); u != "" || g != "" {
		t.Errorf("%q, %q", u, g)
	}
}
