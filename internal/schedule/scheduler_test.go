package schedule

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing/synctest"
	"time"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/repo"
)

// client is a process that works on the repository.
type client struct {
	id   int
	name string
	s    *scheduler
	gate *gate
	ctx  context.Context
	kill context.CancelCauseFunc

	script func(*client) error
	repo   *repo.Repository
	free   bool // its operations happen at once
	dead   bool
	ended  bool
	err    error
	ahead  time.Duration // of its clock
	wakes  time.Time     // until then nothing of it happens
}

// flight is an operation whose client does not listen any more, or has been told that it was done, and
// that happens later.
type flight struct {
	access
	id int
	do func(context.Context)
}

// scheduler decides which of the waiting operations happens next. All of its methods but pass are called from one
// goroutine.
type scheduler struct {
	ctx     context.Context
	rng     *rand.Rand
	plan    plan
	weak    bool // listings
	clients []*client
	numbers map[string]int

	mu      sync.Mutex // guards waiting, and dead and ended of the clients
	waiting []*op

	flights []*flight
	trace   []string
	died    int
	unclear int
	odd     int // sleeps and jumps
	wedged  bool
}

// running is the client whose operation happened last: what runs until the next one is its code.
var running atomic.Pointer[client]

// pass waits until the operation has happened.
func (s *scheduler) pass(o *op) error {
	c := o.client
	if c.free {
		return o.do(o.ctx)
	}
	s.mu.Lock()
	if c.dead {
		s.mu.Unlock()
		return errDead
	}
	o.reply = make(chan error, 1)
	s.waiting = append(s.waiting, o)
	s.mu.Unlock()
	return <-o.reply
}

// tick is the time that passes between two operations.
const tick = time.Millisecond

// run lets the clients run until all have ended, or the plan has had enough.
func (s *scheduler) run() {
	for _, c := range s.clients {
		go func() {
			err := c.script(c)
			s.mu.Lock()
			defer s.mu.Unlock()
			c.ended, c.err = true, err
		}()
	}
	for idle := 0; ; {
		time.Sleep(tick) // the bubble's time moves when everybody waits
		synctest.Wait()
		choices := s.choices()
		if s.allEnded() {
			break
		}
		if len(choices) == 0 { // somebody waits for time to pass
			if !s.sleep(idle) && idle > maxIdle {
				s.wedged = true
				s.killAll()
				break
			}
			idle++
			continue
		}
		idle = 0
		n, f := s.plan.next(choices)
		if n < 0 {
			s.killAll()
			break
		}
		s.perform(choices[n], f)
	}
	for { // what the dead still do, such as closing files
		synctest.Wait()
		s.killAll()
		if s.allEnded() {
			return
		}
		time.Sleep(pause)
	}
}

// pause is how long the first wait is in which nothing happens. Each further one is twice as long: with maxIdle of
// them nobody's patience is endless.
const (
	pause   = 10 * time.Millisecond
	maxIdle = 24
)

// sleep lets time pass in which nothing happens. It reports whether a client sleeps.
func (s *scheduler) sleep(idle int) (asleep bool) {
	d := pause << min(idle, maxIdle)
	s.mu.Lock()
	for _, c := range s.clients {
		if left := time.Until(c.wakes); !c.ended && left > 0 {
			d, asleep = min(d, left), true
		}
	}
	s.mu.Unlock()
	time.Sleep(d)
	return asleep
}

func (s *scheduler) allEnded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !slices.ContainsFunc(s.clients, func(c *client) bool { return !c.ended })
}

// choice is something that can happen next: a client's operation or a flight. Actors are clients by their
// numbers, then flights.
type choice struct {
	access
	actor  int
	op     *op
	flight *flight
}

func (c choice) String() string {
	who := "late"
	if c.op != nil {
		who = c.op.client.name
	}
	return fmt.Sprintf("%s: %v %s", who, c.kind, c.name)
}

// choices returns what can happen next, at most one operation of each client.
func (s *scheduler) choices() (out []choice) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := map[int]*op{}
	for _, o := range s.waiting {
		if time.Now().Before(o.client.wakes) {
			continue
		}
		if best := first[o.client.id]; best == nil || s.rank(o, best) < 0 {
			first[o.client.id] = o
		}
	}
	for id := range s.clients {
		if o := first[id]; o != nil {
			out = append(out, choice{access: s.plain(o.access), actor: id, op: o})
		}
	}
	for _, f := range s.flights {
		out = append(out, choice{access: s.plain(f.access), actor: len(s.clients) + f.id, flight: f})
	}
	return out
}

// fault is what goes wrong with an operation.
type fault uint8

const (
	none         fault = iota
	dieBefore          // the client dies, and it never happens
	dieAfter           // it happens, and the client dies before it hears of it
	dieLate            // the client dies, and it happens later
	dieTwice           // it happens, the client dies, and it happens once more
	lostBefore         // it does not happen, and nobody knows
	lostAfter          // it happens, and nobody knows
	lostLate           // it happens later, and nobody knows
	twice              // it happens, and once more later
	sleepsBefore       // the client sleeps for long, and then it happens
	sleepsAfter        // it happens, and the client sleeps for long before it hears of it
	jumps              // the client's clock jumps
	storeJumps         // the store's clock jumps
)

func (f fault) String() string {
	return [...]string{"", "dies before", "dies after", "dies, late", "dies, twice", "not done, unclear", "done, unclear", "late, unclear", "twice", "sleeps before", "sleeps after", "its clock jumps", "the store's clock jumps"}[f]
}

// perform lets a choice happen.
func (s *scheduler) perform(c choice, f fault) {
	line := c.String()
	if f != none {
		line += " [" + f.String() + "]"
	}
	s.trace = append(s.trace, line)
	if c.flight == nil && f >= sleepsBefore && s.oddTime(c.op, f) {
		return
	}
	if c.flight != nil {
		s.flights = slices.DeleteFunc(s.flights, func(f *flight) bool { return f == c.flight })
		c.flight.do(s.ctx)
		return
	}
	o := c.op
	s.mu.Lock()
	s.waiting = slices.DeleteFunc(s.waiting, func(w *op) bool { return w == o })
	s.mu.Unlock()
	if o.again == nil || f >= sleepsBefore {
		f = none
	}
	switch f {
	case none, dieAfter, dieTwice, lostAfter, twice:
		err := o.do(o.ctx)
		if f == none || f == twice {
			running.Store(o.client)
			o.reply <- err
		}
	}
	if f >= lostBefore && f <= twice {
		s.unclear++
	}
	switch f {
	case dieLate, dieTwice, lostLate, twice:
		s.flights = append(s.flights, &flight{access: o.access, id: len(s.trace), do: o.again})
	}
	switch f {
	case lostBefore, lostAfter, lostLate:
		running.Store(o.client)
		o.reply <- &backends.Error{Op: o.kind.String(), Name: o.name, Kind: backends.Unclear, Err: errLost}
	case dieBefore, dieAfter, dieLate, dieTwice:
		s.died++
		s.end(o.client)
		o.reply <- errDead
	}
}

// oddTime lets a client sleep, or a clock jump. It reports whether the operation must wait.
func (s *scheduler) oddTime(o *op, f fault) bool {
	s.odd++
	long := time.Duration(1+s.rng.IntN(10*24)) * time.Hour
	switch f {
	case sleepsBefore:
		o.client.wakes = time.Now().Add(long)
		return true
	case sleepsAfter:
		o.client.wakes = time.Now().Add(long)
		err := o.do(o.ctx)
		o.do, o.again = func(context.Context) error { return err }, nil
		o.access = access{kind: get}
		return true
	case jumps:
		o.client.ahead += s.jump()
	case storeJumps:
		storeAhead.Add(int64(s.jump()))
	}
	return false
}

// jump is by how much a clock is suddenly wrong: up to a year in either direction.
func (s *scheduler) jump() time.Duration {
	return time.Duration(s.rng.Int64N(2*int64(year))) - year
}

const year = 365 * 24 * time.Hour

// end makes a client die: of what it asks for from now on nothing happens.
func (s *scheduler) end(c *client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.ended {
		return
	}
	c.dead = true
	c.kill(errDead)
	s.waiting = slices.DeleteFunc(s.waiting, func(o *op) bool {
		if o.client == c {
			o.reply <- errDead
		}
		return o.client == c
	})
}

func (s *scheduler) killAll() {
	for _, c := range s.clients {
		s.end(c)
	}
}

// land lets n of the flights happen, or all if n is negative.
func (s *scheduler) land(n int) {
	for _, f := range s.flights {
		if n == 0 {
			return
		}
		n--
		s.trace = append(s.trace, fmt.Sprintf("late: %v %s", f.kind, f.name))
		f.do(s.ctx)
		s.flights = s.flights[1:]
	}
}
