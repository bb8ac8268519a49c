package treecmp

import (
	"fmt"
	"testing"
)

// Kind is what two entries differ in.
type Kind string

// The kinds of differences.
const (
	Missing  Kind = "missing" // only in the first folder
	Extra    Kind = "extra"   // only in the second
	Type     Kind = "type"    // nothing else is compared then
	Mode     Kind = "mode"
	UID      Kind = "uid"
	GID      Kind = "gid"
	ModTime  Kind = "mtime"
	Size     Kind = "size" // the content is not compared then
	Content  Kind = "content"
	Holes    Kind = "holes"
	Target   Kind = "target"
	Device   Kind = "device"
	XAttr    Kind = "xattr" // one for each attribute
	Flags    Kind = "flags"
	HardLink Kind = "hard link"
)

// Difference is one thing in which two folders differ.
type Difference struct {
	Path   string // below the folders, "." for the folders themselves
	Kind   Kind
	First  string // what the first folder has, for people
	Second string
}

func (d Difference) String() string {
	return fmt.Sprintf("%q: %s: %s, %s", d.Path, d.Kind, d.First, d.Second)
}

// Options say what to compare.
type Options struct {
	// Holes compares where files have data and holes, too.
	Holes bool
	// Below leaves out the two folders themselves.
	Below bool
	// Skip leaves out kinds of differences.
	Skip []Kind
}

// Compare returns all differences between what is in two folders, in the order in which they are met. The error is
// for what could not be looked at.
func Compare(first, second string, o Options) ([]Difference, error) {
	c := &comparer{o: o, links: map[inode]int{}, linksTo: map[inode]int{}}
	err := c.compare(first, second)
	return c.found, err
}

// MustEqual fails the test if there are differences, and names the first of them. It returns how many
// entries were compared.
func MustEqual(t testing.TB, first, second string, o Options) int {
	t.Helper()
	c := &comparer{o: o, links: map[inode]int{}, linksTo: map[inode]int{}}
	err := c.compare(first, second)
	const most = 20
	for i, d := range c.found {
		if i == most {
			t.Errorf("and %d more differences", len(c.found)-most)
			break
		}
		t.Error(d)
	}
	if err != nil {
		t.Error(err)
	}
	return c.entries
}
