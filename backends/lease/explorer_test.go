package lease

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/kura-backup/kura/backends"
)

var (
	errDead  = errors.New("dead")
	errClear = &backends.Error{Op: "call", Kind: backends.Transient, Err: errors.New("refused for a moment")}
	errLost  = &backends.Error{Op: "call", Kind: backends.Unclear, Err: errors.New("no answer")}
)

// fate is how a call ends.
type fate int

const (
	works   fate = iota
	refused      // nothing is done, and the caller is told so
	crashed      // the caller dies before
	crashedAfter
	unanswered // not done, and never will be
	unansweredDone
	unansweredLate // is done later
)

// call is a call of a store, or a pause, before which the caller stands.
type call struct {
	op, name string
	data     []byte
	fate     fate
}

// guarded reports whether the caller has looked at its lease for this call.
func (c *call) guarded() bool { return c.op == "put" && !strings.HasPrefix(c.name, class) }

func (c *call) fates() []fate {
	switch c.op {
	case "put":
		return []fate{crashed, crashedAfter, unanswered, unansweredDone, unansweredLate, refused}
	case "delete":
		return []fate{crashed, crashedAfter, refused}
	case "pause":
		return nil
	}
	return []fate{crashed, refused}
}

// actor is a client whose calls the explorer does one by one.
type actor struct {
	next func() (*call, bool)
	stop func()
	at   *call // nil: it has ended
}

// actorStore is the store as one client sees it.
type actorStore struct {
	overwriting
	step func(*call) bool // false: the client is dead
	x    *explorer
}

func (s *actorStore) do(c *call, fn func() error) error {
	if !s.step(c) {
		return errDead
	}
	if c.fate == refused {
		return errClear
	}
	if c.fate == unanswered || c.fate == unansweredLate {
		return errLost
	}
	err := fn()
	if c.fate == unansweredDone {
		return errLost
	}
	return err
}

func (s *actorStore) Put(ctx context.Context, name string, data []byte) error {
	c := &call{op: "put", name: name, data: bytes.Clone(data)}
	return s.do(c, func() error { return s.x.write(name, data) })
}

func (s *actorStore) Get(ctx context.Context, name string, offset, length int64, buf []byte) (got []byte, err error) {
	err = s.do(&call{op: "get", name: name}, func() error {
		got, err = s.overwriting.Get(ctx, name, offset, length, buf)
		return err
	})
	return got, err
}

// List lists in two pages: what happens between them is in the second, or in neither.
func (s *actorStore) List(ctx context.Context, prefix, after string) iter.Seq2[backends.Info, error] {
	return func(yield func(backends.Info, error) bool) {
		for page := 0; ; page++ {
			var infos []backends.Info
			err := s.do(&call{op: "list", name: prefix}, func() error {
				for info, err := range s.overwriting.List(ctx, prefix, after) {
					if err != nil {
						return err
					}
					infos = append(infos, info)
				}
				return nil
			})
			if err != nil {
				yield(backends.Info{}, err)
				return
			}
			more := s.x.pages && page == 0 && len(infos) > 1
			if more {
				infos = infos[:1]
			}
			for _, info := range infos {
				after = info.Name
				if !yield(info, nil) {
					return
				}
			}
			if !more {
				return
			}
		}
	}
}

func (s *actorStore) Delete(ctx context.Context, name string) error {
	if s.x.noDelete && strings.HasPrefix(name, class) {
		return &backends.Error{Op: "delete", Name: name, Err: backends.ErrDenied}
	}
	return s.do(&call{op: "delete", name: name}, func() error { return s.overwriting.Delete(ctx, name) })
}

// explorer runs clients in one order of their calls, which choose decides.
type explorer struct {
	*world
	choose    func(n int) int
	actors    []*actor
	committed map[string][]byte
	late      []*call
	trace     []move
	wrong     string

	// What may happen in a run.
	clients, commits        int
	switches, faults, jumps int
	pages, noDelete         bool
	clocks                  int // how many are set wrong

	skew []time.Duration // of the clients' walls, in this run

	// Rules taken away, to see that they are needed.
	noClock, stale, slow, hasty bool
}

// write does a put, and sees whether it destroys anything.
func (x *explorer) write(name string, data []byte) error {
	if old, err := x.mem.Get(context.Background(), name, 0, -1, nil); err == nil && !bytes.Equal(old, data) {
		x.fail("%s was overwritten", name)
	}
	x.mem.Tamper(name, data)
	return nil
}

func (x *explorer) fail(format string, args ...any) {
	if x.wrong == "" {
		x.wrong = fmt.Sprintf(format, args...)
	}
}

// start makes a client that commits entries, as package log does.
func (x *explorer) start(id int) *actor {
	a := new(actor)
	a.next, a.stop = iter.Pull(func(yield func(*call) bool) {
		dead := false
		step := func(c *call) bool {
			dead = dead || !yield(c)
			return !dead
		}
		ctx := context.Background()
		store := &actorStore{overwriting{x.mem}, step, x}
		o := x.options(fmt.Sprint("host", id))
		o.holder, o.tries = fmt.Sprintf("%016x", id+1), 2
		o.now = func() mark {
			now := x.now()
			now.wall = now.wall.Add(x.skew[id])
			return now
		}
		if x.noClock && id == 0 {
			frozen := o.now()
			o.now = func() mark { return frozen }
		}
		if x.hasty {
			o.Unique = func(string) bool { return true }
		}
		o.pause = func(context.Context, int) error {
			if !step(&call{op: "pause"}) {
				return errDead
			}
			return nil
		}
		s := New(store, o)
		if x.stale {
			s.own = staleStore{store, o.holder}
		}
		for i := range x.commits {
			if !x.commit(ctx, s, fmt.Sprintf("client %d, entry %d", id, i)) {
				break
			}
		}
		if !dead {
			_ = s.Close() // that a lease stays is part of it
		}
	})
	a.at, _ = a.next()
	return a
}

// staleStore does not list what others have put: no store for leases.
type staleStore struct {
	*actorStore
	holder string
}

func (s staleStore) List(ctx context.Context, prefix, after string) iter.Seq2[backends.Info, error] {
	return func(yield func(backends.Info, error) bool) {
		for info, err := range s.actorStore.List(ctx, prefix, after) {
			if holder, _, _, _ := parse(info.Name); err == nil && holder != s.holder {
				continue
			}
			if !yield(info, err) {
				return
			}
		}
	}
}

// commit puts the entry under the first free number and says whether to go on.
func (x *explorer) commit(ctx context.Context, s *Store, text string) bool {
	for n := 1; ; n++ {
		name := fmt.Sprintf("log/%d", n)
		for range 2 {
			err := s.Put(ctx, name, []byte(text))
			if err == nil {
				x.committed[name] = []byte(text)
				return true
			}
			if errors.Is(err, backends.ErrExist) || backends.IsUnclear(err) {
				got, gerr := s.Get(ctx, name, 0, -1, nil)
				if gerr == nil && string(got) == text {
					x.committed[name] = got
					return true
				}
				if gerr == nil {
					break // another's
				}
				if !errors.Is(gerr, backends.ErrNotExist) && !backends.IsTransient(gerr) {
					return false
				}
				continue
			}
			if !backends.IsTransient(err) {
				return false
			}
		}
		if _, err := x.mem.Get(ctx, name, 0, 1, nil); err != nil {
			return false // it is not known what became of it
		}
	}
}

// run explores one order and returns what went wrong.
func (x *explorer) run() string {
	x.world = newWorld()
	x.committed = map[string][]byte{}
	x.late, x.trace, x.wrong, x.actors = nil, nil, "", nil
	x.skew = make([]time.Duration, x.clients)
	for id := range x.clients {
		x.actors = append(x.actors, x.start(id))
	}
	defer func() {
		for _, a := range x.actors {
			a.stop()
		}
	}()
	left := budget{x.switches, x.faults, x.jumps, x.clocks}
	last := 0
	for x.wrong == "" {
		moves := x.moves(left, last)
		if len(moves) == 0 {
			break
		}
		m := moves[x.choose(len(moves))]
		x.trace = append(x.trace, m)
		m.pay(&left, last, x.actors)
		if m.actor >= 0 {
			last = m.actor
		}
		x.do(m)
		x.look()
	}
	return x.wrong
}

// how is what happened in the last run, a line for each step.
func (x *explorer) how() string {
	var b strings.Builder
	for _, m := range x.trace {
		fmt.Fprintln(&b, m)
	}
	return b.String()
}

type budget struct{ switches, faults, jumps, clocks int }

// move is something that may happen next: a client's call ends, a late put arrives, time passes, or a clock is set.
type move struct {
	actor int
	call  *call
	fate  fate
	late  int
	jump  time.Duration
	set   time.Duration
	clock int // that is set: a client's, or the store's
}

func (m move) String() string {
	switch {
	case m.jump > 0:
		return fmt.Sprint(m.jump, " pass")
	case m.set != 0:
		return fmt.Sprintf("clock %d is set by %v", m.clock, m.set)
	case m.call == nil:
		return "a late put arrives"
	}
	return fmt.Sprintf("%d: %s %s (%d)", m.actor, m.call.op, m.call.name, m.fate)
}

func (m move) pay(left *budget, last int, actors []*actor) {
	switch {
	case m.jump > 0:
		left.jumps--
	case m.set != 0:
		left.clocks--
	case m.actor >= 0:
		if m.actor != last && actors[last].at != nil {
			left.switches--
		}
		if m.fate != works {
			left.faults--
		}
	}
}

// moves are in the order in which they are tried.
func (x *explorer) moves(left budget, last int) (moves []move) {
	mayJump := left.jumps > 0
	for i := range x.actors {
		id := (last + i) % len(x.actors)
		c := x.actors[id].at
		if c == nil {
			continue
		}
		// Assumed: what was looked at is put within hours.
		mayJump = mayJump && (x.slow || !c.guarded())
		if id != last && x.actors[last].at != nil && left.switches == 0 {
			continue
		}
		moves = append(moves, move{actor: id, call: c})
		if left.faults > 0 {
			for _, f := range c.fates() {
				moves = append(moves, move{actor: id, call: c, fate: f})
			}
		}
	}
	if len(moves) == 0 {
		mayJump = false
	}
	for i := range x.late {
		moves = append(moves, move{actor: -1, late: i})
	}
	for c := range x.clients + 1 {
		const year = 365 * 24 * time.Hour
		if left.clocks > 0 && len(moves) > 0 {
			moves = append(moves, move{actor: -1, set: year, clock: c}, move{actor: -1, set: -year, clock: c})
		}
	}
	if mayJump {
		moves = append(moves, move{actor: -1, jump: 13 * time.Hour}, move{actor: -1, jump: 25 * time.Hour})
	}
	return moves
}

func (x *explorer) do(m move) {
	switch {
	case m.jump > 0:
		x.advance(m.jump)
		if !x.slow {
			x.late = nil // assumed: so late nothing arrives
		}
	case m.set != 0 && m.clock == x.clients:
		x.store.Advance(m.set)
	case m.set != 0:
		x.skew[m.clock] += m.set
	case m.call == nil:
		c := x.late[m.late]
		x.late = slices.Delete(x.late, m.late, m.late+1)
		_ = x.write(c.name, c.data)
	default:
		x.end(x.actors[m.actor], m)
	}
}

func (x *explorer) end(a *actor, m move) {
	switch m.fate {
	case crashedAfter:
		if m.call.op == "put" {
			_ = x.write(m.call.name, m.call.data)
		} else {
			x.mem.Tamper(m.call.name, nil)
		}
		fallthrough
	case crashed:
		a.stop()
		a.at = nil
		return
	case unansweredLate:
		x.late = append(x.late, m.call)
	}
	m.call.fate = m.fate
	var ok bool
	if a.at, ok = a.next(); !ok {
		a.at = nil
	}
}

// look sees whether two clients write, and whether what was committed is there.
func (x *explorer) look() {
	writing := 0
	for _, a := range x.actors {
		if a.at != nil && a.at.guarded() {
			writing++
		}
	}
	if writing > 1 {
		x.fail("%d clients hold the lease", writing)
	}
	for name, want := range x.committed {
		if got, err := x.mem.Get(context.Background(), name, 0, -1, nil); err != nil || !bytes.Equal(got, want) {
			x.fail("%s was committed and is %q, %v", name, got, err)
		}
	}
}
