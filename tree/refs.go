package tree

import (
	"iter"

	"github.com/kura-backup/kura/internal/object"
)

// RefKind says what a blob is to the page that refers to it.
type RefKind uint8

// The kinds of references. The first two are to tree blobs, the last to data blobs.
const (
	RefPage  RefKind = 1 // a page, which may refer to more: of a subfolder, of the same folder, of a content
	RefXAttr RefKind = 2 // the value of an extended attribute: no page
	RefData  RefKind = 3 // a part of a file
)

// Ref is a reference from a page to a blob.
type Ref struct {
	Kind RefKind
	ID   object.BlobID
}

// Refs returns all blobs that a page refers to, in the order of the page, as often as it does. The whole page is
// validated: the last pair has an error if it is damaged, and what came before it proves nothing.
func Refs(page []byte) iter.Seq2[Ref, error] {
	return func(yield func(Ref, error) bool) {
		w := refWalk{yield: yield}
		err := scanPage(page, pageVisitor{
			kind:    func(PageKind, int) {},
			node:    w.node,
			child:   func(ch Child) { w.ref(RefPage, ch.Page) },
			content: func(c *Content) { w.refs(RefData, c.IDs) },
		})
		if err != nil && !w.stopped {
			yield(Ref{}, err)
		}
	}
}

type refWalk struct {
	yield   func(Ref, error) bool
	stopped bool
}

func (w *refWalk) ref(kind RefKind, id object.BlobID) {
	w.stopped = w.stopped || !w.yield(Ref{kind, id}, nil)
}

func (w *refWalk) refs(kind RefKind, ids []object.BlobID) {
	for i := range ids {
		w.ref(kind, ids[i])
	}
}

func (w *refWalk) node(n *Node) bool {
	for i := range n.XAttrs {
		if !n.XAttrs[i].Blob.IsZero() {
			w.ref(RefXAttr, n.XAttrs[i].Blob)
		}
	}
	w.refs(RefData, n.Content.IDs)
	w.refs(RefPage, n.Pages)
	if !n.Subtree.IsZero() {
		w.ref(RefPage, n.Subtree)
	}
	return !w.stopped
}
