package remote

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/remote/frames"
)

// calls are the requests of the far side, many at once. It is safe for concurrent use.
type calls struct {
	conn   *frames.Conn
	slots  *semaphore.Weighted // maxCalls
	window *semaphore.Weighted // maxWindow
	// large has a value while a large body is sent. One after the other: of several that are under way when the connection
	// is cut all would have been sent in vain.
	large chan struct{}

	running sync.WaitGroup // what tells the other side that a request is given up

	mu    sync.Mutex
	last  uint32
	open  map[uint32]*call
	ended error
}

// call is a request that has no whole answer yet.
type call struct {
	id      uint32
	release func() // called once it is over
	done    chan struct{}

	mu    sync.Mutex // guards what follows until done is closed
	given bool       // up: nobody reads reply and body any more
	have  bool       // reply
	reply reply
	left  int // bytes of the body that have not come
	body  []byte
	buf   []byte // memory for the body, if it is enough
	moved func(int)
	err   error // why there is no answer
}

func newCalls(conn *frames.Conn) *calls {
	return &calls{
		conn: conn, slots: semaphore.NewWeighted(maxCalls), window: semaphore.NewWeighted(maxWindow),
		large: make(chan struct{}, 1), open: map[uint32]*call{},
	}
}

// do makes a request and waits for its answer. body is not used after that, and the answer's body is in buf if it
// has room for it. An error is that of the connection, the cause of ctx, or what the other side has answered.
func (c *calls) do(ctx context.Context, q *request, body, buf []byte, compress bool) (*reply, []byte, error) {
	k, err := c.begin(ctx, len(body), buf)
	if err != nil {
		return nil, nil, err
	}
	if err := c.send(ctx, k, q, body, compress); err != nil {
		return nil, nil, err
	}
	select {
	case <-k.done:
	case <-ctx.Done():
		c.giveUp(k)
		return nil, nil, context.Cause(ctx)
	}
	if k.err != nil {
		return nil, nil, k.err
	}
	if err := k.reply.failure(q); err != nil {
		return nil, nil, err
	}
	return &k.reply, k.body, nil
}

// begin waits until a request with a body may be sent.
func (c *calls) begin(ctx context.Context, body int, buf []byte) (*call, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err := c.slots.Acquire(ctx, 1); err != nil {
		return nil, context.Cause(ctx)
	}
	if err := c.window.Acquire(ctx, int64(body)); err != nil {
		c.slots.Release(1)
		return nil, context.Cause(ctx)
	}
	k := &call{buf: buf, moved: backends.ProgressOf(ctx).Moved}
	k.release = func() {
		c.window.Release(int64(body))
		c.slots.Release(1)
	}
	return k, c.enter(k)
}

// enter gives a call an id. After an error it is over.
func (c *calls) enter(k *call) error {
	k.done = make(chan struct{})
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended != nil {
		k.release()
		return c.ended
	}
	for k.id == 0 || c.open[k.id] != nil { // 0 is the hello's
		c.last++
		k.id = c.last
	}
	c.open[k.id] = k
	return nil
}

// largeBody is the size from which a body is large: smaller ones go between the pieces of one.
const largeBody = 1 << 20

// send sends a request. After an error it is over.
func (c *calls) send(ctx context.Context, k *call, q *request, body []byte, compress bool) error {
	if len(body) >= largeBody {
		select {
		case c.large <- struct{}{}:
			defer func() { <-c.large }()
		case <-k.done: // with the connection
			return k.err
		case <-ctx.Done():
			c.finish(k, context.Cause(ctx))
			return context.Cause(ctx)
		}
	}
	q.Body = uint32(len(body))
	head, err := wire.Marshal(q)
	if err == nil && (len(head) > maxHeader || len(body) > int(q.Op.maxBody())) {
		err = fmt.Errorf("remote: %v of %d bytes is too long", q.Op, len(head)+len(body))
	}
	if err == nil {
		err = c.conn.Send(ctx, requestFrame, k.id, head)
	}
	if err == nil {
		if err = c.conn.SendRow(ctx, k.id, body, compress, k.moved); err != nil {
			_ = c.conn.Abort(k.id) // which fails only with the connection
		}
	}
	if err != nil {
		c.finish(k, err)
	}
	return err
}

// giveUp lets nobody wait for the answer. The request is over when the other side says so.
func (c *calls) giveUp(k *call) {
	k.mu.Lock()
	k.given, k.buf, k.body = true, nil, nil
	k.mu.Unlock()
	c.running.Go(func() { _ = c.conn.Send(context.Background(), cancelFrame, k.id, nil) }) // ends with the connection
}

// finish makes a call one that is over, with an error if there is no answer.
func (c *calls) finish(k *call, err error) {
	c.mu.Lock()
	_, open := c.open[k.id]
	delete(c.open, k.id)
	c.mu.Unlock()
	if !open {
		return
	}
	k.err = err
	k.release()
	close(k.done)
}

// end ends all calls, now and later.
func (c *calls) end(err error) {
	c.mu.Lock()
	c.ended = err
	open := slices.Collect(maps.Values(c.open))
	c.mu.Unlock()
	for _, k := range open {
		c.finish(k, err)
	}
}

func (c *calls) of(id uint32) (*call, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.open[id]; k != nil {
		return k, nil
	}
	return nil, fmt.Errorf("%w: answer to request %d, which there is not", ErrProtocol, id)
}

// replied takes the beginning of an answer.
func (c *calls) replied(id uint32, payload []byte) error {
	k, err := c.of(id)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.have {
		return fmt.Errorf("%w: second answer to request %d", ErrProtocol, id)
	}
	if err := decode(payload, &k.reply); err != nil {
		return err
	}
	if k.reply.Body > backends.MaxObject {
		return fmt.Errorf("%w: answer of %d bytes", ErrProtocol, k.reply.Body)
	}
	k.have, k.left = true, int(k.reply.Body)
	if k.left == 0 {
		c.finish(k, nil)
		return nil
	}
	if !k.given {
		k.body = backends.Buffer(k.buf, int64(k.left))[:0]
	}
	return nil
}

// came takes a piece of an answer.
func (c *calls) came(f frames.Frame) error {
	k, err := c.of(f.ID)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.have {
		return fmt.Errorf("%w: piece of no answer to request %d", ErrProtocol, f.ID)
	}
	if f.Flags&frames.Abort != 0 {
		c.finish(k, context.Canceled)
		return nil
	}
	if len(f.Payload) == 0 || len(f.Payload) > k.left {
		return fmt.Errorf("%w: %d bytes for request %d", ErrProtocol, len(f.Payload), f.ID)
	}
	if !k.given {
		k.body = append(k.body, f.Payload...)
		k.moved(len(f.Payload))
	}
	if k.left -= len(f.Payload); k.left == 0 {
		c.finish(k, nil)
	}
	return nil
}

// valid makes text that every reader takes.
func valid(s string) string { return string(bytes.ToValidUTF8([]byte(s), []byte("\uFFFD"))) }
