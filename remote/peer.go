package remote

import (
	"context"
	"io"
	"slices"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/remote/frames"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/seal"
)

// Peer is the far side: it has the command, and the repository of whoever serves. It is safe for concurrent use.
type Peer struct {
	conn    *frames.Conn
	calls   *calls
	hello   hello
	keys    *seal.Keyring
	ctx     context.Context
	stop    context.CancelCauseFunc
	reading sync.WaitGroup
	ending  sync.WaitGroup

	outputs *semaphore.Weighted
	writing sync.Mutex // held while a piece of output is sent: so they stay in order
}

// Dial greets the side that serves. The error wraps ErrCut, ErrProtocol or ErrVersion, or is the cause of ctx, which counts
// for the greeting alone. Whoever dials must read and write nothing else on conn, before or after. Dial closes conn if it
// fails, also when nothing comes for a minute, and does not wait for a Read that this does not end.
func Dial(ctx context.Context, conn io.ReadWriteCloser, version string) (*Peer, error) {
	p := &Peer{conn: frames.New(conn), outputs: semaphore.NewWeighted(maxOutputs)}
	p.calls = newCalls(p.conn)
	p.ending.Go(p.listen)
	stop := context.AfterFunc(ctx, func() { _ = p.conn.End(context.Cause(ctx)) })
	greeted := make(chan error, 1)
	p.reading.Go(func() { greeted <- p.greet(ctx, version) })
	var err error
	select {
	case err = <-greeted:
	case <-p.conn.Ended(): // of which a Read may not notice anything
		err = p.conn.Err()
	}
	if !stop() && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err == nil {
		p.ctx, p.stop = context.WithCancelCause(context.WithoutCancel(ctx))
		p.keys, err = seal.Borrow(p.hello.Keys, &lender{p.calls, p.ctx, p.hello.Data, p.hello.Meta})
	}
	if err != nil {
		_ = p.conn.End(err) // the first error is the one to tell
		p.ending.Wait()
		return nil, err
	}
	p.begin()
	return p, nil
}

// begin begins to read answers.
func (p *Peer) begin() {
	p.ending.Go(func() { // not by whoever reads, who may not notice that nothing can be written any more
		<-p.conn.Ended()
		p.calls.end(p.conn.Err())
		p.stop(p.conn.Err())
	})
	p.reading.Go(p.read)
}

// greet says what this is, and hears what is to be done.
func (p *Peer) greet(ctx context.Context, version string) error {
	if err := p.conn.WriteRaw([]byte(greeting)); err != nil {
		return err
	}
	f, err := p.conn.Read()
	if err != nil {
		return err
	}
	var a announced
	if f.Type != helloFrame {
		return unexpected(f)
	}
	if err := decode(f.Payload, &a); err != nil {
		return err
	}
	body, err := readRow(p.conn, a.Body, maxHello)
	if err != nil {
		return err
	}
	if err := decode(body, &p.hello); err != nil {
		return err
	}
	answer, err := wire.Marshal(&welcome{Version: version})
	if err != nil {
		return err
	}
	if err := p.conn.Send(ctx, welcomeFrame, 0, answer); err != nil {
		return err
	}
	if p.hello.Version != version {
		return otherVersion(p.hello.Version, version)
	}
	return p.hello.Purpose.check()
}

// read reads until the connection ends.
func (p *Peer) read() {
	for {
		f, err := p.conn.Read()
		if err == nil {
			err = p.frame(f)
		}
		if err != nil {
			_ = p.conn.End(err)
			return
		}
	}
}

func (p *Peer) frame(f frames.Frame) error {
	switch {
	case f.Type == replyFrame:
		return p.calls.replied(f.ID, f.Payload)
	case f.Type == frames.Data:
		return p.calls.came(f)
	case f.Type == aliveFrame:
		return nil
	case f.Type == cancelFrame && f.ID == 0:
		p.stop(context.Canceled)
		return nil
	}
	return unexpected(f)
}

// Command is what is to be run.
func (p *Peer) Command() Command {
	h := &p.hello
	return Command{
		Args: slices.Clone(h.Args), Env: slices.Clone(h.Env),
		Terminal: Terminal{Width: int(h.Width), Color: h.Color, Live: h.Live},
	}
}

// Purpose is what the command is for.
func (p *Peer) Purpose() Purpose { return p.hello.Purpose }

// Context ends when the connection is cut, with a cause that wraps ErrCut, or when the other side wants the command to
// stop, with context.Canceled. The command runs under it.
func (p *Peer) Context() context.Context { return p.ctx }

// Cut is why the connection has ended, an error that wraps ErrCut or ErrProtocol, or nil: then whatever has failed has
// failed for another reason.
func (p *Peer) Cut() error { return p.conn.Err() }

// Open opens the repository of the other side. What has to be kept in between lies below cacheDir, as with
// [repo.OpenOptions]; it is little, since the index stays on the other side. The store is closed with the Peer.
func (p *Peer) Open(ctx context.Context, cacheDir string) (*repo.Repository, error) {
	return repo.Open(ctx, p.Store(), repo.OpenOptions{
		Keys: p.keys, CacheDir: cacheDir, Index: &farIndex{p.calls, p.ctx},
	})
}

// Store is the store of the other side, as far as the command may use it. To close it closes nothing: the Peer does.
func (p *Peer) Store() backends.Store {
	return &store{p.calls, backends.Caps{CreateOnly: p.hello.OnlyOnce, Durable: p.hello.Durable}}
}

// Stdout returns a writer of which the bytes are printed on the other side. Write returns when they are on their way.
func (p *Peer) Stdout() io.Writer { return &output{p, 1} }

// Stderr is Stdout for messages. What is written to both comes out in the order in which it was written.
func (p *Peer) Stderr() io.Writer { return &output{p, 2} }

// output is a stream of output. It is safe for concurrent use.
type output struct {
	p      *Peer
	number uint64
}

// Write implements [io.Writer].
func (o *output) Write(b []byte) (n int, err error) {
	o.p.writing.Lock()
	defer o.p.writing.Unlock()
	for n < len(b) {
		piece := b[n:min(len(b), n+maxOutput)]
		if err := o.p.print(o.number, piece); err != nil {
			return n, err
		}
		n += len(piece)
	}
	return n, nil
}

// print sends a piece of output, and does not wait for the answer.
func (p *Peer) print(number uint64, piece []byte) error {
	ctx := context.WithoutCancel(p.ctx) // a command that is to stop has things to say; the connection ends everything
	if err := p.outputs.Acquire(ctx, 1); err != nil {
		return err
	}
	k := &call{release: func() { p.outputs.Release(1) }}
	if err := p.calls.enter(k); err != nil {
		return err
	}
	return p.calls.send(ctx, k, &request{Op: opOutput, Number: number}, piece, true)
}

// Finish tells the other side how the command ended, after all that was printed, and closes the connection.
func (p *Peer) Finish(exit int) error {
	err := p.outputs.Acquire(context.WithoutCancel(p.ctx), maxOutputs) // all of it was taken, or the connection has ended
	if err == nil {
		err = p.conn.Err()
	}
	var last []byte
	if err == nil {
		last, err = wire.Marshal(&finish{Exit: uint8(exit)})
	}
	if err == nil {
		err = p.conn.Send(context.Background(), finishFrame, 0, last)
	}
	if err == nil {
		<-p.conn.Ended() // the other side closes it when it has read the last frame
	}
	p.Close()
	return err
}

// Close ends the connection. Unless Finish was called the other side sees it as cut. It does not wait for a Read of the
// connection that its Close does not end.
func (p *Peer) Close() {
	_ = p.conn.End(ErrClosed)
	p.ending.Wait()
	p.calls.running.Wait()
}
