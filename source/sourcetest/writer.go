package sourcetest

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"sync"

	"github.com/kura-backup/kura/source"
	"github.com/kura-backup/kura/tree"
)

// Writer keeps what is written to it. It is safe for concurrent use.
type Writer struct {
	Replaces bool // the source is a source.Replacing that says so; to be set before it writes

	parent *Writer // nil if there is none

	mu      sync.Mutex
	entries map[string]*Entry
	misses  []Miss
	details []byte
}

// Entry is what was written at a path.
type Entry struct {
	Node     tree.Node // with the name and, of a file, the size
	LinkedTo string    // of a further name of a file: its first one
	Content  *Content  // of a file
	Read     int64     // bytes that ReadMap has read
	open     bool
}

// Miss is a call of Miss.
type Miss struct {
	Path string
	Err  error
}

var _ source.Writer = (*Writer)(nil)

// NewWriter returns a Writer of a snapshot without a parent.
func NewWriter() *Writer { return &Writer{entries: map[string]*Entry{}} }

// Next returns a Writer of a snapshot whose parent is what was written to w: Before returns its details, and what a
// map calls the same is taken from its files.
func (w *Writer) Next() *Writer {
	n := NewWriter()
	n.parent = w
	return n
}

// Create is of source.Writer.
func (w *Writer) Create(p string, n tree.Node) (source.File, error) {
	if n.Type != tree.File {
		return nil, fmt.Errorf("%w: %s", source.ErrNode, p)
	}
	e := &Entry{Node: n, Content: new(Content), open: true}
	if err := w.add(p, e); err != nil {
		return nil, err
	}
	var old *Content
	if w.parent != nil {
		if before := w.parent.Entry(p); before != nil {
			old = before.Content
		}
	}
	return &file{w: w, e: e, old: old}, nil
}

// Add is of source.Writer.
func (w *Writer) Add(p string, n tree.Node) error {
	if n.Type <= tree.File || n.Type > tree.Socket {
		return fmt.Errorf("%w: %s", source.ErrNode, p)
	}
	return w.add(p, &Entry{Node: n})
}

// Link is of source.Writer.
func (w *Writer) Link(p, existing string) error {
	first := w.Entry(existing)
	if first == nil || first.Content == nil || first.open {
		return fmt.Errorf("%w: %s is not a file that was closed", source.ErrNode, existing)
	}
	e := &Entry{Node: first.Node, Content: first.Content, LinkedTo: existing}
	if first.LinkedTo != "" {
		e.LinkedTo = first.LinkedTo
	}
	return w.add(p, e)
}

func (w *Writer) add(p string, e *Entry) error {
	if err := source.CheckPath(p); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.entries[p] != nil && !w.Replaces {
		return fmt.Errorf("%w: %s", source.ErrTwice, p)
	}
	e.Node.Name = path.Base(p)
	w.entries[p] = e
	return nil
}

// Miss is of source.Writer.
func (w *Writer) Miss(p string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.misses = append(w.misses, Miss{p, err})
}

// Describe is of source.Writer.
func (w *Writer) Describe(details any) error {
	text, err := source.MarshalDetails(details)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.details = text
	return nil
}

// Before is of source.Writer.
func (w *Writer) Before() []byte {
	if w.parent == nil {
		return nil
	}
	return w.parent.Details()
}

// Details returns what Describe was given, as JSON, or nil.
func (w *Writer) Details() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.details)
}

// Misses returns the calls of Miss.
func (w *Writer) Misses() []Miss {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.misses)
}

// Paths returns all paths that were written, sorted.
func (w *Writer) Paths() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Keys(w.entries))
}

// Entry returns what was written at a path, or nil.
func (w *Writer) Entry(p string) *Entry {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.entries[p]
}

// Bytes returns the content of the file at a path, or nil if there is none.
func (w *Writer) Bytes(p string) []byte {
	e := w.Entry(p)
	if e == nil || e.Content == nil {
		return nil
	}
	return e.Content.Bytes()
}

// Finish returns an error if files are open, or if an entry lies in one that is no folder: what a Writer does when Write
// has returned nil.
func (w *Writer) Finish() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var errs []error
	for _, p := range slices.Sorted(maps.Keys(w.entries)) {
		if w.entries[p].open {
			errs = append(errs, fmt.Errorf("%w: %s", source.ErrOpen, p))
		}
		for up := path.Dir(p); up != "/"; up = path.Dir(up) {
			if e := w.entries[up]; e != nil && e.Node.Type != tree.Folder {
				errs = append(errs, fmt.Errorf("%w: %s lies in a %v", source.ErrPath, p, e.Node.Type))
			}
		}
	}
	return errors.Join(errs...)
}
