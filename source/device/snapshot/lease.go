package snapshot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/kura-backup/kura/internal/durable"
)

// maxLease bounds what is read of a lease.
const maxLease = 64 << 10

// Leases is the folder with the leases of one user of this machine. It is safe for concurrent use, also by several processes.
type Leases struct{ dir *durable.Dir }

// OpenLeases opens the folder, and makes it if need be. What is in it names what is to be removed, and by which command, so that it must
// belong to this user alone.
func OpenLeases(path string) (*Leases, error) {
	dir, err := durable.CreateDir(path, 0o700)
	if err != nil {
		return nil, err
	}
	info, err := dir.Stat(".")
	if err == nil {
		if st, ok := info.Sys().(*syscall.Stat_t); !ok || int(st.Uid) != os.Geteuid() || info.Mode()&0o022 != 0 {
			err = fmt.Errorf("snapshot: the folder %s belongs to, or can be written by, another user", path)
		}
	}
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	return &Leases{dir}, nil
}

// Close closes the folder.
func (l *Leases) Close() error { return l.dir.Close() }

// Lease says that a copy is there, or may be, and whose it is. It is held until it is ended, or the process is.
type Lease struct {
	leases *Leases
	name   string
	f      durable.File
}

// What files in the folder are: leases that go with their process, copies that were kept for the next run, and what is not yet one of
// them.
const (
	leaseSuffix = ".lease"
	keptSuffix  = ".kept"
	newSuffix   = ".new"
)

// take writes the lease of a copy that is about to be made: enough to remove it.
func (l *Leases) take(c *Copy, suffix string) (*Lease, error) {
	name := c.Name + suffix
	if _, err := l.dir.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(fmt.Errorf("%w: %s is there already", ErrLease, name), err)
	}
	f, err := l.write(c, name)
	if err != nil {
		return nil, err
	}
	return &Lease{l, name, f}, nil
}

// write makes the file of a lease, or puts another in its place. It is locked and complete before it has its name: who finds it finds all
// of it, and somebody who holds it.
func (l *Leases) write(c *Copy, name string) (durable.File, error) {
	text, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	for {
		random, err := newName()
		if err != nil {
			return nil, err
		}
		fresh := random + newSuffix
		f, err := l.dir.CreateExcl(fresh, 0o600)
		if err != nil {
			return nil, err
		}
		err = f.TryLock()
		if err == nil && !isThere(f) || errors.Is(err, durable.ErrLocked) { // taken for that of a dead run, between these two lines
			_ = f.Close() // there is nothing in it
			continue
		}
		if err == nil {
			_, err = f.Write(text)
		}
		if err == nil {
			err = f.Sync()
		}
		if err == nil {
			err = l.dir.Rename(fresh, name)
		}
		if err != nil {
			return nil, errors.Join(err, l.dir.Unlink(fresh), f.Close())
		}
		if err := l.dir.SyncDir("."); err != nil {
			return nil, errors.Join(err, l.dir.Unlink(name), f.Close())
		}
		return f, nil
	}
}

// isThere reports whether an open file still has its name.
func isThere(f durable.File) bool {
	info, err := f.Stat()
	if err != nil {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Nlink > 0
}

// update writes what is known of the copy by now.
func (l *Lease) update(c *Copy) error {
	f, err := l.leases.write(c, l.name)
	if err != nil {
		return err
	}
	old := l.f
	l.f = f
	return old.Close()
}

// end removes the lease.
func (l *Lease) end() error {
	return errors.Join(l.leases.dir.Unlink(l.name), l.f.Close())
}

// Left is a copy that nobody uses: one that a dead run has left behind, or one that was kept.
type Left struct {
	Copy
	lease *Lease
}

// Left returns what dead runs have left behind. It is held until it is removed or released.
func (l *Leases) Left() ([]Left, error) { return l.find(context.Background(), leaseSuffix, "") }

// Kept returns the copies that were kept of a device, or of all of them if of is empty. They are held until they are removed or released.
// One that another run of the same device has just now is waited for, for a few seconds.
func (l *Leases) Kept(ctx context.Context, of string) ([]Left, error) {
	return l.find(ctx, keptSuffix, of)
}

func (l *Leases) find(ctx context.Context, suffix, of string) (out []Left, err error) {
	entries, err := l.dir.ReadDir(".")
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, e := range entries {
		name := e.Name()
		if strings.HasSuffix(name, newSuffix) {
			errs = append(errs, l.tidy(name))
		}
		if !strings.HasSuffix(name, suffix) {
			continue
		}
		left, err := l.open(ctx, name, of)
		if err != nil {
			errs = append(errs, err)
		} else if left != nil {
			out = append(out, *left)
		}
	}
	return out, errors.Join(errs...)
}

// tidy removes what a run that died, or lost its power, has left of a lease that it was about to write.
func (l *Leases) tidy(name string) error {
	f, err := l.dir.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err = f.TryLock(); err == nil && isThere(f) {
		// That it was locked does not mean that it still has this name, but then nothing has.
		if err = l.dir.Unlink(name); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if errors.Is(err, durable.ErrLocked) {
		err = nil
	}
	return errors.Join(err, f.Close())
}

// open opens a lease that nobody holds, or returns nil. If it is of another device than the one that is asked for, it is neither
// locked, nor looked at closely.
func (l *Leases) open(ctx context.Context, name, of string) (*Left, error) {
	for try := 0; ; try++ {
		f, err := l.dir.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		left := &Left{lease: &Lease{l, name, f}}
		ok, err := left.read(of)
		if ok && err == nil {
			return left, nil
		}
		if err = errors.Join(err, f.Close()); !errors.Is(err, durable.ErrLocked) {
			return nil, err
		}
		if of == "" || try == lockTries {
			return nil, nil
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(lockPause):
		}
	}
}

const (
	lockTries = 50
	lockPause = 100 * time.Millisecond
)

// read reads a lease and locks it, if it is of the device. It may be replaced until it is locked, by one of the same device.
func (left *Left) read(of string) (ok bool, err error) {
	f := left.lease.f
	if of != "" {
		if err := left.parse(); err != nil || left.Of != of {
			return false, nil // whoever needs that one complains
		}
	}
	if err := f.TryLock(); err != nil {
		return false, err
	}
	if !isThere(f) { // another was faster
		return false, nil
	}
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	if info.Size() == 0 { // its run died before anything was made
		return false, left.lease.leases.dir.Unlink(left.lease.name)
	}
	return true, left.parse()
}

func (left *Left) parse() error {
	text, err := io.ReadAll(io.NewSectionReader(left.lease.f, 0, maxLease))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &left.Copy); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrLease, left.lease.name, err)
	}
	return nil
}

// Remove removes the copy, and the lease with it.
func (left *Left) Remove(ctx context.Context) error {
	p, err := providerOf(&left.Copy)
	if err == nil {
		err = p.Remove(ctx, &left.Copy)
	}
	if err != nil {
		return errors.Join(err, left.Release())
	}
	return left.lease.end()
}

// Release leaves the copy to others.
func (left *Left) Release() error { return left.lease.f.Close() }
