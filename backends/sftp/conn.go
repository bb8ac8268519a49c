package sftp

import (
	"io"
	"sync/atomic"
	"time"

	"github.com/pkg/sftp"

	"github.com/kura-backup/kura/internal/sshrun"
)

// conn is a connection: an ssh process and the client that speaks through it.
type conn struct {
	pool   *pool
	proc   *sshrun.Process
	client *sftp.Client
	load   int // requests and open files; guarded by pool.mu

	received atomic.Int64 // bytes
	broken   chan struct{}
	breaking atomic.Bool
}

// requests is how many pieces of a file are on their way at once on a connection. With 32 KiB each that is as
// much as ssh itself lets be on its way.
const requests = 64

// handshake makes a client of a process that was started.
func handshake(p *pool, proc *sshrun.Process) (*conn, error) {
	c := &conn{pool: p, proc: proc, broken: make(chan struct{})}
	client, err := sftp.NewClientPipe(
		&counter{c: c, r: proc.Out}, &writeCounter{proc.In, p},
		sftp.UseConcurrentWrites(true), sftp.MaxConcurrentRequestsPerFile(requests),
	)
	if err != nil {
		return nil, err
	}
	c.client = client
	return c, nil
}

// breakUp ends a connection that is of no use any more, or stuck, and with it all of its requests.
func (c *conn) breakUp() {
	c.pool.remove(c)
	if c.breaking.CompareAndSwap(false, true) {
		close(c.broken)
		c.pool.wg.Go(func() {
			c.proc.Kill()
			_ = c.client.Close() // all that it had was the process
		})
	}
}

// failure is the error of a request that the connection did not survive. It had been let in, so another can be,
// whatever ssh has said of a password that was typed wrong first, or the server in its banner.
func (c *conn) failure(err error) error {
	c.breakUp()
	failed := failure(c.proc, err)
	failed.denied = false
	return failed
}

// watch breaks the connection when an answer is awaited and nothing comes for some time.
func (c *conn) watch(stall time.Duration) {
	ticker := time.NewTicker(stall)
	defer ticker.Stop()
	var last int64
	waited := false
	for {
		select {
		case <-c.broken:
			return
		case <-c.proc.Done():
			c.breakUp()
			return
		case <-ticker.C:
		}
		now, waiting := c.received.Load(), c.pool.isBusy(c)
		if waited && waiting && now == last {
			c.breakUp()
			return
		}
		last, waited = now, waiting
	}
}

// counter counts what arrives.
type counter struct {
	c *conn
	r io.Reader
}

func (r *counter) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.c.received.Add(int64(n))
	r.c.pool.moved(n)
	return n, err
}

// writeCounter counts what is sent.
type writeCounter struct {
	io.WriteCloser
	pool *pool
}

func (w *writeCounter) Write(p []byte) (int, error) {
	n, err := w.WriteCloser.Write(p)
	w.pool.moved(n)
	return n, err
}
