package durable

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sync"
	"syscall"

	"golang.org/x/sync/errgroup"
)

const (
	filePerm = 0o600
	dirPerm  = 0o700

	// attempts bounds how often a file is begun again because its temporary
	// file or folder was removed under it: every other Writer that begins may
	// cost one.
	attempts = 10
)

// errSwept: the temporary file was taken for litter.
var errSwept = errors.New("durable: the temporary file was removed by another process")

// Writer creates files below one folder by the rules in the package comment. It
// is safe for concurrent use, and any number of Writers, in any number of
// processes, may work on one folder.
type Writer struct {
	fsys    FS
	tmp     string
	syncing bool // whether the file system syncs folders
	syncs   *dirSyncs
	folders folders

	mu     sync.Mutex // held while preparing
	ready  bool
	looked bool // whether litter was looked for

	seenMu   sync.Mutex
	seen     map[string]bool
	unclear  map[string]bool // names that an UnclearError or SyncError was returned for
	settleMu sync.Mutex      // held while seen folders are synced
}

// NewWriter returns a Writer whose temporary files lie in the folder tmp, which
// is made when it is first needed. NewWriter changes nothing on the disk.
func NewWriter(fsys FS, tmp string) *Writer {
	w := &Writer{fsys: fsys, tmp: tmp, seen: make(map[string]bool), unclear: make(map[string]bool)}
	// Only the answer "I do not do that" matters now. A sync that fails will
	// fail again when something depends on it.
	w.syncing = !errors.Is(fsys.SyncDir("."), errors.ErrUnsupported)
	w.syncs = newDirSyncs(w.syncDir)
	return w
}

// Durable says whether created files survive a power failure: whether the file
// system can sync folders. It was asked by NewWriter.
func (w *Writer) Durable() bool { return w.syncing }

func (w *Writer) syncDir(dir string) error {
	if !w.syncing {
		return nil
	}
	return w.fsys.SyncDir(dir)
}

// Saw notes that a file in dir was listed or read that may not be durable yet.
// The next CreateExclusive makes it so first.
func (w *Writer) Saw(dir string) {
	w.seenMu.Lock()
	defer w.seenMu.Unlock()
	w.seen[dir] = true
}

// Found is told the name of a file that was opened, before anybody concludes from
// its bytes that a CreateExclusive without a clear answer has created it: then, and only then, it
// makes the file durable.
func (w *Writer) Found(name string) error {
	w.seenMu.Lock()
	unclear := w.unclear[name]
	w.seenMu.Unlock()
	if !unclear {
		return nil
	}
	if err := w.syncs.Sync(path.Dir(name)); err != nil {
		return &SyncError{name, err}
	}
	w.seenMu.Lock()
	defer w.seenMu.Unlock()
	delete(w.unclear, name)
	return nil
}

// CreateExclusive creates the file name, and the folders above it, with the
// given content. The error matches fs.ErrExist when the name is taken. The file
// is durable when the error is nil, in place but perhaps not durable when it is
// a [*SyncError], and perhaps in place when it is an [*UnclearError] (see Found);
// otherwise this call created nothing. Once the file has its name ctx is no longer looked
// at.
func (w *Writer) CreateExclusive(ctx context.Context, name string, data []byte) error {
	// The link decides; this only spares writing what will be refused.
	if _, err := w.fsys.Stat(name); err == nil {
		return fmt.Errorf("create %s: %w", name, fs.ErrExist)
	}
	for n := 1; ; n++ {
		err := w.attempt(ctx, name, data)
		if !errors.Is(err, errSwept) || n == attempts {
			return err
		}
		w.folders.forget()
		w.mu.Lock()
		w.ready = false
		w.mu.Unlock()
	}
}

func (w *Writer) attempt(ctx context.Context, name string, data []byte) error {
	if err := w.prepare(ctx); err != nil {
		return err
	}
	t, err := writeTemp(ctx, w.fsys, w.tmp, data)
	if err != nil {
		return swept(err)
	}
	if err := w.publish(ctx, t, name, data); err != nil {
		t.discard()
		return swept(err)
	}
	t.close()
	dir := path.Dir(name)
	if err := w.syncs.Sync(dir); err != nil {
		return w.syncAgain(name, data, err)
	}
	return nil
}

// swept marks the errors that come from a temporary file or a folder that
// vanished, which a new attempt makes anew. What is unclear stays so: that the
// file was not found yet says nothing, and another attempt's error would hide it.
func swept(err error) error {
	if _, unclear := errors.AsType[*UnclearError](err); !unclear && errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w (%w)", errSwept, err)
	}
	return err
}

// prepare makes the folder for temporary files, and sweeps it the first time:
// where a sweep can hit living writers, those that answered it with one of their
// own would keep each other from ever writing. What becomes litter later is for
// another Writer. The folder need not be durable: nothing in it is.
func (w *Writer) prepare(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ready {
		return nil
	}
	if err := w.fsys.Mkdir(w.tmp, dirPerm); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if !w.looked {
		// Litter that cannot be removed now is no reason not to write.
		if _, err := Sweep(ctx, w.fsys, w.tmp); ctx.Err() != nil {
			return err
		}
		w.looked = true
	}
	w.ready = true
	return nil
}

// publish gives the temporary file its name and takes away the temporary one.
func (w *Writer) publish(ctx context.Context, t *temp, name string, data []byte) error {
	if err := w.mkdirAll(path.Dir(name)); err != nil {
		return err
	}
	if err := w.settle(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	err := w.fsys.Link(t.name, name)
	if err == nil {
		// Left behind, it would be litter for a later sweep, and no error: the
		// file has its name.
		_ = w.fsys.Unlink(t.name)
		return nil
	}
	if linkUnsupported(err) {
		err = w.fsys.RenameNoReplace(t.name, name)
		if errors.Is(err, errors.ErrUnsupported) {
			return fmt.Errorf("%w (%w)", ErrNoExclusive, err)
		}
	}
	if err == nil || errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return w.published(t, name, data, err)
}

// published finds out whether a file got its name, as after a server was cut off before it answered. Once the
// temporary name is gone, a request that is still on its way can not give the file another one any more.
func (w *Writer) published(t *temp, name string, data []byte, cause error) error {
	unlinkErr := w.fsys.Unlink(t.name)
	gone := unlinkErr == nil || errors.Is(unlinkErr, fs.ErrNotExist)
	switch got, readErr := w.read(name, len(data)); {
	case readErr == nil && bytes.Equal(got, data):
		return nil
	case gone && (readErr == nil || errors.Is(readErr, fs.ErrNotExist)):
		return cause
	default:
		w.markUnclear(name)
		return &UnclearError{name, errors.Join(cause, unlinkErr, readErr)}
	}
}

func (w *Writer) markUnclear(name string) {
	w.seenMu.Lock()
	defer w.seenMu.Unlock()
	w.unclear[name] = true
}

// linkUnsupported recognises how file systems say that they have no links:
// exFAT and vfat with EPERM, some with EMLINK, as a file can have one name only.
func linkUnsupported(err error) bool {
	return errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EMLINK)
}

func (w *Writer) mkdirAll(dir string) error {
	if w.folders.known(dir) {
		return nil
	}
	if err := mkdirAll(w.fsys, dir, dirPerm, w.syncs.Sync, w.folders.known); err != nil {
		return err
	}
	w.folders.add(dir)
	return nil
}

// settle makes durable what was seen. Concurrent calls wait for each other, so
// that none goes on while another still syncs what it has seen too.
func (w *Writer) settle() error {
	w.settleMu.Lock()
	defer w.settleMu.Unlock()
	w.seenMu.Lock()
	seen := w.seen
	w.seen = make(map[string]bool)
	w.seenMu.Unlock()

	err := w.settleAll(seen)
	if err != nil {
		for dir := range seen {
			w.Saw(dir)
		}
	}
	return err
}

func (w *Writer) settleAll(dirs map[string]bool) error {
	if far, ok := w.fsys.(Far); ok {
		g := new(errgroup.Group)
		g.SetLimit(far.Parallel())
		for dir := range dirs {
			g.Go(func() error { return w.settleDir(dir) })
		}
		return g.Wait()
	}
	for dir := range dirs {
		if err := w.settleDir(dir); err != nil {
			return err
		}
	}
	return nil
}

func (w *Writer) settleDir(dir string) error {
	if err := w.mkdirAll(dir); err != nil {
		return err
	}
	return w.syncs.Sync(dir)
}

// syncAgain is what is left to do when a file has its name and the folder could
// not be synced.
func (w *Writer) syncAgain(name string, data []byte, cause error) error {
	got, err := w.read(name, len(data))
	if err == nil && bytes.Equal(got, data) {
		if err = w.syncs.Sync(path.Dir(name)); err == nil {
			return nil
		}
	}
	w.markUnclear(name)
	return &SyncError{name, errors.Join(cause, err)}
}

// read returns the content of a file that should have n bytes, or part of it if
// it has another size.
func (w *Writer) read(name string, n int) ([]byte, error) {
	f, err := w.fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() != int64(n) {
		return nil, err
	}
	buf := make([]byte, n)
	if _, err := f.ReadAt(buf, 0); err != nil {
		return nil, err
	}
	return buf, nil
}
