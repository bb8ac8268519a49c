package remote

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/remote/frames"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/seal"
)

// oneWay is one direction of a connection, with room for so much on its way, as pipes and sockets have.
type oneWay struct {
	mu     sync.Mutex
	cond   *sync.Cond
	buf    []byte
	closed bool

	moved atomic.Int64
	cutAt int64 // after so many bytes the connection is cut; 0: never
	onCut func()
}

const inTransit = 256 << 10

func newOneWay() *oneWay {
	w := new(oneWay)
	w.cond = sync.NewCond(&w.mu)
	return w
}

func (w *oneWay) Write(b []byte) (n int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for n < len(b) {
		for len(w.buf) >= inTransit && !w.closed {
			w.cond.Wait()
		}
		if w.closed {
			return n, io.ErrClosedPipe
		}
		k := min(len(b)-n, inTransit-len(w.buf))
		if w.cutAt > 0 {
			k = int(min(int64(k), w.cutAt-w.moved.Load()))
		}
		w.buf = append(w.buf, b[n:n+k]...)
		n += k
		w.cond.Broadcast()
		if w.moved.Add(int64(k)); w.cutAt > 0 && w.moved.Load() >= w.cutAt {
			w.closed = true
			go w.onCut()
			return n, io.ErrClosedPipe
		}
	}
	return n, nil
}

func (w *oneWay) Read(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.buf) == 0 {
		if w.closed {
			return 0, io.EOF
		}
		w.cond.Wait()
	}
	n := copy(b, w.buf)
	w.buf = append(w.buf[:0], w.buf[n:]...)
	w.cond.Broadcast()
	return n, nil
}

func (w *oneWay) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.cond.Broadcast()
}

// end is one end of a connection.
type end struct {
	in, out *oneWay
}

func (e *end) Read(b []byte) (int, error)  { return e.in.Read(b) }
func (e *end) Write(b []byte) (int, error) { return e.out.Write(b) }
func (e *end) Close() error {
	e.in.close()
	e.out.close()
	return nil
}

// pipe is a connection in memory.
type pipe struct {
	here, there *end
	up, down    *oneWay // from there, and to there
}

func newPipe() *pipe {
	p := &pipe{up: newOneWay(), down: newOneWay()}
	p.here, p.there = &end{p.up, p.down}, &end{p.down, p.up}
	cut := func() { p.up.close(); p.down.close() }
	p.up.onCut, p.down.onCut = cut, cut
	return p
}

// anything lets everything through to a store.
type anything struct{ s backends.Store }

func (a anything) get(string) error                              { return nil }
func (a anything) list(string) error                             { return nil }
func (a anything) delete(ctx context.Context, name string) error { return a.s.Delete(ctx, name) }
func (a anything) put(ctx context.Context, name string, data []byte) error {
	return a.s.Put(ctx, name, data)
}

func (a anything) sign(context.Context, object.Class, []byte, []byte) ([64]byte, error) {
	return [64]byte{}, ErrDenied
}

func (a anything) secret(seal.Kind, uint32, []byte) ([32]byte, error) { return [32]byte{}, ErrDenied }

// bare is a store at the other end of a pipe, without greeting or gate.
func bare(t testing.TB, inner backends.Store, p *pipe) *store {
	t.Helper()
	s := newServer(p.here, inner, anything{inner}, nil)
	var all sync.WaitGroup
	all.Go(func() { _ = s.serve(context.Background()) }) // a cut is what some tests are about
	peer := &Peer{conn: frames.New(p.there)}
	peer.calls = newCalls(peer.conn)
	peer.ctx, peer.stop = context.WithCancelCause(context.Background())
	peer.begin()
	t.Cleanup(func() {
		peer.Close()
		peer.reading.Wait()
		all.Wait()
	})
	return &store{peer.calls, inner.Caps()}
}

// serving is a Serve that runs beside the test.
type serving struct {
	*pipe
	peer   *Peer
	result Result
	err    error
	done   chan struct{}
}

const version = "test 1"

// serve serves a repository to a Peer, which is closed with the test.
func serve(t testing.TB, ctx context.Context, p *pipe, o ServeOptions) *serving {
	t.Helper()
	s := &serving{pipe: p, done: make(chan struct{})}
	o.Version = version
	go func() {
		defer close(s.done)
		s.result, s.err = Serve(ctx, p.here, o)
	}()
	peer, err := Dial(t.Context(), p.there, version)
	if err != nil {
		<-s.done
		if errors.Is(err, ErrCut) && p.up.cutAt+p.down.cutAt > 0 {
			return s // which is what the test wanted
		}
		t.Fatal(err, s.err)
	}
	s.peer = peer
	t.Cleanup(func() {
		peer.Close()
		<-s.done
		peer.reading.Wait()
	})
	return s
}

// finish ends the command and returns what Serve has.
func (s *serving) finish(t testing.TB) Result {
	t.Helper()
	if err := s.peer.Finish(0); err != nil {
		t.Fatal(err)
	}
	<-s.done
	if s.err != nil || s.result.Exit != 0 {
		t.Fatalf("exit %d: %v", s.result.Exit, s.err)
	}
	return s.result
}

// open opens the repository at the other end.
func (s *serving) open(t testing.TB) *repo.Repository {
	t.Helper()
	r, err := s.peer.Open(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}
