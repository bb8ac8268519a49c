package backup

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"io"
	"slices"
	"sort"
	"strings"

	"github.com/kura-backup/kura/source"
	"github.com/kura-backup/kura/tree"
)

// recordName stands for an entry's name in its record, whose path has it.
const recordName = "n"

// record is an entry that a source has written.
type record struct {
	path  string
	seq   uint64 // in the order in which entries were begun
	node  []byte // a page with its node alone; nil for a further name of a file
	link  string // of a further name: another one
	added int64
}

// newRecord makes the record of an entry that is no further name.
func newRecord(path string, seq uint64, n *tree.Node, added int64) (record, error) {
	own := *n
	if n.Type == tree.Folder {
		own.Subtree[0] = 1 // stands for its page, which is written in the end
	}
	page, err := tree.EncodePage(&tree.Page{Kind: tree.Leaf, Nodes: []tree.Node{own}})
	if err != nil {
		return record{}, fmt.Errorf("backup: %s: %w", path, err)
	}
	return record{path: strings.Clone(path), seq: seq, node: slices.Clip(page), added: added}, nil
}

// decode returns the node of a record that is no further name.
func (r *record) decode() (*tree.Node, error) {
	p, err := tree.DecodePage(r.node)
	if err != nil {
		return nil, err
	}
	n := &p.Nodes[0]
	n.Name = r.path[strings.LastIndexByte(r.path, '/')+1:]
	return n, nil
}

// comparePaths puts paths in the order of a walk: a folder before what is in it, and that before what follows the folder.
func comparePaths(a, b string) int {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	switch {
	case i == len(a) || i == len(b):
		return cmp.Compare(len(a), len(b))
	case a[i] == '/':
		return -1
	case b[i] == '/':
		return 1
	}
	return cmp.Compare(a[i], b[i])
}

// entries are the records of all entries, in the order of a walk.
type entries struct {
	list  []record
	first []int // of a further name: the place of the record that has its node; of others their own
	names []int // how many entries have the node of the record at this place
	// inodes are those of records whose node several entries have. They follow from the first of the names, so that they are
	// the same in the next snapshot.
	inodes map[int]uint64
}

// newEntries sorts records and finds out which are of the same file. Where a path was written several times the last one
// counts, if that is allowed.
func newEntries(list []record, replaces bool) (*entries, error) {
	slices.SortFunc(list, func(a, b record) int {
		return cmp.Or(comparePaths(a.path, b.path), cmp.Compare(a.seq, b.seq))
	})
	e := &entries{list: list, first: make([]int, len(list)), names: make([]int, len(list))}
	for i := range list {
		if !replaces && i > 0 && list[i].path == list[i-1].path {
			return nil, fmt.Errorf("%w: %s", source.ErrTwice, list[i].path)
		}
		e.first[i] = i
	}
	if err := e.resolve(); err != nil {
		return nil, err
	}
	for i := range list {
		if e.counts(i) {
			e.names[e.first[i]]++
		}
	}
	e.number()
	return e, nil
}

// resolve finds out whose further names there are, in the order in which they were written: a name that one refers to is
// known by then, however many there are in a row.
func (e *entries) resolve() error {
	var links []int
	for i := range e.list {
		if e.list[i].node == nil {
			links = append(links, i)
		}
	}
	slices.SortFunc(links, func(a, b int) int { return cmp.Compare(e.list[a].seq, e.list[b].seq) })
	for _, i := range links {
		at := e.before(e.list[i].link, e.list[i].seq)
		if at < 0 {
			return fmt.Errorf("%w: %s is to be the file %s, which was not written before", source.ErrNode, e.list[i].path, e.list[i].link)
		}
		e.first[i] = e.first[at]
	}
	return nil
}

// number gives an inode to each file with several names.
func (e *entries) number() {
	e.inodes = map[int]uint64{}
	used := map[uint64]bool{0: true}
	for i, first := range e.first {
		if e.names[first] < 2 || e.inodes[first] != 0 || !e.counts(i) {
			continue
		}
		h := fnv.New64a()
		_, _ = io.WriteString(h, e.list[i].path) // never fails
		n := h.Sum64()
		for used[n] {
			n++
		}
		used[n], e.inodes[first] = true, n
	}
}

// before returns the place of the last record of a path that was begun before seq, or -1.
func (e *entries) before(path string, seq uint64) int {
	i := sort.Search(len(e.list), func(i int) bool {
		r := &e.list[i]
		return cmp.Or(comparePaths(r.path, path), cmp.Compare(r.seq, seq)) >= 0
	}) - 1
	if i < 0 || e.list[i].path != path {
		return -1
	}
	return i
}

// counts reports whether no later record is of the same path.
func (e *entries) counts(i int) bool { return i+1 == len(e.list) || e.list[i+1].path != e.list[i].path }

// node returns the node of an entry.
func (e *entries) node(i int) (*tree.Node, error) {
	first := e.first[i]
	n, err := e.list[first].decode()
	if err != nil {
		return nil, err
	}
	if first != i {
		if n.Type != tree.File {
			return nil, fmt.Errorf("%w: %s is to be another name of a %v", source.ErrNode, e.list[i].path, n.Type)
		}
		n.Name = e.list[i].path[strings.LastIndexByte(e.list[i].path, '/')+1:]
	}
	if e.names[first] > 1 {
		n.Inode, n.Links = e.inodes[first], uint64(e.names[first])
	}
	return n, nil
}
