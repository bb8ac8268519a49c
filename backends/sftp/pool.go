package sftp

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/sshrun"
)

// stall is for how long nothing may arrive while an answer is awaited. Slow disks need seconds for a sync.
var stall = 2 * time.Minute

// pool is the connections to a server. It is safe for concurrent use.
type pool struct {
	start func(mayAsk bool) (*sshrun.Process, func(), error)
	stall time.Duration
	wg    sync.WaitGroup

	mu      sync.Mutex
	max     int // how many connections there may be; fewer once the server has refused one
	misses  int // attempts at further connections that failed one after the other
	conns   []*conn
	dialing *dialing // the attempt under way, if any
	closed  bool
	told    map[*call]struct{}
}

// dialing is an attempt to connect. Its result is set before done is closed.
type dialing struct {
	mayAsk bool
	proc   *sshrun.Process // guarded by pool.mu
	done   chan struct{}
	err    error
}

// call is an operation of the Store.
type call struct{ progress backends.Progress }

func newPool(connections int, start func(mayAsk bool) (*sshrun.Process, func(), error)) *pool {
	return &pool{start: start, stall: stall, max: connections, told: make(map[*call]struct{})}
}

// get returns a connection, the least busy one there is. It waits for the first one, and has another one
// started when all are busy.
func (p *pool) get() (*conn, error) {
	p.mu.Lock()
	for {
		if p.closed {
			p.mu.Unlock()
			return nil, errClosed
		}
		if len(p.conns) > 0 {
			break
		}
		d := p.dial(true)
		p.mu.Unlock()
		<-d.done
		if d.err != nil && d.mayAsk {
			return nil, d.err
		}
		p.mu.Lock()
	}
	defer p.mu.Unlock()
	c := slices.MinFunc(p.conns, func(a, b *conn) int { return a.load - b.load })
	if c.load > 0 && len(p.conns) < p.max && p.dialing == nil {
		p.dial(false)
	}
	c.load++
	return c, nil
}

func (p *pool) put(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.load--
}

func (p *pool) isBusy(c *conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return c.load > 0
}

func (p *pool) remove(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns = slices.DeleteFunc(p.conns, func(other *conn) bool { return other == c })
}

// dial begins to connect, or returns the attempt that is under way. The pool is locked.
func (p *pool) dial(mayAsk bool) *dialing {
	if p.dialing != nil {
		return p.dialing
	}
	d := &dialing{mayAsk: mayAsk, done: make(chan struct{})}
	p.dialing = d
	p.wg.Go(func() {
		c, err := p.connect(d)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.dialing = nil
		d.err = p.take(d, c, err)
		close(d.done)
	})
	return d
}

// take adds what came of an attempt to connect. The pool is locked.
func (p *pool) take(d *dialing, c *conn, err error) error {
	switch {
	case err == nil && p.closed:
		p.wg.Go(c.breakUp)
		return errClosed
	case err == nil:
		p.misses = 0
		p.conns = append(p.conns, c)
		p.wg.Go(func() { c.watch(p.stall) })
	case !d.mayAsk:
		p.misses++
		if ce, ok := lost(err); ok && ce.denied || p.misses == maxMisses {
			// Those that are there have to do: the server wants no more, or a passphrase each time.
			p.max = max(1, len(p.conns))
		}
	}
	return err
}

const maxMisses = 3

func (p *pool) connect(d *dialing) (*conn, error) {
	proc, handBack, err := p.start(d.mayAsk)
	if err != nil {
		return nil, &ConnectionError{Err: err, denied: true}
	}
	defer handBack()
	p.mu.Lock()
	d.proc = proc
	closed := p.closed
	p.mu.Unlock()
	if closed {
		proc.End()
		return nil, errClosed
	}
	c, err := handshake(p, proc)
	if err != nil {
		proc.Close()
		return nil, failure(proc, err)
	}
	return c, nil
}

// shake breaks whatever may keep an operation waiting.
func (p *pool) shake() {
	p.mu.Lock()
	var busy []*conn
	for _, c := range p.conns {
		if c.load > 0 {
			busy = append(busy, c)
		}
	}
	var proc *sshrun.Process
	if p.dialing != nil {
		proc = p.dialing.proc
	}
	p.mu.Unlock()
	for _, c := range busy {
		c.breakUp()
	}
	if proc != nil {
		proc.End()
	}
}

// begin notes an operation that wants to know what is moved. Which of the connections serve it is not known
// here: one that stands still is for its watch to notice.
func (p *pool) begin(ctx context.Context) (end func()) {
	c := &call{backends.ProgressOf(ctx)}
	c.progress.Moved(0)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.told[c] = struct{}{}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.told, c)
	}
}

func (p *pool) moved(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.told {
		c.progress.Moved(n)
	}
}

// close ends all connections and waits until no process is left.
func (p *pool) close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return errClosed
	}
	p.closed = true
	conns := p.conns
	p.conns = nil
	var proc *sshrun.Process
	if p.dialing != nil {
		proc = p.dialing.proc
	}
	p.mu.Unlock()
	if proc != nil {
		proc.End()
	}
	var closing sync.WaitGroup
	for _, c := range conns {
		closing.Go(func() {
			c.proc.Close()
			c.breakUp()
		})
	}
	closing.Wait()
	p.wg.Wait()
	return nil
}

// lost returns the broken connection that an error tells of, if it does.
func lost(err error) (*ConnectionError, bool) { return errors.AsType[*ConnectionError](err) }
