package restore

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"syscall"

	"github.com/kura-backup/kura/internal/budget"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/restore/internal/jail"
	"github.com/kura-backup/kura/tree"
)

// span is a part of a file without data: it reads as zeros.
type span struct {
	file       *file
	at, length int64
	hole       bool // it had no space on disk
	same       bool // it is so already
}

// check is a file, or the part of it that belongs to a batch, that may be in the target already.
type check struct {
	file        *file
	needs       []need
	spans       []span
	first, last bool // the part is the beginning, the end of the file

	differs atomic.Bool
}

// What is compared by one goroutine at a time.
const (
	pieceBytes = 16 << 20
	pieceNeeds = 512
)

// piece is a range of a check's needs and spans.
type piece struct {
	c            *check
	needs, spans [2]int
}

// compare looks at the files of a batch that may be in the target already, and plans to fetch what is not as it is
// in the snapshot.
func (run *run) compare(ctx context.Context, b *batch) error {
	err := run.each(ctx, len(b.checks), func(i int) error {
		c := b.checks[i]
		if !c.first {
			return nil
		}
		return run.fileError(c.file, run.look(c))
	})
	if err != nil {
		return err
	}
	var pieces []piece
	for _, c := range b.checks {
		if c.file.plan == reuse && !c.file.failed() {
			pieces = c.appendPieces(pieces)
		}
	}
	err = run.spread(ctx, len(pieces), run.decoders, 1, func(i int) error {
		p := &pieces[i]
		if p.c.differs.Load() && !p.c.file.inPlace {
			return nil // all of it is wanted
		}
		return run.fileError(p.c.file, run.comparePiece(ctx, p))
	})
	if err != nil {
		return err
	}
	for _, c := range b.checks {
		if err := run.decide(b, c); err != nil {
			return err
		}
	}
	return nil
}

func (c *check) appendPieces(out []piece) []piece {
	p := piece{c: c}
	var bytes int64
	for i := range c.needs {
		bytes += int64(c.needs[i].length)
		if p.needs[1] = i + 1; bytes >= pieceBytes || p.needs[1]-p.needs[0] >= pieceNeeds {
			out = append(out, p)
			p.needs[0], bytes = p.needs[1], 0
		}
	}
	p.spans[1] = len(c.spans)
	return append(out, p)
}

// look decides what can become of what has the name of a file.
func (run *run) look(c *check) error {
	f := c.file
	f.plan = create
	if f.dir.missing {
		return nil
	}
	dir, err := run.folders.acquire(f.dir)
	if err != nil {
		return err
	}
	defer run.folders.release(f.dir)
	old, err := dir.Lstat(f.name)
	if errors.Is(err, syscall.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	if old.IsDir() {
		return run.makeRoom(dir, f.dir, f.name)
	}
	f.replaces = true
	f.old = old
	f.id = old.Identity
	switch {
	case run.o.Overwrite.keeps(&old, f.meta.mtime):
		f.plan = keep
		f.meta.flags = 0 // which are set when the last of its names is made
		return nil
	case !old.IsFile():
		return nil
	}
	h, err := dir.OpenSame(f.name, f.id)
	if err != nil {
		return nil // what can not be read is replaced, if that is possible
	}
	f.inPlace = !f.whole && run.mayRewrite(h, f)
	alone := f.inPlace || old.Links == 1
	if (f.inPlace || c.last) && (alone || run.settled(&h.Handle, tree.File, &f.meta)) {
		f.plan = reuse
		f.trusted = run.o.Overwrite.trusts(&old, f)
	}
	return h.Close()
}

// mayRewrite reports whether an existing file can be changed where it is. It can not if it has other names, which may
// be outside of the target, nor if somebody may have it open who may not read what is in the snapshot.
func (run *run) mayRewrite(h *jail.File, f *file) bool {
	old := &f.old
	return old.Links == 1 && old.UID == f.meta.uid && old.GID == f.meta.gid && old.Mode&0o077&^f.meta.mode == 0 && !h.Grants()
}

// settled reports whether there is nothing to be set on an entry.
func (run *run) settled(h *jail.Handle, t tree.Type, m *meta) bool {
	info, err := h.Stat()
	if err != nil || info.UID != m.uid || info.GID != m.gid || info.Mode != m.mode ||
		!m.mtime.IsZero() && !m.hasTime(&info) || h.LacksFlags(m.flags) != 0 {
		return false
	}
	for i := range m.xattrs {
		x := &m.xattrs[i]
		if !x.Blob.IsZero() || !h.HasXAttr(x.Name, x.Value) {
			return false
		}
	}
	return len(run.surplus(h, m)) == 0
}

// surplus returns the extended attributes that an entry has and the snapshot does not.
func (run *run) surplus(h *jail.Handle, m *meta) []string {
	return slices.DeleteFunc(h.XAttrs(), func(name string) bool {
		return !run.xattrs.selects(name) || slices.ContainsFunc(m.xattrs, func(x tree.XAttr) bool { return x.Name == name })
	})
}

// settle sets the metadata of an entry that existed before, if there is anything to be set.
func (run *run) settle(h *jail.Handle, t tree.Type, m *meta, path func() string) error {
	if run.settled(h, t, m) {
		if t == tree.Folder { // which has been read since
			return run.setAccessTime(h, m, path)
		}
		return nil
	}
	if info, err := h.Stat(); err == nil && info.Mode&0o200 == 0 && !run.rep.root && t == tree.File {
		_ = h.Chmod(info.Mode | 0o200) // a read-only file refuses attributes
	}
	for _, name := range run.surplus(h, m) {
		if err := run.omit(xattrKind(name), h.RemoveXAttr(name), path); err != nil {
			return err
		}
	}
	return run.apply(h, t, m, path)
}

// comparePiece finds out which blobs of a piece are in the file already, and which spans.
func (run *run) comparePiece(ctx context.Context, p *piece) error {
	f := p.c.file
	if f.trusted {
		p.markAll()
		return nil
	}
	return run.withSame(f, func(h *jail.File) error { return run.compareWith(ctx, h, p) })
}

// compareWith compares a piece with the open file.
func (run *run) compareWith(ctx context.Context, h *jail.File, p *piece) (err error) {
	f, same := p.c.file, true
	for i := p.needs[0]; i < p.needs[1] && (same || f.inPlace); i++ {
		n := &p.c.needs[i]
		if n.same, err = run.holds(ctx, h, n.at, int64(n.length), n.id); err != nil {
			return err
		}
		same = same && n.same
	}
	for i := p.spans[0]; i < p.spans[1] && (same || f.inPlace); i++ {
		s := &p.c.spans[i]
		if s.same, err = run.isClear(ctx, h, s.at, s.length); err != nil {
			return err
		}
		same = same && s.same
	}
	if !same {
		p.c.differs.Store(true)
	}
	return nil
}

func (p *piece) markAll() {
	for i := p.needs[0]; i < p.needs[1]; i++ {
		p.c.needs[i].same = true
	}
	for i := p.spans[0]; i < p.spans[1]; i++ {
		p.c.spans[i].same = true
	}
}

// holds reports whether a file has a blob at a place. What can not be read does not.
func (run *run) holds(ctx context.Context, h *jail.File, at, length int64, id object.BlobID) (bool, error) {
	return run.read(ctx, h, at, length, func(data []byte) bool { return run.r.BlobID(object.DataBlob, data) == id })
}

func (run *run) read(ctx context.Context, h *jail.File, at, length int64, test func([]byte) bool) (ok bool, err error) {
	var buf *budget.Buffer
	if buf, err = run.decoded.Get(ctx, int(length)); err != nil {
		return false, err
	}
	defer buf.Release()
	data := buf.B[:length]
	return h.ReadAt(data, at) == nil && test(data), nil
}

// isClear reports whether a range of a file reads as zeros, as what is behind its end will.
func (run *run) isClear(ctx context.Context, h *jail.File, at, length int64) (bool, error) {
	info, err := h.Stat()
	if err != nil {
		return false, err
	}
	end := at + min(length, max(0, info.Size-at))
	for at < end {
		from, to, ok, err := h.Data(at)
		if err != nil || !ok || from >= end {
			return err == nil, nil
		}
		for to = min(to, end); from < to; {
			n := min(to-from, 1<<20)
			if ok, err := run.read(ctx, h, from, n, allZero); !ok || err != nil {
				return false, err
			}
			from += n
		}
		at = to
	}
	return true, nil
}

func allZero(data []byte) bool {
	for _, b := range data {
		if b != 0 {
			return false
		}
	}
	return true
}

// decide plans what is to be done about a check that was compared.
func (run *run) decide(b *batch, c *check) error {
	f := c.file
	if f.plan == reuse && !f.inPlace && (c.differs.Load() || f.old.Size != f.size) || run.busy(c) {
		f.plan = create
	}
	if f.plan == create {
		return run.decideCreate(b, c)
	}
	if f.plan == reuse && f.old.Size != f.size { // known before the last part is released
		f.changed = true
	}
	for i := range c.needs {
		if n := &c.needs[i]; f.plan == keep || n.same || f.failed() {
			if err := run.release(f); err != nil {
				return err
			}
		} else if err := run.differ(b, n); err != nil {
			return err
		}
	}
	for i := range c.spans {
		s := &c.spans[i]
		switch {
		case f.whole: // they are the file's own
		case f.plan == keep || s.same || f.failed():
			if err := run.release(f); err != nil {
				return err
			}
		default:
			f.changed = true
			b.spans = append(b.spans, *s)
		}
	}
	return run.settleEmpty(c)
}

// busy reports whether a file that would be changed where it is is a program that runs. Whoever runs it keeps the old one when a new one
// gets its name. Of a file that is in several batches the first one decides, before it is known whether the others differ.
func (run *run) busy(c *check) bool {
	f := c.file
	if run.o.DryRun || f.plan != reuse || !f.inPlace || !c.first || f.failed() ||
		(c.last || f.trusted) && !c.differs.Load() && f.old.Size == f.size {
		return false
	}
	dir, err := run.folders.acquire(f.dir)
	if err != nil {
		return false // as opening the file will say
	}
	defer run.folders.release(f.dir)
	return dir.Busy(f.name, f.id)
}

func (run *run) differ(b *batch, n *need) error {
	n.file.changed = true
	return b.add(*n)
}

// decideCreate plans a file that is made anew.
func (run *run) decideCreate(b *batch, c *check) error {
	for i := range c.needs {
		if err := b.add(c.needs[i]); err != nil {
			return err
		}
	}
	f := c.file
	for i := range c.spans {
		if f.whole {
			continue
		}
		if s := &c.spans[i]; run.allocates(s) {
			b.spans = append(b.spans, *s)
		} else if err := run.release(f); err != nil {
			return err
		}
	}
	if c.isEmpty() {
		b.empty = append(b.empty, f)
	}
	return nil
}

// isEmpty reports whether the check is for a file without data.
func (c *check) isEmpty() bool { return c.first && c.last && c.file.whole && len(c.needs) == 0 }

// settleEmpty completes a file without data that stays.
func (run *run) settleEmpty(c *check) error {
	if !c.isEmpty() {
		return nil
	}
	return run.release(c.file)
}

// allocates reports whether a span takes space on disk in a new file: what were zeros does, what was a hole does not.
func (run *run) allocates(s *span) bool { return !s.hole && !run.o.Sparse }

// fillSpans brings spans to files that are written in pieces.
func (run *run) fillSpans(ctx context.Context, b *batch) error {
	if run.o.DryRun {
		return run.releaseSpans(b)
	}
	slices.SortStableFunc(b.spans, func(a, b span) int { return cmp.Compare(a.at, b.at) })
	return run.each(ctx, len(b.spans), func(i int) error {
		s := &b.spans[i]
		if !s.file.failed() {
			if err := run.fileError(s.file, run.fill(s)); err != nil {
				return err
			}
		}
		return run.release(s.file)
	})
}

func (run *run) releaseSpans(b *batch) error {
	for i := range b.spans {
		if err := run.release(b.spans[i].file); err != nil {
			return err
		}
	}
	return nil
}

func (run *run) fill(s *span) error {
	h, err := run.files.acquire(run, s.file)
	if err != nil {
		return err
	}
	if s.file.plan == reuse {
		err = h.Clear(s.at, s.length)
	}
	if err == nil && run.allocates(s) {
		err = h.Allocate(s.at, s.length)
	}
	return errors.Join(err, run.files.release(run, s.file))
}
