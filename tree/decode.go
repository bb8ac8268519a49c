package tree

import "math"

// In how many arrays and maps the values of a map are: those of a node in the page's map, an array and the node's own.
const (
	depthPage    = 1
	depthNode    = 3
	depthXAttr   = 5
	depthContent = 4 // in a node; in a content page less
)

// node reads a node into n, whatever that held before; slices of n are used again.
func (c *cursor) node(n *Node) {
	*n = Node{
		XAttrs:  n.XAttrs[:0],
		Content: Content{IDs: n.Content.IDs[:0], Lengths: n.Content.Lengths[:0]},
		Pages:   n.Pages[:0],
	}
	c.table(depthNode, func(key uint64) bool {
		switch key {
		case keyName:
			n.Name = c.bytes()
		case keyType:
			n.Type = Type(c.uint(1, math.MaxUint8))
		case keyMode:
			n.Mode = uint32(c.uint(1, 0o7777))
		case keyUID:
			n.UID = uint32(c.uint(1, math.MaxUint32))
		case keyGID:
			n.GID = uint32(c.uint(1, math.MaxUint32))
		case keyUser:
			n.User = c.text()
		case keyGroup:
			n.Group = c.text()
		case keySize:
			n.Size = int64(c.uint(1, math.MaxInt64))
		case keyMTime:
			n.MTime = c.time()
		case keyCTime:
			n.CTime = c.time()
		case keyBTime:
			n.BTime = c.time()
		case keyInode:
			n.Inode = c.uint(1, math.MaxUint64)
		case keyLinks:
			n.Links = c.uint(1, math.MaxUint64)
		case keyTarget:
			n.Target = c.bytes()
		case keyDevice:
			n.Device = c.uint(1, math.MaxUint64)
		case keyXAttrs:
			n.XAttrs = c.xattrs(n.XAttrs)
		case keyFlags:
			n.Flags = uint32(c.uint(1, math.MaxUint32))
		case keyContent:
			c.content(&n.Content, depthContent)
		case keyPages:
			n.Pages = c.ids(n.Pages)
		case keySubtree:
			n.Subtree = c.id()
		case keyError:
			n.Error = c.text()
		case keyMount:
			n.Mount = c.uint(1, 1) == 1
		case keyATime:
			n.ATime = c.time()
		default:
			return false
		}
		return true
	})
	if c.err == nil {
		c.err = n.validate()
	}
}

func (c *cursor) time() Time {
	if c.array() != 2 {
		c.fail("want a time")
	}
	sec := c.int64()
	return MakeTime(sec, uint32(c.uint(0, 999_999_999)))
}

func (c *cursor) xattrs(dst []XAttr) []XAttr {
	count := c.array()
	if count == 0 {
		c.fail("no xattrs")
	}
	for i := 0; i < count && c.err == nil; i++ {
		var x XAttr
		c.table(depthXAttr, func(key uint64) bool {
			switch key {
			case keyXAttrName:
				x.Name = c.bytes()
			case keyXAttrValue:
				x.Value = []byte(c.bytes())
			case keyXAttrBlob:
				x.Blob = c.id()
			default:
				return false
			}
			return true
		})
		dst = append(dst, x)
	}
	return dst
}

// content reads a content. Whether its parts fit together is for Content.validate to say.
func (c *cursor) content(dst *Content, depth int) {
	c.table(depth, func(key uint64) bool {
		switch key {
		case keyContentIDs:
			dst.IDs = c.ids(dst.IDs)
		case keyContentLengths:
			count := c.array()
			dst.Lengths = room(c, &c.spareLengths, dst.Lengths, count)
			for range count {
				dst.Lengths = append(dst.Lengths, int64(c.uint(1, math.MaxInt64)))
			}
		case keyContentKinds:
			s := c.bytes()
			dst.Kinds = make([]ExtentKind, len(s))
			for i := range dst.Kinds {
				dst.Kinds[i] = ExtentKind(s[i])
			}
			if !dst.hasKinds() {
				c.fail("kinds where all extents are data")
			}
		default:
			return false
		}
		return true
	})
	if c.err == nil && len(dst.Lengths) == 0 {
		c.fail("content without extents")
	}
}

func (c *cursor) child() (ch Child) {
	if c.array() != 2 {
		c.fail("want a name and a page")
	}
	ch.First = c.bytes()
	if ch.Page = c.id(); c.err == nil {
		c.err = checkName(ch.First)
	}
	return ch
}
