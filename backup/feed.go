package backup

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/kura-backup/kura/chunk"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/source"
	"github.com/kura-backup/kura/tree"
)

// feed is the source.Writer of an attempt. A file of up to maxSmall bytes is stored when it is closed; a larger one has a
// goroutine, which cuts what is written. Of an entry that is complete a short record is kept, until all have come and
// the pages of the folders can be written in order: some 250 bytes for each.
type feed struct {
	attempt *attempt
	repo    *repo.Repository
	session *repo.Session
	report  *reporter
	parent  *repo.Snapshot // nil if there is none
	ahead   aheadSlot
	cutters sync.Pool // of *chunk.Cutter
	buffers sync.Pool // of *[]byte with room for maxSmall+1

	outer  context.Context // of the attempt
	ctx    context.Context // cancelled when a file fails, too
	cancel context.CancelCauseFunc
	files  sync.WaitGroup // large files that are being stored
	stored sync.WaitGroup // small files that are

	mu      sync.Mutex
	over    bool
	open    map[string]int // files that were not closed
	seq     uint64
	records []record
	details []byte
	err     error // the first one of a file that could not be stored
}

var _ source.Writer = (*feed)(nil)

var errFeedOver = errors.New("backup: the source writes after it has ended")

func (a *attempt) newFeed(ctx context.Context) *feed {
	w := &feed{attempt: a, repo: a.repo, session: a.session, report: a.report, parent: a.parent, outer: ctx, open: map[string]int{}}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	w.buffers.New = func() any { b := make([]byte, 0, maxSmall+1); return &b }
	return w
}

// fromSource backs up what a source writes and returns the root's page.
func (a *attempt) fromSource(ctx context.Context) (object.BlobID, error) {
	if err := a.sourceParent(ctx); err != nil {
		return object.BlobID{}, err
	}
	w := a.newFeed(ctx)
	defer w.cancel(nil)
	if err := w.run(a.opts.Source); err != nil {
		return object.BlobID{}, err
	}
	a.details = w.details
	return w.build(ctx, a.opts.Source)
}

// sourceParent looks for the parent. There are no partial snapshots of sources.
func (a *attempt) sourceParent(ctx context.Context) error {
	ps, err := a.parents(ctx)
	if err != nil {
		return err
	}
	a.parent = nil
	for _, p := range ps {
		switch {
		case p == nil || !p.Complete():
		case p.Source != a.source():
			return fmt.Errorf("backup: snapshot %s is of another kind of source (%s, not %s) and can not be the parent", p.ID.Short(), p.Source, a.source())
		default:
			a.parent = p
			return nil
		}
	}
	return nil
}

// run lets the source write, and waits until all of it is stored.
func (w *feed) run(src source.Source) error {
	err := src.Write(w.ctx, w)
	open, failed := w.end()
	if err == nil {
		err = open
	}
	if err != nil {
		w.cancel(err)
	}
	w.files.Wait()
	w.stored.Wait()
	switch {
	case w.outer.Err() != nil:
		return context.Cause(w.outer)
	case failed != nil:
		return failed // what the source says is only what came of it
	case err != nil:
		return err
	}
	_, failed = w.end()
	return failed
}

// end takes nothing any more, and returns an error if files are open, and that of the first file that could not be stored.
func (w *feed) end() (open, failed error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	for _, path := range slices.Sorted(maps.Keys(w.open)) {
		return fmt.Errorf("%w: %s", source.ErrOpen, path), w.err
	}
	return nil, w.err
}

// begin notes that an entry is being written.
func (w *feed) begin(path string, open bool) (seq uint64, err error) {
	if err := source.CheckPath(path); err != nil {
		return 0, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return 0, errFeedOver
	}
	if open {
		w.open[path]++
	}
	w.seq++
	return w.seq, w.err
}

// Create is of source.Writer.
func (w *feed) Create(path string, n tree.Node) (source.File, error) {
	if n.Type != tree.File {
		return nil, fmt.Errorf("%w: %s", source.ErrNode, path)
	}
	if err := context.Cause(w.ctx); err != nil {
		return nil, err
	}
	if err := w.complete(&n); err != nil {
		return nil, err
	}
	seq, err := w.begin(path, true)
	if err != nil {
		return nil, err
	}
	f := &feedFile{feed: w, path: path, seq: seq, hint: n.Size, done: make(chan struct{})}
	f.node.Node = n
	f.node.Size, f.node.Content, f.node.Pages = 0, tree.Content{}, nil
	f.before = sync.OnceValues(f.lookUp)
	if w.report.events.Progress != nil {
		w.report.progress.Current.Store(&path)
	}
	return f, nil
}

// complete stores long attributes, and removes what the snapshot says itself.
func (w *feed) complete(n *tree.Node) error {
	n.Name, n.Inode, n.Links, n.Subtree = recordName, 0, 0, object.BlobID{}
	n.XAttrs = slices.Clone(n.XAttrs) // the source's stay as they are
	for i, x := range n.XAttrs {
		if len(x.Value) <= tree.MaxInlineXAttr {
			continue
		}
		id, err := w.savePage(w.ctx, x.Value)
		if err != nil {
			return err
		}
		n.XAttrs[i] = tree.XAttr{Name: x.Name, Blob: id}
	}
	return nil
}

// Add is of source.Writer.
func (w *feed) Add(path string, n tree.Node) error {
	if n.Type <= tree.File || n.Type > tree.Socket {
		return fmt.Errorf("%w: %s", source.ErrNode, path)
	}
	seq, err := w.begin(path, false)
	if err == nil {
		err = w.complete(&n)
	}
	if err != nil {
		return err
	}
	return w.note(path, seq, &n, 0)
}

// Link is of source.Writer. Whether there is such a file is seen in the end.
func (w *feed) Link(path, existing string) error {
	seq, err := w.begin(path, false)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open[existing] > 0 {
		return fmt.Errorf("%w: %s is not closed", source.ErrNode, existing)
	}
	w.records = append(w.records, record{path: strings.Clone(path), seq: seq, link: strings.Clone(existing)})
	return nil
}

// Miss is of source.Writer.
func (w *feed) Miss(path string, err error) { w.report.error(path, err) }

// Describe is of source.Writer.
func (w *feed) Describe(details any) error {
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
func (w *feed) Before() []byte {
	if w.parent == nil || w.parent.Details == "" {
		return nil
	}
	return []byte(w.parent.Details)
}

// closed notes that a file is complete for its source.
func (w *feed) closed(path string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open[path]--; w.open[path] == 0 {
		delete(w.open, path)
	}
}

// note keeps the record of an entry that is complete.
func (w *feed) note(path string, seq uint64, n *tree.Node, added int64) error {
	r, err := newRecord(path, seq, n, added)
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.records = append(w.records, r)
	w.mu.Unlock()
	if n.Type != tree.Folder {
		w.report.progress.FilesDone.Add(1)
	}
	w.report.stored(w.session.Stats())
	return nil
}

// fail notes why a file could not be stored, and ends the source.
func (w *feed) fail(err error) {
	w.mu.Lock()
	if w.err == nil {
		w.err = err
	}
	w.mu.Unlock()
	w.cancel(err)
}

func (w *feed) savePage(_ context.Context, page []byte) (object.BlobID, error) {
	saved, err := w.session.SaveNow(object.TreeBlob, page)
	return saved.ID, err
}

// cutter returns one that nobody uses.
func (w *feed) cutter() (*chunk.Cutter, error) {
	if c, ok := w.cutters.Get().(*chunk.Cutter); ok {
		return c, nil
	}
	return chunk.New(uint64(w.repo.Keys().Polynomial()))
}
