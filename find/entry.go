package find

import (
	"encoding/binary"
	"slices"
	"strings"

	"github.com/zeebo/blake3"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/tree"
)

// entry is a name in a folder, with all that the pages read so far have under it. Which trees these are is kept as pages: many entries
// of a page share its list.
type entry struct {
	name     string
	versions map[identity]*version
	subs     map[object.BlobID][]*page
}

func newEntry(name string) *entry {
	// A name that was read keeps its whole page in memory.
	return &entry{name: strings.Clone(name), versions: map[identity]*version{}, subs: map[object.BlobID][]*page{}}
}

func (e *entry) before(o *entry) bool { return e.name < o.name }

// version is a version of an entry.
type version struct {
	node   *tree.Node
	newest int32 // tree that has it
	pages  []*page
}

func (e *entry) addVersion(n *tree.Node, p *page) {
	id := identify(n)
	newest := p.in[len(p.in)-1]
	v := e.versions[id]
	if v == nil {
		v = &version{newest: -1}
		e.versions[id] = v
	}
	v.pages = append(v.pages, p)
	if newest > v.newest {
		v.node, v.newest = e.keep(n), newest
	}
}

// keep copies what is shown of a node, and nothing that keeps its page in memory.
func (e *entry) keep(n *tree.Node) *tree.Node {
	k := *n
	k.Name = e.name
	k.XAttrs, k.Content, k.Pages = nil, tree.Content{}, nil
	for _, s := range []*string{&k.User, &k.Group, &k.Target, &k.Error} {
		*s = strings.Clone(*s)
	}
	return &k
}

// sorted returns the versions, that of the earliest tree first.
func (e *entry) sorted() []Version {
	out := make([]Version, 0, len(e.versions))
	for _, v := range e.versions {
		out = append(out, Version{Node: v.node, In: slices.Clone(joined(v.pages))})
	}
	slices.SortFunc(out, func(a, b Version) int { return slices.Compare(a.In, b.In) })
	return out
}

// joined returns the trees that have one of the pages.
func joined(pages []*page) []int32 {
	if len(pages) == 1 {
		return pages[0].in
	}
	var in []int32
	for _, p := range pages {
		in = append(in, p.in...)
	}
	return ascending(in)
}

// identity is what makes a version.
type identity struct {
	typ     tree.Type
	size    int64
	mtime   tree.Time
	device  uint64
	failed  bool // it could not be read, so that nothing is known of its content
	content [32]byte
}

func identify(n *tree.Node) identity {
	id := identity{typ: n.Type, size: n.Size, mtime: n.MTime, device: n.Device, failed: n.Error != ""}
	switch n.Type {
	case tree.File:
		id.content = hashContent(n)
	case tree.Symlink:
		id.content = blake3.Sum256([]byte(n.Target))
	}
	return id
}

// hashContent makes one value of what can be long: a file of a terabyte has a million blobs, or thousands of pages of them.
func hashContent(n *tree.Node) (sum [32]byte) {
	var b []byte
	b = binary.LittleEndian.AppendUint64(b, uint64(len(n.Pages)))
	for _, id := range n.Pages {
		b = append(b, id[:]...)
	}
	for e := range n.Content.Extents() {
		b = append(b, byte(e.Kind))
		b = binary.LittleEndian.AppendUint64(b, uint64(e.Length))
		b = append(b, e.ID[:]...)
	}
	return blake3.Sum256(b)
}
