package tree_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"testing"

	"github.com/zeebo/blake3"
	"pgregory.net/rapid"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/tree"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// The structures of docs/format.md, section 11, for the CBOR library.
type (
	refTime struct {
		_    struct{} `cbor:",toarray"`
		Sec  int64
		Nsec uint32
	}
	refXAttr struct {
		Name  []byte `cbor:"1,keyasint"`
		Value []byte `cbor:"2,keyasint,omitempty"`
		Blob  []byte `cbor:"3,keyasint,omitempty"`
	}
	refContent struct {
		IDs     []byte  `cbor:"1,keyasint,omitempty"`
		Lengths []int64 `cbor:"2,keyasint"`
		Kinds   []byte  `cbor:"3,keyasint,omitempty"`
	}
	refNode struct {
		Name    []byte      `cbor:"1,keyasint"`
		Type    uint8       `cbor:"2,keyasint"`
		Mode    uint32      `cbor:"3,keyasint,omitempty"`
		UID     uint32      `cbor:"4,keyasint,omitempty"`
		GID     uint32      `cbor:"5,keyasint,omitempty"`
		User    string      `cbor:"6,keyasint,omitempty"`
		Group   string      `cbor:"7,keyasint,omitempty"`
		Size    int64       `cbor:"8,keyasint,omitempty"`
		MTime   *refTime    `cbor:"9,keyasint,omitempty"`
		CTime   *refTime    `cbor:"10,keyasint,omitempty"`
		BTime   *refTime    `cbor:"11,keyasint,omitempty"`
		Inode   uint64      `cbor:"12,keyasint,omitempty"`
		Links   uint64      `cbor:"13,keyasint,omitempty"`
		Target  []byte      `cbor:"14,keyasint,omitempty"`
		Device  uint64      `cbor:"15,keyasint,omitempty"`
		XAttrs  []refXAttr  `cbor:"16,keyasint,omitempty"`
		Flags   uint32      `cbor:"17,keyasint,omitempty"`
		Content *refContent `cbor:"18,keyasint,omitempty"`
		Pages   []byte      `cbor:"19,keyasint,omitempty"`
		Subtree []byte      `cbor:"20,keyasint,omitempty"`
		Error   string      `cbor:"21,keyasint,omitempty"`
		Mount   uint8       `cbor:"22,keyasint,omitempty"`
		ATime   *refTime    `cbor:"23,keyasint,omitempty"`
	}
	refChild struct {
		_     struct{} `cbor:",toarray"`
		First []byte
		Page  []byte
	}
	refPage struct {
		Leaf    *[]refNode  `cbor:"1,keyasint,omitempty"`
		Inner   *[]refChild `cbor:"2,keyasint,omitempty"`
		Content *refContent `cbor:"3,keyasint,omitempty"`
	}
)

func toRefTime(t tree.Time) *refTime {
	if t.IsZero() {
		return nil
	}
	return &refTime{Sec: t.Sec, Nsec: t.Nsec}
}

func joined(ids []object.BlobID) []byte {
	var b []byte
	for _, id := range ids {
		b = append(b, id[:]...)
	}
	return b
}

func idBytes(id object.BlobID) []byte {
	if id.IsZero() {
		return nil
	}
	return id[:]
}

func toRefContent(c tree.Content) *refContent {
	if c.IsZero() {
		return nil
	}
	r := &refContent{IDs: joined(c.IDs), Lengths: c.Lengths}
	for _, k := range c.Kinds {
		r.Kinds = append(r.Kinds, byte(k))
	}
	return r
}

func toRefNode(n *tree.Node) refNode {
	r := refNode{
		Name: []byte(n.Name), Type: uint8(n.Type), Mode: n.Mode, UID: n.UID, GID: n.GID, User: n.User, Group: n.Group,
		Size: n.Size, MTime: toRefTime(n.MTime), CTime: toRefTime(n.CTime), BTime: toRefTime(n.BTime),
		Inode: n.Inode, Links: n.Links, Target: []byte(n.Target), Device: n.Device, Flags: n.Flags,
		Content: toRefContent(n.Content), Pages: joined(n.Pages), Subtree: idBytes(n.Subtree), Error: n.Error,
		ATime: toRefTime(n.ATime),
	}
	for _, x := range n.XAttrs {
		r.XAttrs = append(r.XAttrs, refXAttr{[]byte(x.Name), x.Value, idBytes(x.Blob)})
	}
	if n.Mount {
		r.Mount = 1
	}
	return r
}

// encodeByLibrary is EncodePage without its checks, made of nothing but the library's encoder.
func encodeByLibrary(t testing.TB, p *tree.Page) []byte {
	t.Helper()
	var r refPage
	switch p.Kind {
	case tree.Leaf:
		nodes := make([]refNode, len(p.Nodes))
		for i := range p.Nodes {
			nodes[i] = toRefNode(&p.Nodes[i])
		}
		r.Leaf = &nodes
	case tree.Inner:
		children := make([]refChild, len(p.Children))
		for i, ch := range p.Children {
			children[i] = refChild{First: []byte(ch.First), Page: ch.Page[:]}
		}
		r.Inner = &children
	case tree.ContentPage:
		r.Content = toRefContent(p.Content)
	}
	return marshal(t, &r)
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	data, err := wire.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// id returns a blob id made from its arguments.
func id(args ...any) object.BlobID { return blake3.Sum256(fmt.Append(nil, args...)) }

// memory is a store of tree blobs.
type memory struct {
	blobs map[object.BlobID]string
	saved int
}

var errMissing = errors.New("test: blob is missing")

func newMemory() *memory { return &memory{blobs: make(map[object.BlobID]string)} }

func (m *memory) save(_ context.Context, page []byte) (object.BlobID, error) {
	id := object.BlobID(blake3.Sum256(page))
	m.blobs[id] = string(page)
	m.saved++
	for i := range page { // it is only lent
		page[i] = 0xFF
	}
	return id, nil
}

func (m *memory) load(_ context.Context, id object.BlobID) ([]byte, error) {
	page, ok := m.blobs[id]
	if !ok {
		return nil, errMissing
	}
	return []byte(page), nil
}

// put encodes a page by the library and stores it.
func (m *memory) put(t testing.TB, p *tree.Page) object.BlobID {
	t.Helper()
	id, _ := m.save(context.Background(), encodeByLibrary(t, p))
	return id
}

// file returns a small file's node.
func file(name string) tree.Node {
	return tree.Node{
		Name: name, Type: tree.File, Mode: 0o644, UID: 1000, GID: 1000, User: "kura", Group: "users",
		MTime: tree.MakeTime(1_700_000_000, 123456789), CTime: tree.MakeTime(1_700_000_001, 987654321), Inode: 123456, Links: 1,
		Size: 4321, Content: tree.Content{IDs: []object.BlobID{id(name)}, Lengths: []int64{4321}},
	}
}

func drawID(t *rapid.T) object.BlobID { return id(rapid.Uint64().Draw(t, "id")) }

func drawName(t *rapid.T) string {
	b := rapid.SliceOfN(rapid.Byte(), 1, 40).Draw(t, "name")
	name := strings.NewReplacer("/", "-", "\x00", "_").Replace(string(b))
	if name == "." || name == ".." {
		return "dots"
	}
	return name
}

func drawTime(t *rapid.T) tree.Time {
	if rapid.Bool().Draw(t, "unknown") {
		return tree.Time{}
	}
	return tree.MakeTime(
		rapid.OneOf(rapid.Int64(), rapid.Int64Range(-300, 300)).Draw(t, "s"),
		rapid.OneOf(rapid.Just(uint32(0)), rapid.Uint32Range(0, 999_999_999)).Draw(t, "ns"),
	)
}

func drawExtent(t *rapid.T) tree.Extent {
	kind := rapid.SampledFrom([]tree.ExtentKind{tree.Data, tree.Data, tree.Hole, tree.Zeros}).Draw(t, "kind")
	if kind == tree.Data {
		return tree.Extent{ID: drawID(t), Length: rapid.Int64Range(1, object.MaxBlobSize).Draw(t, "length")}
	}
	return tree.Extent{Kind: kind, Length: rapid.Int64Range(1, 1<<50).Draw(t, "length")}
}

func drawContent(t *rapid.T, least int) (c tree.Content, size int64) {
	for range rapid.IntRange(least, 5).Draw(t, "extents") {
		e := drawExtent(t)
		c.Append(e)
		size += e.Length
	}
	return c, size
}

func drawNode(t *rapid.T, name string) tree.Node {
	n := tree.Node{
		Name: name, Type: tree.Type(rapid.IntRange(1, 7).Draw(t, "type")), Mount: rapid.Bool().Draw(t, "mount"),
		Mode: rapid.Uint32Range(0, 0o7777).Draw(t, "mode"), UID: rapid.Uint32().Draw(t, "uid"), GID: rapid.Uint32().Draw(t, "gid"),
		User: rapid.StringN(0, 10, -1).Draw(t, "user"), Group: rapid.StringN(0, 10, -1).Draw(t, "group"),
		MTime: drawTime(t), CTime: drawTime(t), BTime: drawTime(t), ATime: drawTime(t),
		Inode: rapid.Uint64().Draw(t, "inode"), Links: rapid.Uint64().Draw(t, "links"), Flags: rapid.Uint32().Draw(t, "flags"),
	}
	if rapid.IntRange(0, 5).Draw(t, "failed") == 0 {
		n.Error = "could not be read"
	}
	last := ""
	for i := range rapid.IntRange(0, 3).Draw(t, "xattrs") {
		x := tree.XAttr{Name: last + rapid.StringN(1, 8, -1).Draw(t, "xattr")}
		if i == 1 {
			x.Blob = drawID(t)
		} else if v := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "value"); len(v) > 0 {
			x.Value = v
		}
		last = x.Name
		n.XAttrs = append(n.XAttrs, x)
	}
	switch n.Type {
	case tree.File:
		if n.Error != "" {
			n.Size = rapid.Int64Range(0, 1<<62).Draw(t, "size")
			break
		}
		if n.Content, n.Size = drawContent(t, 0); n.Size > 0 && rapid.IntRange(0, 3).Draw(t, "long") == 0 {
			n.Content, n.Pages = tree.Content{}, []object.BlobID{drawID(t), drawID(t)}
		}
	case tree.Folder:
		n.Subtree = drawID(t)
	case tree.Symlink:
		n.Target = string(rapid.SliceOfN(rapid.Byte(), 1, 50).Draw(t, "target"))
	case tree.CharDevice, tree.BlockDevice:
		n.Device = rapid.Uint64().Draw(t, "device")
	}
	return n
}

func drawPage(t *rapid.T) *tree.Page {
	p := &tree.Page{Kind: tree.PageKind(rapid.IntRange(1, 3).Draw(t, "page"))}
	names := make(map[string]bool)
	for range rapid.IntRange(0, 6).Draw(t, "items") {
		names[drawName(t)] = true
	}
	switch p.Kind {
	case tree.Leaf:
		p.Nodes = make([]tree.Node, 0, len(names))
		for _, name := range sorted(names) {
			p.Nodes = append(p.Nodes, drawNode(t, name))
		}
	case tree.Inner:
		names["x"] = true
		for _, name := range sorted(names) {
			p.Children = append(p.Children, tree.Child{First: name, Page: drawID(t)})
		}
	case tree.ContentPage:
		p.Content, _ = drawContent(t, 1)
	}
	return p
}
