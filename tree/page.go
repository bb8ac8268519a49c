package tree

import (
	"github.com/kura-backup/kura/internal/object"
)

// Limits of pages.
const (
	MaxLeaf     = 1 << 20 // bytes of a leaf or an inner page; a leaf of a single node may have more
	MaxChildren = 4096    // items of an inner page
	MaxDepth    = 8       // pages from the first of a folder down to a leaf, both counted
	minChildren = 16      // an inner page with fewer is not cut because of a name
)

// PageKind says what a page has. The numbers are the keys of its map.
type PageKind uint8

// The kinds of pages.
const (
	Leaf        PageKind = 1
	Inner       PageKind = 2
	ContentPage PageKind = 3
)

func (k PageKind) String() string {
	switch k {
	case Leaf:
		return "leaf"
	case Inner:
		return "inner page"
	case ContentPage:
		return "content page"
	}
	return "no page"
}

// Page is a tree blob, decoded.
type Page struct {
	Kind     PageKind
	Nodes    []Node  // of a leaf, ascending by name
	Children []Child // of an inner page, ascending by first name
	Content  Content // of a content page
}

// Child is a page of a large folder: its first name and its id.
type Child struct {
	First string
	Page  object.BlobID
}

// EncodePage writes a page as one tree blob.
func EncodePage(p *Page) ([]byte, error) {
	b := newPageBuffer(p.Kind)
	switch p.Kind {
	case Leaf:
		last := ""
		for i := range p.Nodes {
			n := &p.Nodes[i]
			item, err := appendNode(nil, n)
			if err != nil {
				return nil, err
			}
			if n.Name <= last {
				return nil, invalid("name %q behind %q", n.Name, last)
			}
			last = n.Name
			b.add(item, n.Name)
		}
	case Inner:
		last := ""
		for i := range p.Children {
			ch := &p.Children[i]
			if err := checkName(ch.First); err != nil {
				return nil, err
			}
			if ch.First <= last || ch.Page.IsZero() {
				return nil, invalid("page of %q behind %q", ch.First, last)
			}
			last = ch.First
			b.add(appendChild(nil, ch), ch.First)
		}
	case ContentPage:
		return encodeContent(&p.Content)
	default:
		return nil, invalid("%v", p.Kind)
	}
	if err := checkPage(p.Kind, b.count, b.size()); err != nil {
		return nil, err
	}
	return b.bytes(), nil
}

func encodeContent(c *Content) ([]byte, error) {
	if _, err := c.validate(MaxPageExtents); err != nil {
		return nil, err
	}
	return appendContent([]byte{majorMap<<5 | 1, byte(ContentPage)}, c), nil
}

// checkPage checks what is known of a page once its items are counted.
func checkPage(kind PageKind, items, size int) error {
	switch {
	case size > object.MaxBlobSize, size > MaxLeaf && items > 1 && kind != ContentPage:
		return invalid("%v of %d bytes with %d items", kind, size, items)
	case kind == Inner && (items == 0 || items > MaxChildren):
		return invalid("%v with %d items", kind, items)
	}
	return nil
}

// DecodePage reads a tree blob. The page keeps no reference to data. It takes at most some 60 bytes of memory
// for each byte of data (the least node has 6), and for real folders about 5; [ReadDir] holds
// one node at a time.
func DecodePage(data []byte) (*Page, error) {
	p := new(Page)
	err := scanPage(data, pageVisitor{
		kind: func(k PageKind, items int) {
			p.Kind = k
			if k == Leaf {
				p.Nodes = make([]Node, 0, min(items, len(data)/64))
			}
		},
		node: func(n *Node) bool {
			p.Nodes = append(p.Nodes, *n)
			*n = Node{} // its slices are taken
			return true
		},
		child:   func(ch Child) { p.Children = append(p.Children, ch) },
		content: func(c *Content) { p.Content = *c },
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

// pageVisitor is told what a page has, in order, as it is decoded: what follows may still prove
// to be invalid.
type pageVisitor struct {
	kind    func(kind PageKind, items int)
	node    func(*Node) bool // may return false to end the scan; the node is used again if it is not emptied
	child   func(Child)
	content func(*Content)
}

// errStop ends a scan without an error.
var errStop = invalid("stopped")

func scanPage(data []byte, v pageVisitor) error {
	if len(data) > object.MaxBlobSize {
		return invalid("page of %d bytes", len(data))
	}
	c := cursor{s: string(data)}
	var kind PageKind
	c.table(depthPage, func(key uint64) bool {
		if key < uint64(Leaf) || key > uint64(ContentPage) {
			return false
		}
		if kind != 0 {
			c.fail("both a %v and a %v", kind, PageKind(key))
			return true
		}
		kind = PageKind(key)
		c.page(kind, v)
		return true
	})
	if c.err == nil && kind == 0 {
		c.fail("%v", kind)
	}
	if c.err == nil && c.left() > 0 {
		c.fail("%d trailing bytes", c.left())
	}
	if c.err == errStop {
		return nil
	}
	return c.err
}

func (c *cursor) page(kind PageKind, v pageVisitor) {
	if kind == ContentPage {
		v.kind(kind, 0)
		var content Content
		c.content(&content, depthPage+1)
		if c.err == nil {
			_, c.err = content.validate(MaxPageExtents)
		}
		if c.err == nil {
			v.content(&content)
		}
		return
	}
	items := c.array()
	if err := checkPage(kind, items, len(c.s)); err != nil && c.err == nil {
		c.err = err
	}
	if c.err == nil {
		v.kind(kind, items)
	}
	var node Node
	last := ""
	for i := 0; i < items && c.err == nil; i++ {
		var child Child
		var name string
		if kind == Leaf {
			c.node(&node)
			name = node.Name
		} else {
			child = c.child()
			name = child.First
		}
		if c.err == nil && name <= last {
			c.fail("name %q behind %q", name, last)
		}
		last = name
		switch {
		case c.err != nil:
		case kind == Inner:
			v.child(child)
		case !v.node(&node):
			c.err = errStop
		}
	}
}
