package sftp

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"sync"
	"time"

	"github.com/pkg/sftp"

	"github.com/kura-backup/kura/backends/local"
	"github.com/kura-backup/kura/internal/clock"
	"github.com/kura-backup/kura/internal/durable"
)

const (
	extLink = "hardlink@openssh.com"
	extSync = "fsync@openssh.com"

	// parallel is how many requests for small things are made at once. The server does those of a connection
	// one after the other, so it is only their way that is shortened.
	parallel = 16
)

// remote is a folder of a server as a file system. It is safe for concurrent use.
type remote struct {
	pool     *pool
	root     string
	syncDirs bool // the server syncs folders

	mayReplace bool // where there is nothing better than renaming

	mu      sync.Mutex
	skew    *time.Duration // of the server's clock against ours, once it is known
	renames *bool          // whether the server refuses to replace by renaming, once it is known
}

var _ durable.Far = (*remote)(nil)

// newRemote returns the folder root. It makes no request.
func newRemote(p *pool, root string) *remote { return &remote{pool: p, root: root} }

// at returns the path of a name on the server.
func (r *remote) at(name string) string { return path.Join(r.root, name) }

// request lets fn make requests on a connection.
func (r *remote) request(fn func(c *sftp.Client) error) error {
	c, err := r.pool.get()
	if err != nil {
		return err
	}
	defer r.pool.put(c)
	return c.outcome(fn(c.client))
}

// outcome sorts the errors of requests: those that the server answered, and those that end the connection.
func (c *conn) outcome(err error) error {
	switch {
	case err == nil:
		return nil
	case answered(err):
		return translated(err)
	}
	return c.failure(err)
}

func pathError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// open opens a file. It holds its connection until it is closed.
func (r *remote) open(name string, flags int) (*file, error) {
	c, err := r.pool.get()
	if err != nil {
		return nil, pathError("open", name, err)
	}
	f, err := c.client.OpenFile(r.at(name), flags)
	if err != nil {
		defer r.pool.put(c)
		return nil, pathError("open", name, c.outcome(err))
	}
	return &file{remote: r, name: name, c: c, f: f}, nil
}

func (r *remote) Open(name string) (durable.File, error) {
	f, err := r.open(name, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (r *remote) CreateExcl(name string, perm fs.FileMode) (durable.File, error) {
	f, err := r.open(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return nil, r.why(name, err)
	}
	f.chmod(perm)
	return f, nil
}

// why finds out what a FAILURE to create a name means.
func (r *remote) why(name string, err error) error {
	if !hasCode(err, codeFailure) {
		return err
	}
	switch _, statErr := r.Stat(name); {
	case statErr == nil:
		return pathError("create", name, fs.ErrExist)
	case !errors.Is(statErr, fs.ErrNotExist):
		return statErr
	}
	return r.noSpace(err)
}

// noSpace adds to a FAILURE that the disk is full, if it is.
func (r *remote) noSpace(err error) error {
	if !hasCode(err, codeFailure) {
		return err
	}
	full := false
	_ = r.request(func(c *sftp.Client) error { // not all servers know; then it stays a failure
		st, err := c.StatVFS(r.root)
		full = err == nil && (st.Bavail == 0 || st.Files > 0 && st.Favail == 0)
		return err
	})
	if full {
		return fmt.Errorf("no space is left on the server: %w", err)
	}
	return err
}

func (r *remote) Link(oldname, newname string) error {
	err := r.request(func(c *sftp.Client) error {
		if _, ok := c.HasExtension(extLink); !ok {
			return fmt.Errorf("%w: %s", errors.ErrUnsupported, extLink)
		}
		return c.Link(r.at(oldname), r.at(newname))
	})
	return r.why(newname, pathError("link", newname, err))
}

// RenameNoReplace is asked for when Link was refused.
func (r *remote) RenameNoReplace(oldname, newname string) error {
	if !r.mayReplace {
		if err := r.canRename(oldname, newname); err != nil {
			return err
		}
	}
	err := r.request(func(c *sftp.Client) error { return c.Rename(r.at(oldname), r.at(newname)) })
	return r.why(newname, pathError("rename", newname, err))
}

// canRename returns an error unless renaming can be trusted not to replace anything.
func (r *remote) canRename(oldname, newname string) error {
	offered := false
	if err := r.request(func(c *sftp.Client) error { _, offered = c.HasExtension(extLink); return nil }); err != nil {
		return err
	}
	if offered {
		// sshd renames by link and unlink, and where there are no links by looking and renaming, between which
		// another could take the name.
		second := durable.TempName(path.Dir(oldname))
		err := r.request(func(c *sftp.Client) error { return c.Link(r.at(oldname), r.at(second)) })
		if err == nil {
			_ = r.Unlink(second) // then it is litter
			return pathError("link", newname, translated(fs.ErrPermission))
		}
		return fmt.Errorf("%w: the server's file system has no hard links (%w)", errors.ErrUnsupported, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.renames == nil {
		refuses, err := r.tryRename(path.Dir(oldname))
		if err != nil {
			return err
		}
		r.renames = &refuses
	}
	if !*r.renames {
		return fmt.Errorf("%w: the server has no %s, and its RENAME replaces what has the name", errors.ErrUnsupported, extLink)
	}
	return nil
}

// tryRename finds out whether the server refuses to rename one file to the name of another.
func (r *remote) tryRename(dir string) (refuses bool, err error) {
	a, b := durable.TempName(dir), durable.TempName(dir)
	for _, name := range []string{a, b} {
		f, err := r.CreateExcl(name, 0o600)
		if err != nil {
			return false, err
		}
		defer func() { _ = r.Unlink(name) }() // what is left is litter
		defer f.Close()
	}
	err = r.request(func(c *sftp.Client) error { return c.Rename(r.at(a), r.at(b)) })
	if _, isLost := lost(err); isLost {
		return false, err
	}
	if err == nil {
		return false, nil
	}
	// Refused; both must be there still.
	for _, name := range []string{a, b} {
		if _, err := r.Stat(name); err != nil {
			return false, err
		}
	}
	return true, nil
}

// Rename is part of the seam for files that may be replaced, of which a store has none.
func (r *remote) Rename(_, newname string) error {
	return pathError("rename", newname, errors.ErrUnsupported)
}

func (r *remote) Unlink(name string) error {
	return r.request(func(c *sftp.Client) error { return c.Remove(r.at(name)) })
}

func (r *remote) Mkdir(name string, perm fs.FileMode) error {
	err := r.request(func(c *sftp.Client) error { return c.Mkdir(r.at(name)) })
	if err != nil {
		return r.why(name, pathError("mkdir", name, err))
	}
	return pathError("chmod", name, r.setMode(name, perm))
}

// setMode sets the mode of a folder, where the server lets us.
func (r *remote) setMode(name string, perm fs.FileMode) error {
	err := r.request(func(c *sftp.Client) error { return c.Chmod(r.at(name), perm) })
	if _, isLost := lost(err); isLost {
		return err
	}
	return nil
}

// SyncDir opens the folder as if it were a file, which OpenSSH lets us do.
func (r *remote) SyncDir(name string) error {
	if !r.syncDirs {
		return pathError("sync", name, errors.ErrUnsupported)
	}
	return r.trySyncDir(name)
}

func (r *remote) trySyncDir(name string) error {
	f, err := r.open(name, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.sync()
}

func (r *remote) ReadDir(name string) (entries []fs.DirEntry, err error) {
	err = r.request(func(c *sftp.Client) error {
		infos, err := c.ReadDir(r.at(name))
		entries = make([]fs.DirEntry, len(infos))
		for i, info := range infos {
			entries[i] = fs.FileInfoToDirEntry(info)
		}
		return err
	})
	return entries, pathError("list", name, err)
}

func (r *remote) Stat(name string) (info fs.FileInfo, err error) {
	err = r.request(func(c *sftp.Client) error {
		info, err = c.Lstat(r.at(name))
		return err
	})
	return info, pathError("stat", name, err)
}

// follow describes a path of the server, and if it is a link, where that leads.
func (r *remote) follow(p string) (info fs.FileInfo, err error) {
	err = r.request(func(c *sftp.Client) error {
		info, err = c.Stat(p)
		return err
	})
	return info, pathError("stat", p, err)
}

func (r *remote) Parallel() int { return parallel }

// Now asks the server for the time, by making a file in the folder, once.
func (r *remote) Now() (time.Time, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.skew == nil {
		skew, err := r.measureSkew()
		if err != nil {
			return time.Time{}, err
		}
		r.skew = &skew
	}
	return clock.Now().Add(*r.skew), nil
}

func (r *remote) measureSkew() (time.Duration, error) {
	name := durable.TempName(local.TempDir)
	f, err := r.CreateExcl(name, 0o600)
	if err != nil {
		return 0, err
	}
	defer func() { _ = r.Unlink(name) }() // what is left is litter
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.ModTime().Sub(clock.Now()), nil
}

// Close ends the connections.
func (r *remote) Close() error { return r.pool.close() }
