package fuzz

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/tree"
)

// FuzzTreePage checks that bytes are refused with an error of the package or are a page that encodes to
// the same bytes (fewer, if there were unknown keys), that the strict decoder accepts nothing that the
// general one refuses, and that the collector's view of a page stands and falls with it.
func FuzzTreePage(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := tree.DecodePage(data)
		refs := 0
		var refsErr error
		for _, err := range tree.Refs(data) {
			refs++
			refsErr = err
		}
		if (err == nil) != (refsErr == nil) {
			t.Fatalf("decoded: %v, references: %v", err, refsErr)
		}
		if err != nil {
			if !errors.Is(err, tree.ErrInvalid) && !errors.Is(err, wire.ErrUnknownKey) {
				t.Fatalf("error of another family: %v", err)
			}
			return
		}
		for i := range p.Nodes { // the rules that keep a restore inside of its target
			name := p.Nodes[i].Name
			if name == "" || name == "." || name == ".." || len(name) > 4096 || strings.ContainsAny(name, "/\x00") {
				t.Fatalf("name %q", name)
			}
		}
		if refs > len(data)/len(object.BlobID{}) {
			t.Fatalf("%d references in %d bytes", refs, len(data))
		}
		if err := wire.Unmarshal(data, new(any)); err != nil && !errors.Is(err, wire.ErrUnknownKey) {
			t.Fatalf("accepted what wire refuses: %v", err)
		}
		again, err := tree.EncodePage(p)
		if err != nil {
			t.Fatalf("page that was read cannot be written: %v", err)
		}
		if len(again) > len(data) || len(again) == len(data) && !bytes.Equal(again, data) {
			t.Fatalf("encodes to %x", again)
		}
		q, err := tree.DecodePage(again)
		if err != nil {
			t.Fatalf("page that was written cannot be read: %v", err)
		}
		if d := cmp.Diff(p, q, cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("reads differently the second time:\n%s", d)
		}
	})
}

// FuzzTreeDir takes the input as pages, with lengths in their first two bytes, and reads them as one
// folder and as its content: page i has the id of 32 bytes i+1, so inner pages can name any page,
// themselves too.
func FuzzTreeDir(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		var pages [][]byte
		for len(data) >= 2 && len(pages) < 200 {
			n := min(int(data[0])<<8|int(data[1]), len(data)-2)
			pages = append(pages, data[2:2+n])
			data = data[2+n:]
		}
		loads := 0
		missing := errors.New("no such page")
		load := func(_ context.Context, id object.BlobID) ([]byte, error) {
			loads++
			i := int(id[0]) - 1
			if id != object.BlobID(bytes.Repeat(id[:1], len(id))) || i < 0 || i >= len(pages) {
				return nil, missing
			}
			return pages[i], nil
		}
		last, count := "", 0
		first := object.BlobID(bytes.Repeat([]byte{1}, 32))
		for n, err := range tree.ReadDir(context.Background(), first, load) {
			if err != nil {
				var page *tree.PageError
				if !errors.Is(err, missing) && !errors.As(err, &page) {
					t.Fatalf("error does not name the page: %v", err)
				}
				break
			}
			if n.Name <= last {
				t.Fatalf("name %q behind %q", n.Name, last)
			}
			last = n.Name
			count++
			var size int64
			for e, err := range tree.ReadContent(context.Background(), n, load) {
				if err != nil {
					break
				}
				if size += e.Length; size > n.Size {
					t.Fatalf("%d bytes of content in a file of %d", size, n.Size)
				}
			}
		}
		// Every page on the way must bring a name that was not there before, on each level.
		if limit := (len(pages) + 1) << 16; loads > limit || count > limit {
			t.Fatalf("%d loads and %d nodes from %d pages", loads, count, len(pages))
		}
	})
}
