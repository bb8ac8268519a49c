package repo

import (
	"sync"

	"github.com/kura-backup/kura/internal/budget"
)

const (
	// farWorkers are workers beside one for each CPU where a lookup is a round trip, for which they wait most of the time.
	farWorkers = 12
	// asideRoom bounds the small blobs that wait for a lookup. It is not of the session's budget: what waits in here may
	// need room there to go on.
	asideRoom = 8 << 20
	// asideBlobs bounds them in number.
	asideBlobs = 1024
)

// aside is where small blobs wait to be looked up in an index that is far, many at once: whoever saves them mostly reads
// the next one meanwhile.
type aside struct {
	room  *budget.Budget
	turns chan struct{}

	mu      sync.Mutex
	ended   bool
	waiting sync.WaitGroup
}

func newAside() *aside {
	return &aside{room: budget.New(asideRoom), turns: make(chan struct{}, asideBlobs)}
}

// begin reports whether something may be put aside.
func (a *aside) begin() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.ended {
		a.waiting.Add(1)
	}
	return !a.ended
}

// wait returns when nothing is aside any more, and nothing will be.
func (a *aside) wait() {
	if a == nil {
		return
	}
	a.mu.Lock()
	a.ended = true
	a.mu.Unlock()
	a.waiting.Wait()
}

// saveAside saves a small blob without making its caller wait for the lookup.
func (s *Session) saveAside(j *job, data []byte) {
	a := s.aside
	select {
	case a.turns <- struct{}{}:
	case <-s.ctx.Done():
		j.done(Saved{}, s.err())
		return
	}
	if !a.begin() {
		<-a.turns
		j.done(Saved{}, errEnded)
		return
	}
	buf, err := a.room.Copy(s.ctx, data)
	if err != nil {
		a.waiting.Done()
		<-a.turns
		j.done(Saved{}, err)
		return
	}
	go func() {
		defer a.waiting.Done()
		saved, err := s.saveSmall(j.t, buf.B)
		buf.Release()
		<-a.turns
		j.done(saved, err)
	}()
}
