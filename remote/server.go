package remote

import (
	"context"
	"fmt"
	"io"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/remote/frames"
	"github.com/kura-backup/kura/seal"
)

// guard is what decides about the store; a gate, but for tests of the connection alone.
type guard interface {
	get(name string) error
	list(prefix string) error
	delete(ctx context.Context, name string) error
	put(ctx context.Context, name string, data []byte) error
	sign(ctx context.Context, class object.Class, binding, payload []byte) ([64]byte, error)
	secret(kind seal.Kind, epoch uint32, sealed []byte) ([32]byte, error)
}

// server answers requests. What comes is not to be trusted, and is counted before there is memory for it.
type server struct {
	conn  *frames.Conn
	store backends.Store
	guard guard
	views *views

	stdout, stderr io.Writer
	answers        *semaphore.Weighted // maxAnswers
	lookups        *semaphore.Weighted // maxLookups
	verifying      *semaphore.Weighted // 1: each reads the whole index
	listing        *semaphore.Weighted // maxLists
	working        sync.WaitGroup
	puts           context.Context // of what is put: that goes on when the connection has ended
	output         chan *served    // in the order in which it came

	exit int

	mu      sync.Mutex
	open    map[uint32]*served
	calls   int // of them, those that are not output
	outputs int
	window  int // bytes of bodies
	unsent  int // replies whose requests are over, and that are not written yet
}

// served is a request that has no whole answer yet.
type served struct {
	id     uint32
	q      *request
	body   []byte // as far as it has come; of whoever answers, from then on
	whole  bool   // it is being answered; of whoever reads
	ctx    context.Context
	cancel context.CancelFunc
}

func newServer(conn io.ReadWriteCloser, store backends.Store, g guard, v *views) *server {
	return &server{
		conn: frames.New(conn), store: store, guard: g, views: v, exit: -1,
		answers: semaphore.NewWeighted(maxAnswers), lookups: semaphore.NewWeighted(maxLookups), verifying: semaphore.NewWeighted(1), listing: semaphore.NewWeighted(maxLists),
		output: make(chan *served, maxOutputs), open: map[uint32]*served{},
	}
}

// serve answers until the far side has finished, or the connection has ended.
func (s *server) serve(ctx context.Context) error {
	s.puts = ctx
	ctx, cancel := context.WithCancel(ctx)
	s.working.Go(s.print)
	s.working.Go(func() { s.beat(ctx) })
	err := s.read(ctx)
	close(s.output)
	if err != nil {
		_ = s.conn.End(err)
	}
	cancel()
	s.working.Wait()
	return err
}

func (s *server) read(ctx context.Context) error {
	for {
		f, err := s.conn.Read()
		if err != nil {
			return err
		}
		switch {
		case f.Type == requestFrame:
			err = s.request(ctx, f)
		case f.Type == frames.Data:
			err = s.piece(f)
		case f.Type == cancelFrame:
			if k := s.of(f.ID); k != nil { // else it is answered already
				k.cancel()
			}
		case f.Type == finishFrame:
			var last finish
			if err := decode(f.Payload, &last); err != nil {
				return err
			}
			s.exit = int(last.Exit)
			return nil
		default:
			err = unexpected(f)
		}
		if err != nil {
			return err
		}
	}
}

func (s *server) of(id uint32) *served {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open[id]
}

// request takes the beginning of a request.
func (s *server) request(ctx context.Context, f frames.Frame) error {
	q, err := decodeRequest(f.Payload)
	if err != nil {
		return err
	}
	k := &served{id: f.ID, q: q}
	s.mu.Lock()
	_, taken := s.open[f.ID]
	s.open[f.ID] = k
	s.window += int(q.Body)
	if q.Op == opOutput {
		s.outputs++
	} else {
		s.calls++
	}
	over := s.calls > maxCalls || s.outputs > maxOutputs || s.window > maxWindow+maxOutputs*maxOutput || s.unsent > maxUnsent
	s.mu.Unlock()
	if taken || f.ID == 0 || over {
		return fmt.Errorf("%w: %v request %d, of which there are too many or there is one, or whose answers nobody reads", ErrProtocol, q.Op, f.ID)
	}
	if q.Op == opPut {
		ctx = s.puts
	}
	k.ctx, k.cancel = context.WithCancel(ctx)
	if q.Body == 0 {
		s.start(k)
	}
	return nil
}

// firstRoom is how much memory there is for a body before any of it has come.
const firstRoom = 1 << 20

// piece takes a piece of the body of a request.
func (s *server) piece(f frames.Frame) error {
	k := s.of(f.ID)
	if k == nil || k.whole {
		return unexpected(f)
	}
	if f.Flags&frames.Abort != 0 {
		s.forget(k)
		return nil
	}
	have, all := len(k.body), int(k.q.Body)
	if len(f.Payload) == 0 || have+len(f.Payload) > all {
		return fmt.Errorf("%w: %d bytes more for a request of %d", ErrProtocol, len(f.Payload), all)
	}
	if have+len(f.Payload) > cap(k.body) {
		k.body = append(make([]byte, 0, min(all, max(firstRoom, 2*cap(k.body)))), k.body...)
	}
	if k.body = append(k.body, f.Payload...); len(k.body) == all {
		s.start(k)
	}
	return nil
}

// start begins to answer a request that is there as a whole.
func (s *server) start(k *served) {
	k.whole = true
	if k.q.Op == opOutput {
		s.output <- k // has room for as many as there may be
		return
	}
	s.working.Go(func() { s.answer(k) })
}

// print prints what the command does.
func (s *server) print() {
	for k := range s.output {
		w := s.stdout
		if k.q.Number == 2 {
			w = s.stderr
		}
		var err error
		if w != nil {
			_, err = w.Write(k.body)
		}
		s.reply(k, reply{}, nil, err)
	}
}

// forget makes a request one that is over.
func (s *server) forget(k *served) {
	k.cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, k.id)
	s.window -= int(k.q.Body)
	if k.q.Op == opOutput {
		s.outputs--
	} else {
		s.calls--
	}
}

// sending makes a request one that is over, but for the last of its reply, which counts until sent is called.
func (s *server) sending(k *served) (sent func()) {
	s.forget(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unsent++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.unsent--
	}
}

// reply answers a request. Before the last of it is sent the request is over here: as soon as it has come there may be
// another one. An error of the connection is told to whoever reads.
func (s *server) reply(k *served, r reply, body []byte, err error) {
	if err != nil {
		r, body = refuse(err), nil
	}
	r.Body = uint32(len(body))
	head, err := wire.Marshal(&r)
	if err != nil {
		_ = s.conn.End(err)
		return
	}
	k.body = nil
	if len(body) == 0 { // it can come again as soon as the answer is there
		defer s.sending(k)()
	}
	err = s.conn.Send(context.Background(), replyFrame, k.id, head)
	if err != nil || len(body) == 0 {
		return
	}
	last := body[max(0, len(body)-1)/frames.MaxPayload*frames.MaxPayload:]
	noise := k.q.Op == opGet && isPack(k.q.Name) || k.q.Op == opLookup
	if first := body[:len(body)-len(last)]; len(first) > 0 {
		err = s.conn.SendRow(k.ctx, k.id, first, !noise, nil)
	}
	defer s.sending(k)()
	if err != nil {
		_ = s.conn.Abort(k.id)
		return
	}
	_ = s.conn.SendRow(context.Background(), k.id, last, !noise, nil)
}

// answer does what is asked for.
func (s *server) answer(k *served) {
	r, body, release, err := s.do(k.ctx, k.q, k.body)
	s.reply(k, r, body, err)
	release()
}

func (s *server) do(ctx context.Context, q *request, data []byte) (r reply, body []byte, release func(), err error) {
	release = func() {}
	switch q.Op {
	case opGet:
		body, release, err = s.get(ctx, q)
	case opPut:
		if err = backends.CheckPut(q.Name, data); err == nil {
			err = s.guard.put(ctx, q.Name, data)
		}
	case opList:
		body, r.More, err = s.list(ctx, q)
	case opDelete:
		if err = backends.CheckName(q.Name); err == nil {
			err = s.guard.delete(ctx, q.Name)
		}
	case opSign:
		var sig [64]byte
		sig, err = s.guard.sign(ctx, object.Class(q.Kind), q.Hash, data)
		body = sig[:]
	case opSecret:
		var secret [32]byte
		if q.Number > 1<<32-1 {
			return r, nil, release, denied("epoch %d", q.Number)
		}
		secret, err = s.guard.secret(seal.Kind(q.Kind), uint32(q.Number), data)
		body = secret[:]
	case opLookup:
		body, release, err = s.lookup(ctx, q, data)
	default:
		r, body, err = s.ask(ctx, q, data)
	}
	return r, body, release, err
}

// ask answers what is asked of the index.
func (s *server) ask(ctx context.Context, q *request, data []byte) (r reply, body []byte, err error) {
	if s.views == nil {
		return r, nil, denied("%v", q.Op)
	}
	switch q.Op {
	case opIndex:
		var view uint32
		view, err = s.views.at(ctx, q.Number, q.Hash)
		r.Number = uint64(view)
	case opOrigin:
		body, err = s.views.origin(q.View, uint32(min(q.Number, noPack)))
	case opVerify:
		if err = s.verifying.Acquire(ctx, 1); err != nil {
			return r, nil, context.Cause(ctx)
		}
		defer s.verifying.Release(1)
		err = s.views.verify(ctx, q.View)
	}
	return r, body, err
}

// lookup looks blobs up. Its memory counts as much as it may take until that is known, and then until release.
func (s *server) lookup(ctx context.Context, q *request, data []byte) (body []byte, release func(), err error) {
	none := func() {}
	if s.views == nil || len(data)%idSize != 0 {
		return nil, none, denied("a lookup of %d bytes", len(data))
	}
	if err := s.lookups.Acquire(ctx, lookupWeight); err != nil {
		return nil, none, context.Cause(ctx)
	}
	body, err = s.views.lookup(ctx, q.View, data)
	weight := min(int64(cap(body)), lookupWeight)
	s.lookups.Release(lookupWeight - weight)
	return body, func() { s.lookups.Release(weight) }, err
}

// get reads an object. release is to be called when the bytes are not needed any more.
func (s *server) get(ctx context.Context, q *request) (body []byte, release func(), err error) {
	none := func() {}
	if err := backends.CheckName(q.Name); err != nil {
		return nil, none, err
	}
	if err := s.guard.get(q.Name); err != nil {
		return nil, none, err
	}
	weight := q.Length
	if weight < 0 {
		weight = wholeWeight(q.Name)
	}
	weight = min(weight, maxAnswers)
	if err := s.answers.Acquire(ctx, weight); err != nil {
		return nil, none, context.Cause(ctx)
	}
	release = func() { s.answers.Release(weight) }
	body, err = s.store.Get(ctx, q.Name, q.Offset, q.Length, nil)
	return body, release, err
}

// wholeWeight is what is counted for an object that is read as a whole, whose size is not known before. Those of sessions can be as large as the
// far side has made them.
func wholeWeight(name string) int64 {
	if _, err := object.ParseRef(name); err == nil {
		return maxAnswers / 2
	}
	return maxAnswers / 32
}

const (
	// pageObjects and pageBytes bound a page of a listing.
	pageObjects = 4096
	pageBytes   = 1 << 20
)

// list returns a page of a listing.
func (s *server) list(ctx context.Context, q *request) (page []byte, more bool, err error) {
	if err := s.guard.list(q.Name); err != nil {
		return nil, false, err
	}
	if err := s.listing.Acquire(ctx, 1); err != nil {
		return nil, false, context.Cause(ctx)
	}
	defer s.listing.Release(1)
	n := 0
	for info, err := range s.store.List(ctx, q.Name, q.After) {
		if err != nil {
			return nil, false, err
		}
		if n == pageObjects || len(page) > pageBytes {
			return page, true, nil
		}
		page = appendInfo(page, &info)
		n++
	}
	return page, false, nil
}
