package tree

import (
	"encoding/binary"
	"strings"
	"unicode/utf8"

	"github.com/kura-backup/kura/internal/object"
)

// The keys of a node's map.
const (
	keyName    = 1
	keyType    = 2
	keyMode    = 3
	keyUID     = 4
	keyGID     = 5
	keyUser    = 6
	keyGroup   = 7
	keySize    = 8
	keyMTime   = 9
	keyCTime   = 10
	keyBTime   = 11
	keyInode   = 12
	keyLinks   = 13
	keyTarget  = 14
	keyDevice  = 15
	keyXAttrs  = 16
	keyFlags   = 17
	keyContent = 18
	keyPages   = 19
	keySubtree = 20
	keyError   = 21
	keyMount   = 22
	keyATime   = 23
)

// The keys of an extended attribute's map, and of a content's.
const (
	keyXAttrName  = 1
	keyXAttrValue = 2
	keyXAttrBlob  = 3

	keyContentIDs     = 1
	keyContentLengths = 2
	keyContentKinds   = 3
)

func appendHead(dst []byte, major byte, arg uint64) []byte {
	major <<= 5
	switch headLen(arg) {
	case 1:
		return append(dst, major|byte(arg))
	case 2:
		return append(dst, major|24, byte(arg))
	case 3:
		return append(dst, major|25, byte(arg>>8), byte(arg))
	case 5:
		return binary.BigEndian.AppendUint32(append(dst, major|26), uint32(arg))
	}
	return binary.BigEndian.AppendUint64(append(dst, major|27), arg)
}

// appendKey writes a key below 24.
func appendKey(dst []byte, key byte) []byte { return append(dst, key) }

func appendString(dst []byte, s string) []byte {
	return append(appendHead(dst, majorBytes, uint64(len(s))), s...)
}

func appendID(dst []byte, id *object.BlobID) []byte {
	return append(append(dst, majorBytes<<5|24, byte(len(id))), id[:]...)
}

func appendIDs(dst []byte, ids []object.BlobID) []byte {
	dst = appendHead(dst, majorBytes, uint64(len(ids)*len(object.BlobID{})))
	for i := range ids {
		dst = append(dst, ids[i][:]...)
	}
	return dst
}

// table is a map that is being written. The number of its pairs stands in its first byte; all our
// maps have at most 23.
type table struct {
	dst  []byte
	head int
}

func newTable(dst []byte) table { return table{append(dst, majorMap<<5), len(dst)} }

// key begins the pair of a key; the value must follow.
func (t *table) key(key byte) {
	t.dst[t.head]++
	t.dst = appendKey(t.dst, key)
}

func (t *table) uint(key byte, v uint64) {
	if v != 0 {
		t.key(key)
		t.dst = appendHead(t.dst, majorUint, v)
	}
}

func (t *table) bytes(key byte, s string) {
	if s != "" {
		t.key(key)
		t.dst = appendString(t.dst, s)
	}
}

func (t *table) text(key byte, s string) {
	if s == "" {
		return
	}
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	t.key(key)
	t.dst = append(appendHead(t.dst, majorText, uint64(len(s))), s...)
}

func (t *table) time(key byte, v Time) {
	if v.IsZero() {
		return
	}
	t.key(key)
	t.dst = append(t.dst, majorArray<<5|2)
	if v.Sec < 0 {
		t.dst = appendHead(t.dst, majorNegative, uint64(-1-v.Sec))
	} else {
		t.dst = appendHead(t.dst, majorUint, uint64(v.Sec))
	}
	t.dst = appendHead(t.dst, majorUint, uint64(v.Nsec))
}

// appendNode validates and writes a node.
func appendNode(dst []byte, n *Node) ([]byte, error) {
	if err := n.validate(); err != nil {
		return nil, err
	}
	t := newTable(dst)
	t.bytes(keyName, n.Name)
	t.uint(keyType, uint64(n.Type))
	t.uint(keyMode, uint64(n.Mode))
	t.uint(keyUID, uint64(n.UID))
	t.uint(keyGID, uint64(n.GID))
	t.text(keyUser, n.User)
	t.text(keyGroup, n.Group)
	t.uint(keySize, uint64(n.Size))
	t.time(keyMTime, n.MTime)
	t.time(keyCTime, n.CTime)
	t.time(keyBTime, n.BTime)
	t.uint(keyInode, n.Inode)
	t.uint(keyLinks, n.Links)
	t.bytes(keyTarget, n.Target)
	t.uint(keyDevice, n.Device)
	if len(n.XAttrs) > 0 {
		t.key(keyXAttrs)
		t.dst = appendXAttrs(t.dst, n.XAttrs)
	}
	t.uint(keyFlags, uint64(n.Flags))
	if !n.Content.IsZero() {
		t.key(keyContent)
		t.dst = appendContent(t.dst, &n.Content)
	}
	if len(n.Pages) > 0 {
		t.key(keyPages)
		t.dst = appendIDs(t.dst, n.Pages)
	}
	if !n.Subtree.IsZero() {
		t.key(keySubtree)
		t.dst = appendID(t.dst, &n.Subtree)
	}
	t.text(keyError, n.Error)
	if n.Mount {
		t.uint(keyMount, 1)
	}
	t.time(keyATime, n.ATime)
	return t.dst, nil
}

func appendXAttrs(dst []byte, list []XAttr) []byte {
	dst = appendHead(dst, majorArray, uint64(len(list)))
	for i := range list {
		x := &list[i]
		t := newTable(dst)
		t.bytes(keyXAttrName, x.Name)
		if len(x.Value) > 0 {
			t.key(keyXAttrValue)
			t.dst = append(appendHead(t.dst, majorBytes, uint64(len(x.Value))), x.Value...)
		}
		if !x.Blob.IsZero() {
			t.key(keyXAttrBlob)
			t.dst = appendID(t.dst, &x.Blob)
		}
		dst = t.dst
	}
	return dst
}

// appendContent writes a content that has been validated.
func appendContent(dst []byte, c *Content) []byte {
	t := newTable(dst)
	if len(c.IDs) > 0 {
		t.key(keyContentIDs)
		t.dst = appendIDs(t.dst, c.IDs)
	}
	t.key(keyContentLengths)
	t.dst = appendHead(t.dst, majorArray, uint64(len(c.Lengths)))
	for _, length := range c.Lengths {
		t.dst = appendHead(t.dst, majorUint, uint64(length))
	}
	if c.hasKinds() {
		t.key(keyContentKinds)
		t.dst = appendHead(t.dst, majorBytes, uint64(len(c.Kinds)))
		for _, k := range c.Kinds {
			t.dst = append(t.dst, byte(k))
		}
	}
	return t.dst
}

func appendChild(dst []byte, ch *Child) []byte {
	dst = append(dst, majorArray<<5|2)
	return appendID(appendString(dst, ch.First), &ch.Page)
}
