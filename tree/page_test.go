package tree_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/tree"
)

func sorted(names map[string]bool) []string { return slices.Sorted(maps.Keys(names)) }

func TestPage_AnyPage_SameBytesAsTheLibraryAndBack(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := drawPage(rt)
		data, err := tree.EncodePage(p)
		if err != nil {
			rt.Fatal(err)
		}
		if want := encodeByLibrary(t, p); !bytes.Equal(data, want) {
			rt.Fatalf("encoded\n%x\nthe library\n%x", data, want)
		}
		got, err := tree.DecodePage(data)
		if err != nil {
			rt.Fatal(err)
		}
		if d := cmp.Diff(p, got, cmpopts.EquateEmpty()); d != "" {
			rt.Fatalf("decoded differs (-want +got):\n%s", d)
		}
		var r refPage
		if err := wire.Unmarshal(data, &r); err != nil {
			rt.Fatalf("the library does not read it: %v", err)
		}
		again, err := tree.EncodePage(got)
		if err != nil || !bytes.Equal(again, data) {
			rt.Fatalf("encoded again\n%x (%v), want\n%x", again, err, data)
		}
	})
}

func TestPage_UnknownKeys_PositiveIgnoredNegativeRefused(t *testing.T) {
	type m = map[int]any
	plain := m{1: []byte("a"), 2: 1}
	with := func(base m, key int, v any) m {
		c := maps.Clone(base)
		c[key] = v
		return c
	}
	odd := m{0: []any{"text", -5, true, nil, []byte{1}, m{-1: 2, 7: m{}}}}
	for name, page := range map[string]m{
		"page":      {1: []m{plain}, 9: odd},
		"page 0":    {0: 1, 1: []m{plain}},
		"node":      {1: []m{with(plain, 24, odd)}},
		"node big":  {1: []m{with(plain, 1<<40, odd)}},
		"xattr":     {1: []m{with(plain, 16, []m{{1: []byte("user.x"), 9: odd}})}},
		"content":   {1: []m{with(with(plain, 8, 1), 18, m{2: []int{1}, 3: []byte{1}, 4: odd})}},
		"content 2": {3: m{2: []int{1}, 3: []byte{1}, 99: 0}},
	} {
		if _, err := tree.DecodePage(marshal(t, page)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, page := range map[string]m{
		"page": {1: []m{plain}, -1: 0},
		"node": {1: []m{with(plain, -7, 0)}},
	} {
		if _, err := tree.DecodePage(marshal(t, page)); !errors.Is(err, wire.ErrUnknownKey) {
			t.Errorf("%s with negative key: %v, want wire.ErrUnknownKey", name, err)
		}
	}
}

// badNodes breaks a good node in one way each. Both directions must refuse all of them.
var badNodes = map[string]func(n *tree.Node){
	"no name":            func(n *tree.Node) { n.Name = "" },
	"dot":                func(n *tree.Node) { n.Name = "." },
	"dots":               func(n *tree.Node) { n.Name = ".." },
	"slash":              func(n *tree.Node) { n.Name = "a/b" },
	"zero byte":          func(n *tree.Node) { n.Name = "a\x00" },
	"long name":          func(n *tree.Node) { n.Name = strings.Repeat("x", 4097) },
	"type 0":             func(n *tree.Node) { n.Type = 0 },
	"type 8":             func(n *tree.Node) { n.Type = 8 },
	"mode":               func(n *tree.Node) { n.Mode = 0o10000 },
	"negative size":      func(n *tree.Node) { n.Size = -1 },
	"size too small":     func(n *tree.Node) { n.Size-- },
	"no content":         func(n *tree.Node) { n.Content = tree.Content{} },
	"content of nothing": func(n *tree.Node) { n.Size = 0 },
	"folder with size":   func(n *tree.Node) { n.Type, n.Subtree, n.Content = tree.Folder, id(1), tree.Content{} },
	"folder, no page":    func(n *tree.Node) { *n = tree.Node{Name: "a", Type: tree.Folder} },
	"file with page":     func(n *tree.Node) { n.Subtree = id(1) },
	"symlink to nothing": func(n *tree.Node) { *n = tree.Node{Name: "a", Type: tree.Symlink} },
	"file with target":   func(n *tree.Node) { n.Target = "x" },
	"file with device":   func(n *tree.Node) { n.Device = 1 },
	"nanoseconds":        func(n *tree.Node) { n.MTime.Nsec = 1_000_000_000 },
	"two contents":       func(n *tree.Node) { n.Pages = []object.BlobID{id(1)} },
	"zero page id":       func(n *tree.Node) { n.Content, n.Pages = tree.Content{}, make([]object.BlobID, 1) },
	"error and content":  func(n *tree.Node) { n.Error = "x" },
	"xattr order":        func(n *tree.Node) { n.XAttrs = []tree.XAttr{{Name: "b"}, {Name: "a"}} },
	"xattr twice":        func(n *tree.Node) { n.XAttrs = []tree.XAttr{{Name: "a"}, {Name: "a"}} },
	"xattr no name":      func(n *tree.Node) { n.XAttrs = []tree.XAttr{{Value: []byte{1}}} },
	"xattr large":        func(n *tree.Node) { n.XAttrs = []tree.XAttr{{Name: "a", Value: make([]byte, 4097)}} },
	"xattr two values":   func(n *tree.Node) { n.XAttrs = []tree.XAttr{{Name: "a", Value: []byte{1}, Blob: id(1)}} },
	"blob id missing":    func(n *tree.Node) { n.Content.IDs = nil },
	"blob id too many":   func(n *tree.Node) { n.Content.IDs = append(n.Content.IDs, id(1)) },
	"blob id zero":       func(n *tree.Node) { n.Content.IDs[0] = object.BlobID{} },
	"blob too long":      func(n *tree.Node) { n.Size, n.Content.Lengths[0] = 16<<20+1, 16<<20+1 },
	"blob empty":         func(n *tree.Node) { n.Content.Lengths[0] = 0 },
	"kind unknown":       func(n *tree.Node) { n.Content.Kinds = []tree.ExtentKind{3} },
	"kinds too many":     func(n *tree.Node) { n.Content.Kinds = []tree.ExtentKind{0, 1} },
	"sizes overflow": func(n *tree.Node) {
		n.Content = tree.Content{Lengths: []int64{math.MaxInt64, math.MaxInt64, 4323}, Kinds: []tree.ExtentKind{1, 2, 1}}
	},
	"too many extents": func(n *tree.Node) {
		n.Content = tree.Content{}
		for range 4097 {
			n.Content.Append(tree.Extent{ID: id(1), Length: 1})
		}
		n.Size = 4097
	},
}

func TestNode_Bad_IsRefusedInBothDirections(t *testing.T) {
	for name, spoil := range badNodes {
		n := file("a")
		spoil(&n)
		p := &tree.Page{Kind: tree.Leaf, Nodes: []tree.Node{n}}
		if _, err := tree.EncodePage(p); !errors.Is(err, tree.ErrInvalid) {
			t.Errorf("%s: encoding: %v, want ErrInvalid", name, err)
		}
		if _, err := tree.DecodePage(encodeByLibrary(t, p)); !errors.Is(err, tree.ErrInvalid) {
			t.Errorf("%s: decoding: %v, want ErrInvalid", name, err)
		}
	}
}

func TestDecodePage_BadPage_IsRefused(t *testing.T) {
	a, b := file("a"), file("b")
	child := func(name string) tree.Child { return tree.Child{First: name, Page: id(name)} }
	many := &tree.Page{Kind: tree.Inner}
	for i := range 4097 {
		many.Children = append(many.Children, child(fmt.Sprintf("%05d", i)))
	}
	large := &tree.Page{Kind: tree.Leaf}
	for i := range 300 {
		large.Nodes = append(large.Nodes, tree.Node{Name: fmt.Sprintf("%05d%4000d", i, 0), Type: tree.Socket})
	}
	for name, p := range map[string]*tree.Page{
		"no kind":        {},
		"names descend":  {Kind: tree.Leaf, Nodes: []tree.Node{b, a}},
		"name twice":     {Kind: tree.Leaf, Nodes: []tree.Node{a, a}},
		"leaf too large": large,
		"no children":    {Kind: tree.Inner},
		"pages descend":  {Kind: tree.Inner, Children: []tree.Child{child("b"), child("a")}},
		"page twice":     {Kind: tree.Inner, Children: []tree.Child{child("a"), child("a")}},
		"first name":     {Kind: tree.Inner, Children: []tree.Child{child("..")}},
		"zero page":      {Kind: tree.Inner, Children: []tree.Child{{First: "a"}}},
		"many children":  many,
		"no extents":     {Kind: tree.ContentPage},
		"extent of zero": {Kind: tree.ContentPage, Content: tree.Content{Lengths: []int64{0}, Kinds: []tree.ExtentKind{1}}},
	} {
		if _, err := tree.EncodePage(p); !errors.Is(err, tree.ErrInvalid) {
			t.Errorf("%s: encoding: %v, want ErrInvalid", name, err)
		}
		if _, err := tree.DecodePage(encodeByLibrary(t, p)); !errors.Is(err, tree.ErrInvalid) {
			t.Errorf("%s: decoding: %v, want ErrInvalid", name, err)
		}
	}
}

func TestDecodePage_BadEncoding_IsRefused(t *testing.T) {
	for name, h := range map[string]string{
		"empty":                     "",
		"not a map":                 "80",
		"empty map":                 "a0",
		"trailing byte":             "a1018000",
		"cut off":                   "a10181a2014161",
		"two kinds":                 "a2018002818241615820" + strings.Repeat("01", 32),
		"long form":                 "a1180180",
		"indefinite map":            "bf0180ff",
		"indefinite array":          "a1019fff",
		"key twice":                 "a10181a3014161014161" + "0201",
		"keys descend":              "a10181a202010141" + "61",
		"text key":                  "a1613180",
		"text for a name":           "a10181a2016161" + "0201",
		"float in an unknown key":   "a10181a3014161020117f90000",
		"tag in an unknown key":     "a10181a3014161020117c000",
		"bad text in unknown key":   "a10181a302010141" + "61",
		"zero mode present":         "a10181a301416102010300",
		"empty user present":        "a10181a301416102010660",
		"kinds though all are data": "a103a3015820" + strings.Repeat("01", 32) + "028101" + "034100",
		"huge array":                "a1019bffffffffffffffff",
		"huge leaf":                 "a1019a00ffffff",
		"huge name":                 "a10181a2015bffffffffffffffff",
		"huge map":                  "a10181bb7fffffffffffffff",
		"ids of odd length":         "a103a2014101028101",
		"nested too deep":           "a20180" + "09" + strings.Repeat("81", 16) + "00",
	} {
		data, err := hex.DecodeString(h)
		if err != nil {
			t.Fatal(name, err)
		}
		if p, err := tree.DecodePage(data); !errors.Is(err, tree.ErrInvalid) {
			t.Errorf("%s: %+v, %v; want ErrInvalid", name, p, err)
		}
	}
	deep, _ := hex.DecodeString("a20180" + "09" + strings.Repeat("81", 15) + "00")
	if _, err := tree.DecodePage(deep); err != nil {
		t.Errorf("nested as deep as allowed: %v", err)
	}
}

func TestDecodePage_CutOrFlipped_NeverPanics(t *testing.T) {
	for _, g := range goldenPages() {
		data := encodeByLibrary(t, g.page)
		if len(data) > 2000 {
			continue
		}
		for i := range data {
			if _, err := tree.DecodePage(data[:i]); err == nil {
				t.Errorf("%s: cut to %d bytes: no error", g.name, i)
			}
			for bit := range 8 {
				bad := bytes.Clone(data)
				bad[i] ^= 1 << bit
				p, err := tree.DecodePage(bad)
				if err != nil {
					continue
				}
				if again, err := tree.EncodePage(p); err == nil && !bytes.Equal(again, bad) && !ignores(bad) {
					t.Errorf("%s: %x is read as something else", g.name, bad)
				}
			}
		}
	}
}

// ignores reports whether the library's view of a page has less than its bytes: there are unknown keys.
func ignores(data []byte) bool {
	var r refPage
	if wire.Unmarshal(data, &r) != nil {
		return false
	}
	again, err := wire.Marshal(&r)
	return err != nil || !bytes.Equal(again, data)
}

func TestDecodePage_ContentsOfOneExtent_DoNotGrowIntoEachOther(t *testing.T) {
	want := &tree.Page{Kind: tree.Leaf}
	for i := range 100 {
		want.Nodes = append(want.Nodes, file(fmt.Sprintf("file%03d", i)))
	}
	data, err := tree.EncodePage(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := tree.DecodePage(data)
	if err != nil {
		t.Fatal(err)
	}
	for i := range got.Nodes {
		grown := got.Nodes[i].Content
		grown.Append(tree.Extent{ID: id("another"), Length: 1})
	}
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
		t.Error(d)
	}
}

func TestDecodePage_HostilePage_MemoryInProportion(t *testing.T) {
	least := &tree.Page{Kind: tree.Leaf}
	for i := range 100_000 {
		least.Nodes = append(least.Nodes, tree.Node{Name: fmt.Sprintf("%05x", i), Type: tree.Socket})
	}
	for name, data := range map[string][]byte{
		"claims many nodes":   append([]byte{0xa1, 0x01, 0x9a, 0x00, 0x0f, 0x00, 0x00}, make([]byte, 0xf0000)...),
		"claims many lengths": append([]byte{0xa1, 0x03, 0xa1, 0x02, 0x9a, 0x00, 0x0f, 0x00, 0x00}, make([]byte, 0xf0000)...),
		"least nodes":         encodeByLibrary(t, least),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := tree.DecodePage(data)
		runtime.ReadMemStats(&after)
		if used, limit := after.TotalAlloc-before.TotalAlloc, uint64(200*len(data)); used > limit {
			t.Errorf("%s: %d bytes for a page of %d (%v)", name, used, len(data), err)
		}
	}
}

func TestEncodePage_TextThatIsNotUTF8_IsMended(t *testing.T) {
	n := tree.Node{Name: "a\xff", Type: tree.Socket, User: "us\xffer", Error: "read a\xff: failed"}
	data, err := tree.EncodePage(&tree.Page{Kind: tree.Leaf, Nodes: []tree.Node{n}})
	if err != nil {
		t.Fatal(err)
	}
	p, err := tree.DecodePage(data)
	if err != nil {
		t.Fatal(err)
	}
	got := p.Nodes[0]
	if got.Name != "a\xff" || got.User != "us\uFFFDer" || got.Error != "read a\uFFFD: failed" {
		t.Errorf("got %q %q %q", got.Name, got.User, got.Error)
	}
}

func TestTime_EpochIsNotUnknown(t *testing.T) {
	if tree.MakeTime(0, 0).IsZero() || !(tree.Time{}).IsZero() {
		t.Error("the first second of 1970 and the unknown time are mixed up")
	}
	if got := tree.MakeTime(-1, 5).Time().UnixNano(); got != -999_999_995 {
		t.Errorf("got %d ns", got)
	}
}

type goldenPage struct {
	name string
	page *tree.Page
}

func goldenPages() []goldenPage {
	leaf := func(nodes ...tree.Node) *tree.Page { return &tree.Page{Kind: tree.Leaf, Nodes: nodes} }
	fixed := func(b byte) (id object.BlobID) {
		for i := range id {
			id[i] = b
		}
		return id
	}
	full := tree.Node{
		Name: "full", Type: tree.File, Mount: true, Mode: 0o4755, UID: 1000, GID: 65534, User: "jürgen", Group: "users",
		MTime: tree.MakeTime(1_700_000_000, 999_999_999), CTime: tree.MakeTime(-1, 5), BTime: tree.MakeTime(0, 0),
		Inode: 1 << 40, Links: 2, Flags: 0x80010, Size: 4096 + 70_000 + 1<<40 + 16<<20,
	}
	for _, e := range []tree.Extent{
		{ID: fixed(1), Length: 4096}, {Kind: tree.Zeros, Length: 70_000}, {Kind: tree.Hole, Length: 1 << 40}, {ID: fixed(2), Length: 16 << 20},
	} {
		full.Content.Append(e)
	}
	var content tree.Content
	content.Append(tree.Extent{ID: fixed(3), Length: 500_000})
	content.Append(tree.Extent{ID: fixed(4), Length: 1})
	holes := tree.Content{Lengths: []int64{1 << 62}, Kinds: []tree.ExtentKind{tree.Hole}}
	return []goldenPage{
		{"empty leaf", leaf()},
		{"least node", leaf(tree.Node{Name: "a", Type: tree.File})},
		{"file with everything", leaf(full)},
		{"file with pages", leaf(tree.Node{Name: "long", Type: tree.File, Size: 1 << 42, Pages: []object.BlobID{fixed(5), fixed(6)}})},
		{"file that is a hole", leaf(tree.Node{Name: "hole", Type: tree.File, Size: 1 << 62, Content: holes})},
		{"file with error", leaf(tree.Node{Name: "bad", Type: tree.File, Size: 77, Error: "input/output error"})},
		{"all other types", leaf(
			tree.Node{Name: "b", Type: tree.Folder, Mode: 0o755, Subtree: fixed(7), MTime: tree.MakeTime(5, 0)},
			tree.Node{Name: "c", Type: tree.Symlink, Mode: 0o777, Target: "../\xff/target"},
			tree.Node{Name: "d", Type: tree.FIFO, Mode: 0o600},
			tree.Node{Name: "e", Type: tree.CharDevice, Mode: 0o666, Device: 1<<32 | 3},
			tree.Node{Name: "f", Type: tree.BlockDevice, Mode: 0o660, Device: 253 << 32},
			tree.Node{Name: "g", Type: tree.Socket, Mode: 0o777},
			tree.Node{Name: "h", Type: tree.Folder, Error: "permission denied"},
		)},
		{"time of access", leaf(tree.Node{Name: "a", Type: tree.File, ATime: tree.MakeTime(1_700_000_000, 7)})},
		{"xattrs small and large", leaf(tree.Node{Name: "x", Type: tree.FIFO, XAttrs: []tree.XAttr{
			{Name: "security.capability", Value: []byte{1, 0, 0, 2, 0, 0x20, 0, 0}},
			{Name: "user.empty"},
			{Name: "user.large", Blob: fixed(8)},
			{Name: "user.limit", Value: bytes.Repeat([]byte{0xAA}, 256)},
		}})},
		{"names that are not UTF-8", leaf(
			tree.Node{Name: "\x01\n", Type: tree.Socket}, tree.Node{Name: "\xc3\x28", Type: tree.Socket}, tree.Node{Name: "\xff\xfe", Type: tree.Socket},
		)},
		{"inner", &tree.Page{Kind: tree.Inner, Children: []tree.Child{{First: "a", Page: fixed(9)}, {First: "\xff", Page: fixed(10)}}}},
		{"content", &tree.Page{Kind: tree.ContentPage, Content: content}},
		{"content with holes", &tree.Page{Kind: tree.ContentPage, Content: full.Content}},
	}
}

func TestPage_Golden(t *testing.T) {
	var b strings.Builder
	b.WriteString("# Pages as hexadecimal bytes; docs/format.md, section 11.\n")
	for _, g := range goldenPages() {
		data, err := tree.EncodePage(g.page)
		if err != nil {
			t.Fatalf("%s: %v", g.name, err)
		}
		fmt.Fprintf(&b, "%s: %x\n", g.name, data)
	}
	file := filepath.Join("testdata", "pages.txt")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), b.String()); d != "" {
		t.Errorf("pages encode differently (-want +got):\n%s", d)
	}
	for _, g := range goldenPages() {
		_, line, _ := strings.Cut(string(want), "\n"+g.name+": ")
		line, _, _ = strings.Cut(line, "\n")
		data, err := hex.DecodeString(line)
		if err != nil {
			t.Fatalf("%s: %v", g.name, err)
		}
		got, err := tree.DecodePage(data)
		if err != nil {
			t.Errorf("%s: %v", g.name, err)
		} else if d := cmp.Diff(g.page, got, cmpopts.EquateEmpty()); d != "" {
			t.Errorf("%s reads differently (-want +got):\n%s", g.name, d)
		}
	}
}
