package durabletest

import (
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/kura-backup/kura/internal/durable"
)

// Op is one call through the seam.
type Op struct {
	Kind string // "create", "write", "sync", "link", ...: see the methods
	Name string
	To   string // the new name of "link", "rename" and "renamex"
}

var random = regexp.MustCompile(`put-[0-9a-f]{32}`)

// String is the operation as tests compare it, with "put-*" for the random
// names of temporary files.
func (o Op) String() string {
	s := strings.TrimSpace(o.Kind + " " + o.Name + " " + o.To)
	return random.ReplaceAllString(s, "put-*")
}

// When says at what moment an operation fails.
type When int

const (
	// Before: nothing is done. Of a write, the first half is done.
	Before When = iota
	// After: all is done, and the answer is an error.
	After
)

// FS wraps a [durable.FS]. It is safe for concurrent use; its fields must be set
// before it is used.
type FS struct {
	durable.FS

	// Fail is asked before every operation, with its number from 0 on. A
	// non-nil error is what the operation answers.
	Fail func(n int, op Op) (When, error)

	mu  sync.Mutex
	ops []Op
}

// New returns an FS that records and lets everything through.
func New(inner durable.FS) *FS { return &FS{FS: inner} }

// Ops returns the operations so far, in the form of [Op.String].
func (f *FS) Ops() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]string, len(f.ops))
	for i, op := range f.ops {
		out[i] = op.String()
	}
	return out
}

// Reset forgets the operations so far.
func (f *FS) Reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ops = nil
}

// Count returns how many operations so far have the given form.
func (f *FS) Count(op string) int {
	n := 0
	for _, o := range f.Ops() {
		if o == op {
			n++
		}
	}
	return n
}

// Index returns the place of the first operation of this form, or -1.
func (f *FS) Index(op string) int { return slices.Index(f.Ops(), op) }

func (f *FS) begin(op Op) (When, error) {
	f.mu.Lock()
	n := len(f.ops)
	f.ops = append(f.ops, op)
	f.mu.Unlock()
	if f.Fail == nil {
		return Before, nil
	}
	return f.Fail(n, op)
}

func (f *FS) do(op Op, act func() error) error {
	when, fail := f.begin(op)
	if fail != nil && when == Before {
		return fail
	}
	if err := act(); err != nil {
		return err
	}
	return fail
}

// CreateExcl is "create".
func (f *FS) CreateExcl(name string, perm fs.FileMode) (durable.File, error) {
	return f.open(Op{Kind: "create", Name: name}, func() (durable.File, error) { return f.FS.CreateExcl(name, perm) })
}

// Open is "open".
func (f *FS) Open(name string) (durable.File, error) {
	return f.open(Op{Kind: "open", Name: name}, func() (durable.File, error) { return f.FS.Open(name) })
}

func (f *FS) open(op Op, act func() (durable.File, error)) (durable.File, error) {
	var file durable.File
	err := f.do(op, func() (err error) {
		file, err = act()
		return err
	})
	if err != nil {
		if file != nil {
			file.Close()
		}
		return nil, err
	}
	return &recordedFile{file, f, op.Name}, nil
}

// Link is "link".
func (f *FS) Link(oldname, newname string) error {
	return f.do(Op{"link", oldname, newname}, func() error { return f.FS.Link(oldname, newname) })
}

// RenameNoReplace is "renamex".
func (f *FS) RenameNoReplace(oldname, newname string) error {
	return f.do(Op{"renamex", oldname, newname}, func() error { return f.FS.RenameNoReplace(oldname, newname) })
}

// Rename is "rename".
func (f *FS) Rename(oldname, newname string) error {
	return f.do(Op{"rename", oldname, newname}, func() error { return f.FS.Rename(oldname, newname) })
}

// Unlink is "unlink".
func (f *FS) Unlink(name string) error {
	return f.do(Op{Kind: "unlink", Name: name}, func() error { return f.FS.Unlink(name) })
}

// Mkdir is "mkdir".
func (f *FS) Mkdir(name string, perm fs.FileMode) error {
	return f.do(Op{Kind: "mkdir", Name: name}, func() error { return f.FS.Mkdir(name, perm) })
}

// SyncDir is "syncdir".
func (f *FS) SyncDir(name string) error {
	return f.do(Op{Kind: "syncdir", Name: name}, func() error { return f.FS.SyncDir(name) })
}

// ReadDir is "readdir".
func (f *FS) ReadDir(name string) (entries []fs.DirEntry, err error) {
	err = f.do(Op{Kind: "readdir", Name: name}, func() (err error) {
		entries, err = f.FS.ReadDir(name)
		return err
	})
	return entries, err
}

// Stat is "stat".
func (f *FS) Stat(name string) (info fs.FileInfo, err error) {
	err = f.do(Op{Kind: "stat", Name: name}, func() (err error) {
		info, err = f.FS.Stat(name)
		return err
	})
	return info, err
}

type recordedFile struct {
	durable.File
	fs   *FS
	name string
}

// Write is "write".
func (r *recordedFile) Write(p []byte) (n int, err error) {
	when, fail := r.fs.begin(Op{Kind: "write", Name: r.name})
	if fail != nil && when == Before {
		p = p[:len(p)/2]
	}
	n, err = r.File.Write(p)
	if err == nil {
		err = fail
	}
	return n, err
}

// ReadAt is "read".
func (r *recordedFile) ReadAt(p []byte, off int64) (n int, err error) {
	err = r.fs.do(Op{Kind: "read", Name: r.name}, func() (err error) {
		n, err = r.File.ReadAt(p, off)
		return err
	})
	return n, err
}

// Sync is "sync".
func (r *recordedFile) Sync() error {
	return r.fs.do(Op{Kind: "sync", Name: r.name}, r.File.Sync)
}

// Stat is "fstat".
func (r *recordedFile) Stat() (info fs.FileInfo, err error) {
	err = r.fs.do(Op{Kind: "fstat", Name: r.name}, func() (err error) {
		info, err = r.File.Stat()
		return err
	})
	return info, err
}

// TryLock is "lock".
func (r *recordedFile) TryLock() error {
	return r.fs.do(Op{Kind: "lock", Name: r.name}, r.File.TryLock)
}

// Close is "close". The file is closed in any case.
func (r *recordedFile) Close() error {
	_, fail := r.fs.begin(Op{Kind: "close", Name: r.name})
	if err := r.File.Close(); err != nil {
		return err
	}
	return fail
}
