package powerloss_test

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"math"
	"sync"
	"testing"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/local"
	"github.com/kura-backup/kura/internal/durable"
	"github.com/kura-backup/kura/internal/durable/lossy"
)

const never = math.MaxInt

// ledger is what happened on a disk, and when: at which number of operations. It is
// safe for concurrent use.
type ledger struct {
	disk *lossy.Disk

	mu      sync.Mutex
	puts    map[string][]*put
	deleted map[string]int // when the first deletion of the name began
	acks    []int          // ascending
	clients []*client
}

// put is one attempt to create an object.
type put struct {
	data  []byte
	acked int
	by    *client
	saw   int // how many of the client's names were seen before
}

// client is a Store as one process has it, whose calls are written into the ledger.
type client struct {
	backends.Store
	l    *ledger
	saw  map[string]bool
	list []string // of saw, in the order in which they were seen
}

func newLedger(d *lossy.Disk) *ledger {
	return &ledger{disk: d, puts: map[string][]*put{}, deleted: map[string]int{}}
}

// client opens the store in dir for a process.
func (l *ledger) client(fsys durable.FS) *client {
	c := &client{Store: local.New(fsys), l: l, saw: map[string]bool{}}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clients = append(l.clients, c)
	return c
}

// ack notes that something was reported as done just now.
func (l *ledger) ack() int {
	at := l.disk.Ops()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acks = append(l.acks, at)
	return at
}

// epoch is how many things had been reported as done after so many operations.
func (l *ledger) epoch(at int) (n uint64) {
	for _, a := range l.acks {
		if a <= at {
			n++
		}
	}
	return n
}

// foreign notes an object that another program put in place, without a promise.
func (l *ledger) foreign(name string, data []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.puts[name] = append(l.puts[name], &put{data: data, acked: never})
}

func (c *client) Unwrap() backends.Store { return c.Store }

func (c *client) Put(ctx context.Context, name string, data []byte) error {
	p := &put{data: bytes.Clone(data), acked: never, by: c}
	c.l.mu.Lock()
	p.saw = len(c.list)
	c.l.puts[name] = append(c.l.puts[name], p)
	c.l.mu.Unlock()
	err := c.Store.Put(ctx, name, data)
	if err == nil {
		at := c.l.ack()
		c.l.mu.Lock()
		p.acked = at
		c.l.mu.Unlock()
	}
	return err
}

func (c *client) see(name string) {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	if !c.saw[name] {
		c.saw[name] = true
		c.list = append(c.list, name)
	}
}

func (c *client) Get(ctx context.Context, name string, offset, length int64, buf []byte) ([]byte, error) {
	b, err := c.Store.Get(ctx, name, offset, length, buf)
	if err == nil {
		c.see(name)
	}
	return b, err
}

func (c *client) List(ctx context.Context, prefix, after string) iter.Seq2[backends.Info, error] {
	return func(yield func(backends.Info, error) bool) {
		for info, err := range c.Store.List(ctx, prefix, after) {
			if err == nil {
				c.see(info.Name)
			}
			if !yield(info, err) {
				return
			}
		}
	}
}

func (c *client) Delete(ctx context.Context, name string) error {
	at := c.l.disk.Ops()
	c.l.mu.Lock()
	if _, ok := c.l.deleted[name]; !ok {
		c.l.deleted[name] = at
	}
	c.l.mu.Unlock()
	return c.Store.Delete(ctx, name)
}

// mayBeGone reports whether the deletion of a name had begun after so many operations.
func (l *ledger) mayBeGone(name string, at int) bool {
	began, ok := l.deleted[name]
	return ok && began < at
}

// verify compares what a store shows after a power failure, at so many operations, with
// the ledger, and returns the names that are there.
func (l *ledger) verify(ctx context.Context, at int, s backends.Store) (map[string]bool, error) {
	there := map[string]bool{}
	rested := map[*client]int{} // how much of what a client saw something rests on
	var buf []byte
	for info, err := range s.List(ctx, "", "") {
		if err != nil {
			return nil, err
		}
		there[info.Name] = true
		if buf, err = s.Get(ctx, info.Name, 0, -1, buf); err != nil {
			return nil, err
		}
		p := l.whose(info.Name, buf, at)
		if p == nil {
			return nil, fmt.Errorf("%s has bytes that nobody put there, or others than were acknowledged", info.Name)
		}
		if p.by != nil {
			rested[p.by] = max(rested[p.by], p.saw)
		}
	}
	for name, puts := range l.puts {
		if there[name] || l.mayBeGone(name, at) {
			continue
		}
		for _, p := range puts {
			if p.acked <= at {
				return nil, fmt.Errorf("%s is lost: its Put was acknowledged at operation %d", name, p.acked)
			}
		}
	}
	for c, n := range rested {
		for _, name := range c.list[:n] {
			if !there[name] && !l.mayBeGone(name, at) {
				return nil, fmt.Errorf("%s is lost: a process saw it, and what it put after that is there", name)
			}
		}
	}
	return there, nil
}

// whose returns the attempt that gave an object its bytes.
func (l *ledger) whose(name string, data []byte, at int) *put {
	var found *put
	for _, p := range l.puts[name] {
		equal := bytes.Equal(p.data, data)
		if p.acked <= at && !equal {
			return nil
		}
		if equal && (found == nil || p.acked < found.acked) {
			found = p
		}
	}
	return found
}

// tally counts what a test did.
type tally struct {
	states, prefixes, operations, acknowledged, full int
}

func (n *tally) log(t testing.TB, what string, seed uint64) {
	t.Logf("%s: %d different states after %d prefixes of %d operations, %d acknowledgements; %d full checks; seed %d",
		what, n.states, n.prefixes, n.operations, n.acknowledged, n.full, seed)
}

// settled notes that a client takes its Put for done.
func (l *ledger) settled(name string, data []byte) {
	at := l.ack()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.puts[name] {
		if bytes.Equal(p.data, data) {
			p.acked = min(p.acked, at)
		}
	}
}

// reopen opens the store on a disk after a power failure. A folder that is lost is an
// empty store.
func (l *ledger) reopen(d *lossy.Disk, dir string) backends.Store {
	m := d.Mount(".")
	if err := durable.MkdirAll(m, dir, 0o700); err != nil {
		panic(err) // there is nothing on this disk that could be in the way
	}
	return local.New(d.Mount(dir))
}
