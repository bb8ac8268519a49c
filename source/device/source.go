package device

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/internal/mounts"
	"github.com/kura-backup/kura/source"
	"github.com/kura-backup/kura/source/device/snapshot"
	"github.com/kura-backup/kura/tree"
)

// Options say what is backed up, and how.
type Options struct {
	// Devices are what is read, under the paths that they have in the snapshot: clean, absolute, different.
	Devices []Input
	// Taker makes copies to read from, unless it is nil.
	Taker *snapshot.Taker
	// Changes says that copies are kept, and compared with those of the run before, so that only what differs is read.
	Changes bool

	// Warn is told what the user should know.
	Warn func(message string)
	// Done is told what was read of each device.
	Done func(Detail)
}

// Input is a device, or an image.
type Input struct {
	Path string // in the snapshot
	Read string // the device
	Map  func(size int64) (*Map, error)
	// State names the state of the device; images have names for theirs already.
	State string
}

// Source is a source of devices. It is used by one goroutine.
type Source struct {
	o          Options
	keeps      map[string]bool // the names of the copies that this run has kept
	watchEvery time.Duration
}

var _ source.Source = (*Source)(nil)

// New returns a Source.
func New(o Options) *Source {
	return &Source{o: o, keeps: map[string]bool{}, watchEvery: watchEvery}
}

// Kind is of source.Source.
func (s *Source) Kind() string { return Kind }

// Paths is of source.Source.
func (s *Source) Paths() (out []string) {
	for _, in := range s.o.Devices {
		out = append(out, in.Path)
	}
	return out
}

// watchEvery is how often it is looked whether the copies are still good.
const watchEvery = 5 * time.Second

// Write is of source.Source.
func (s *Source) Write(ctx context.Context, out source.Writer) (err error) {
	if s.o.Taker == nil {
		return s.writeAll(ctx, out, nil)
	}
	paths := make([]string, len(s.o.Devices))
	for i, in := range s.o.Devices {
		paths[i] = in.Read
	}
	taken, err := s.o.Taker.Take(ctx, paths)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, taken.Remove(ctx)) }()
	watched, stop := taken.Watch(ctx, s.watchEvery)
	h := &held{taken: taken}
	keep := h.removeEarly(ctx, watched)
	err = s.writeAll(watched, out, h)
	removed := keep()
	// A copy that is no longer one is the reason for whatever else went wrong.
	if spoiled := stop(); spoiled != nil {
		return errors.Join(spoiled, removed)
	}
	if err == nil && s.o.Changes {
		for _, c := range taken.Copies {
			s.keeps[c.Name] = true
		}
		err = taken.Keep()
	}
	return err
}

func (s *Source) writeAll(ctx context.Context, out source.Writer, h *held) error {
	all := Details{Format: detailsFormat}
	for i := range s.o.Devices {
		w := writing{s: s, in: &s.o.Devices[i], out: out}
		if h != nil {
			w.copy, w.held = &h.taken.Copies[i], h
		}
		if err := w.write(ctx); err != nil {
			return err
		}
		all.Devices = append(all.Devices, w.detail)
		if s.o.Done != nil {
			s.o.Done(w.detail)
		}
	}
	return out.Describe(map[string]any{Kind: all})
}

// writing is one device on its way.
type writing struct {
	s      *Source
	in     *Input
	out    source.Writer
	copy   *snapshot.Copy // nil if the device itself is read
	held   *held
	detail Detail
}

func (w *writing) write(ctx context.Context) (err error) {
	at := w.in.Read
	if w.copy != nil {
		at = w.copy.At
	}
	d, err := Open(at)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if w.held != nil {
		w.held.opened(d)
	}
	if d.Size() == 0 {
		return fmt.Errorf("%w: %s", ErrEmpty, at)
	}
	if err := w.describe(d); err != nil {
		return err
	}
	known, err := w.known(ctx, d)
	if err != nil {
		return err
	}
	f, err := w.out.Create(w.in.Path, w.node(d))
	if err != nil {
		return err
	}
	if hasSame(known) {
		w.detail.Read, err = f.ReadMap(&watchedReader{ctx, d}, known)
	} else {
		err = w.readAll(ctx, d, f, known)
	}
	if err == nil {
		err = d.Check()
	}
	if err == nil && !d.IsBlock() && w.detail.State != "" {
		err = w.unchanged(d)
	}
	if err == nil && f.Size() != d.Size() { // whatever a map has said
		err = fmt.Errorf("device: %d bytes of %s were stored, and it has %d", f.Size(), d.Path(), d.Size())
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// readAll reads everything that is not known to be zero.
func (w *writing) readAll(ctx context.Context, d *Device, f source.File, known []source.Range) error {
	b := startBlocks(ctx, d, d.Size(), known)
	defer b.stop()
	for {
		n, err := b.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if b.isZero() {
			b.skip()
			err = f.Zeros(n)
		} else {
			_, err = f.ReadFrom(b)
		}
		if err != nil {
			return err
		}
	}
	w.detail.Root, w.detail.Read = b.root.sum().String(), b.read
	return nil
}

// describe says of the device what is known before it is read.
func (w *writing) describe(d *Device) (err error) {
	w.detail = Detail{Path: w.in.Path, Type: "file", Size: d.Size(), State: w.in.State}
	if d.IsBlock() {
		w.detail.Type = "block"
	}
	if r := (&Device{path: w.in.Read}).Resolved(); r != w.in.Path {
		w.detail.Resolved = r
	}
	if w.held != nil {
		t := w.held.taken
		w.detail.Snapshot = &SnapshotDetail{
			Kind: w.copy.Kind, Name: w.copy.Name, Made: t.Made.UTC().Round(time.Millisecond),
			FrozenMS: milliseconds(t.Frozen), LockedMS: milliseconds(t.Locked), Lock: t.Lock,
		}
		if w.detail.State == "" {
			w.detail.State = w.copy.State
		}
	} else if err := w.live(d); err != nil {
		return err
	}
	if w.detail.State == "" && !d.IsBlock() && !w.detail.Live {
		w.detail.State, err = StateOf(d.f)
	}
	return err
}

// live finds out whether somebody writes to the device while it is read.
func (w *writing) live(d *Device) error {
	uses, err := mounts.Uses(d.Path())
	if err != nil {
		return err
	}
	for _, u := range uses {
		if u.Live() {
			w.detail.Live = true
			w.warn(fmt.Sprintf("%s is in use while it is read (%s): what is saved may be of no use without --snapshot", d.Path(), u.By))
			return nil
		}
	}
	return nil
}

func (w *writing) warn(message string) {
	if w.s.o.Warn != nil {
		w.s.o.Warn(message)
	}
}

// known returns what is known before the device is read.
func (w *writing) known(ctx context.Context, d *Device) ([]source.Range, error) {
	var m *Map
	var err error
	switch {
	case w.in.Map != nil:
		m, err = w.in.Map(d.Size())
	case w.s.o.Changes:
		m = w.changes(ctx)
	}
	if err != nil {
		return nil, err
	}
	if m == nil {
		return d.Holes(), nil
	}
	if err := w.checkMap(m, d); err != nil {
		return nil, err
	}
	if hasSame(m.Ranges) {
		w.detail.Since = m.Since
	}
	if m.State != "" {
		w.detail.State = m.State
	}
	return m.Ranges, nil
}

// checkMap refuses a map that is about other states than the one that the parent has and the one that is read.
func (w *writing) checkMap(m *Map, d *Device) error {
	if m.State != "" && w.detail.State != "" && m.State != w.detail.State {
		return fmt.Errorf("%w: it leads to the state %s, and %s is in the state %s", ErrSince, m.State, d.Path(), w.detail.State)
	}
	if hasSame(m.Ranges) {
		if err := w.checkSince(m, d); err != nil {
			return err
		}
	}
	if end(m.Ranges) != d.Size() {
		return fmt.Errorf("%w: it ends at %d and %s at %d", ErrMap, end(m.Ranges), d.Path(), d.Size())
	}
	return nil
}

// checkSince refuses a map by which something is as in a parent that has not that state.
func (w *writing) checkSince(m *Map, d *Device) error {
	if state := cmp.Or(m.State, w.detail.State); state == m.Since && total(m.Ranges, source.Same) != d.Size() {
		return fmt.Errorf("%w: it begins and ends with the state %s, though something has changed", ErrSince, state)
	}
	all, err := ReadDetails(w.out.Before())
	if err != nil {
		return fmt.Errorf("%w: the parent: %w", ErrSince, err)
	}
	before := all.Find(w.in.Path)
	switch {
	case before == nil:
		return fmt.Errorf("%w: there is none of %s; back it up without a map first", ErrSince, w.in.Path)
	case before.State == "":
		return fmt.Errorf("%w: it does not say in which state %s was", ErrSince, w.in.Path)
	case before.State != m.Since:
		return fmt.Errorf("%w: that is of the state %s, and the map begins with %s", ErrSince, before.State, m.Since)
	case before.Size != d.Size():
		return fmt.Errorf("%w: %s had %d bytes and has %d", ErrSince, w.in.Path, before.Size, d.Size())
	}
	return nil
}

// unchanged refuses an image that was written to while it was read, if its state was noted.
func (w *writing) unchanged(d *Device) error {
	if w.in.State != "" || w.copy != nil && w.copy.State != "" {
		return nil
	}
	now, err := StateOf(d.f)
	if err == nil && now != w.detail.State {
		w.warn(fmt.Sprintf("%s was written to while it was read: what is saved may be of no use", d.Path()))
		w.detail.State, w.detail.Live = "", true
	}
	return err
}

// node is what the snapshot says of the device as a file.
func (w *writing) node(d *Device) tree.Node {
	n := source.FileNode(0o600)
	var st unix.Stat_t
	// An image is a file with an owner and a time of its own; a device node says nothing that would make sense for a file.
	if !d.IsBlock() && unix.Stat(w.in.Read, &st) == nil {
		n.Mode, n.UID, n.GID = st.Mode&0o777, st.Uid, st.Gid
		n.User, n.Group = "", ""
		n.MTime = tree.MakeTime(st.Mtim.Sec, uint32(st.Mtim.Nsec))
	}
	return n
}

func milliseconds(d time.Duration) float64 {
	return float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
}

// watchedReader reads as long as the context lasts.
type watchedReader struct {
	ctx context.Context // of the one run that reads
	d   *Device
}

func (r *watchedReader) ReadAt(p []byte, off int64) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.d.ReadAt(p, off)
}
