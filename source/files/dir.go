package files

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	dirFlags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	maxOpen  = 256
)

// Pool bounds how many folders are open at once. It is safe for concurrent use.
type Pool struct {
	limit int

	mu   sync.Mutex
	open int
	idle Dir // the ring of open folders that nobody uses, the least recently used one next
}

// NewPool returns a Pool that keeps a number of folders open that fits the process's limit.
func NewPool() *Pool {
	limit := maxOpen
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err == nil {
		limit = int(min(uint64(limit), max(r.Cur/4, 4)))
	}
	return newPool(limit)
}

func newPool(limit int) *Pool {
	p := &Pool{limit: limit}
	p.idle.prev, p.idle.next = &p.idle, &p.idle
	return p
}

// Dir is a folder. It is safe for concurrent use.
type Dir struct {
	pool   *Pool
	parent *Dir
	name   string // in parent; a path if there is no parent
	path   bool   // opened only to reach its entries, following symlinks

	listing  sync.Mutex // held while it is listed: its descriptor has only one position
	opening  sync.Mutex // held while it is opened
	known    bool       // dev and ino are those of its first opening
	dev, ino uint64

	// The pool's mutex guards these.
	isOpen     bool
	fd         int
	users      int
	prev, next *Dir // in the ring of idle folders
}

// Root returns the folder at a path. Symlinks in the path are followed. The folder's entries can be reached
// but it can not be listed, and so it need not be readable.
func (p *Pool) Root(path string) *Dir { return &Dir{pool: p, name: path, path: true} }

// Child returns the folder of the given name in d. Nothing is opened yet.
func (d *Dir) Child(name string) *Dir { return &Dir{pool: d.pool, parent: d, name: name} }

// use returns a descriptor that stays open until done is called.
func (d *Dir) use() (int, error) {
	if d.retain() {
		return d.fd, nil
	}
	d.opening.Lock()
	defer d.opening.Unlock()
	if d.retain() { // somebody else was faster
		return d.fd, nil
	}
	fd, err := d.openIt()
	if err != nil {
		return -1, err
	}
	p := d.pool
	p.mu.Lock()
	d.isOpen, d.fd, d.users = true, fd, 1
	p.open++
	evicted := p.evict()
	p.mu.Unlock()
	closeAll(evicted)
	return fd, nil
}

func (d *Dir) retain() bool {
	d.pool.mu.Lock()
	defer d.pool.mu.Unlock()
	if !d.isOpen {
		return false
	}
	if d.users == 0 {
		d.unlink()
	}
	d.users++
	return true
}

func (d *Dir) done() {
	p := d.pool
	p.mu.Lock()
	if d.users--; d.users == 0 {
		d.prev, d.next = p.idle.prev, &p.idle
		d.prev.next, d.next.prev = d, d
	}
	evicted := p.evict()
	p.mu.Unlock()
	closeAll(evicted)
}

// Close closes the folder. It is opened again if it is used again.
func (d *Dir) Close() {
	p := d.pool
	p.mu.Lock()
	fd := -1
	if d.isOpen && d.users == 0 {
		d.unlink()
		fd = d.forget()
	}
	p.mu.Unlock()
	if fd >= 0 {
		closeAll([]int{fd})
	}
}

// Close closes all folders that nobody is using.
func (p *Pool) Close() {
	p.mu.Lock()
	limit := p.limit
	p.limit = 0
	evicted := p.evict()
	p.limit = limit
	p.mu.Unlock()
	closeAll(evicted)
}

// evict takes the longest unused folders out of the pool until it keeps to its limit, and returns
// their descriptors. More than the limit are open only while all of them are in use.
func (p *Pool) evict() (fds []int) {
	for p.open > p.limit && p.idle.next != &p.idle {
		d := p.idle.next
		d.unlink()
		fds = append(fds, d.forget())
	}
	return fds
}

func (d *Dir) unlink() {
	d.prev.next, d.next.prev = d.next, d.prev
	d.prev, d.next = nil, nil
}

func (d *Dir) forget() int {
	d.isOpen = false
	d.pool.open--
	return d.fd
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd) // it was only read from
	}
}

func (d *Dir) openIt() (int, error) {
	fd, err := d.openat()
	if err != nil {
		return -1, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		closeAll([]int{fd})
		return -1, fmt.Errorf("stat: %w", err)
	}
	if d.known && (d.dev != st.Dev || d.ino != st.Ino) {
		closeAll([]int{fd})
		return -1, ErrReplaced
	}
	d.known, d.dev, d.ino = true, st.Dev, st.Ino
	return fd, nil
}

func (d *Dir) openat() (int, error) {
	if d.path {
		return openat(unix.AT_FDCWD, d.name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)
	}
	at, err := d.parent.use()
	if err != nil {
		return -1, err
	}
	defer d.parent.done()
	fd, err := openat(at, d.name, dirFlags|unix.O_NOATIME)
	if errors.Is(err, unix.EPERM) { // only owners may ask for O_NOATIME
		fd, err = openat(at, d.name, dirFlags)
	}
	return fd, err
}

func openat(at int, name string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(at, name, flags, 0)
		if err == nil {
			return fd, nil
		}
		if err != unix.EINTR {
			return -1, fmt.Errorf("open: %w", err)
		}
	}
}
