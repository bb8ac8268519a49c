package lossy

import (
	"errors"
	"io/fs"
	"sync"
	"syscall"
	"time"
)

// ErrDead is what a process gets that has died; see [Mount.DieAfter].
var ErrDead = errors.New("lossy: the process is dead")

// Answer is how the disk answers an fsync.
type Answer int

const (
	Works Answer = iota
	Lies         // success, and nothing was done: as if the call were not in the program
	Fails        // an input/output error
)

// Sync is an fsync that the disk is asked for.
type Sync struct {
	Folder bool
	Name   string // from the root of the disk
}

// Disk is a disk that records what is done to it. It is safe for concurrent use;
// OnSync must be set before it is used.
type Disk struct {
	// OnSync, if it is set, decides how an fsync is answered. It is called on the
	// goroutine that asked for it, and must not use the disk.
	OnSync func(Sync) Answer

	mu     sync.Mutex
	root   *node
	record bool
	ops    []op
	ids    uint64
}

// node is a file or a folder.
type node struct {
	id    uint64
	dir   bool
	path  string // of a folder; folders are not renamed
	mode  fs.FileMode
	mtime time.Time
	data  []byte           // of a file; only ever appended to
	names map[string]*node // of a folder, as they are now
	lock  *file            // who holds the lock
}

// op is what the operations of a disk come down to. A prefix of them is what
// was done before the power failed.
type op struct {
	written *node // a file that is size bytes long now
	size    int
	synced  *node    // a file or folder that was synced
	dropped *node    // a file whose fsync failed
	changes []change // of names
}

// change is what one operation does to the names of one folder, and is kept or
// lost as a whole.
type change struct {
	folder *node
	sets   []entry
}

type entry struct {
	name string
	node *node // nil: removed
}

// New returns an empty disk that records.
func New() *Disk {
	d := &Disk{record: true}
	d.root = d.newNode(true, ".", 0o700, time.Time{})
	return d
}

func (d *Disk) newNode(dir bool, path string, mode fs.FileMode, mtime time.Time) *node {
	d.ids++
	n := &node{id: d.ids, dir: dir, path: path, mode: mode, mtime: mtime}
	if dir {
		n.mode |= fs.ModeDir
		n.names = make(map[string]*node)
	}
	return n
}

// Ops is how many operations that change something were done so far.
func (d *Disk) Ops() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.ops)
}

func (d *Disk) did(o op) {
	if d.record {
		d.ops = append(d.ops, o)
	}
}

// apply does changes and records them as one operation.
func (d *Disk) apply(changes ...change) {
	for _, c := range changes {
		c.apply(c.folder.names)
	}
	d.did(op{changes: changes})
}

func (c *change) apply(names map[string]*node) {
	for _, e := range c.sets {
		if e.node == nil {
			delete(names, e.name)
		} else {
			names[e.name] = e.node
		}
	}
}

// sync makes a node durable, or not.
func (d *Disk) sync(n *node, name string) error {
	answer := Works
	if d.OnSync != nil {
		answer = d.OnSync(Sync{Folder: n.dir, Name: name})
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch answer {
	case Works:
		d.did(op{synced: n})
	case Fails:
		if !n.dir {
			d.did(op{dropped: n})
		}
		return &fs.PathError{Op: "fsync", Path: name, Err: syscall.EIO}
	}
	return nil
}
