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

// What files in the folder are: leases that go with their process, and copies that were kept for the next run.
const (
	leaseSuffix = ".lease"
	keptSuffix  = ".kept"
)

// take writes the lease of a copy that is about to be made: enough to remove it.
func (l *Leases) take(c *Copy, suffix string) (*Lease, error) {
	text, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	name := c.Name + suffix
	f, err := l.dir.CreateExcl(name, 0o600)
	if err != nil {
		return nil, err
	}
	lease := &Lease{l, name, f}
	if err = f.TryLock(); err == nil {
		_, err = f.Write(text)
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = l.dir.SyncDir(".")
	}
	if err != nil {
		return nil, errors.Join(err, lease.end())
	}
	return lease, nil
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
func (l *Leases) Left() ([]Left, error) { return l.find(leaseSuffix) }

// Kept returns the copies that were kept. They are held until they are removed or released.
func (l *Leases) Kept() ([]Left, error) { return l.find(keptSuffix) }

func (l *Leases) find(suffix string) (out []Left, err error) {
	entries, err := l.dir.ReadDir(".")
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), suffix) {
			continue
		}
		left, err := l.open(e.Name())
		if err != nil {
			errs = append(errs, err)
		} else if left != nil {
			out = append(out, *left)
		}
	}
	return out, errors.Join(errs...)
}

// open opens a lease that nobody holds, or returns nil.
func (l *Leases) open(name string) (*Left, error) {
	f, err := l.dir.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	left := &Left{lease: &Lease{l, name, f}}
	ok, err := left.read(f)
	if !ok {
		err = errors.Join(err, f.Close())
		left = nil
	}
	return left, err
}

func (left *Left) read(f durable.File) (bool, error) {
	err := f.TryLock()
	if errors.Is(err, durable.ErrLocked) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || st.Nlink == 0 { // another was faster
		return false, nil
	}
	text, err := io.ReadAll(io.NewSectionReader(f, 0, maxLease))
	if err != nil {
		return false, err
	}
	if len(text) == 0 { // its run died before anything was made
		return false, left.lease.leases.dir.Unlink(left.lease.name)
	}
	if err := json.Unmarshal(text, &left.Copy); err != nil {
		return false, fmt.Errorf("%w: %s: %w", ErrLease, left.lease.name, err)
	}
	return true, nil
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
