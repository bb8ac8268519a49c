package sshrun

import (
	"sync"
	"time"
)

// waitLimit is more than the script waits for an earlier connection.
const waitLimit = 3 * time.Hour

// silence ends what it watches when that says nothing for too long. It is safe for concurrent use.
type silence struct {
	limit time.Duration // 0: there is none
	end   func()

	mu    sync.Mutex
	timer *time.Timer // nil: it does not count yet
	over  bool        // it was too long, or nobody listens any more
	fired bool        // it was too long
}

func newSilence(limit time.Duration, end func()) *silence { return &silence{limit: limit, end: end} }

// begin has the silence begin, from now on, with a limit of its own if that is not 0.
func (s *silence) begin(limit time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.limit == 0 || s.over {
		return
	}
	if limit == 0 {
		limit = s.limit
	}
	if s.timer != nil {
		s.timer.Reset(limit)
		return
	}
	s.timer = time.AfterFunc(limit, func() {
		if s.fire() {
			s.end()
		}
	})
}

// fire reports whether it is now that the silence was too long.
func (s *silence) fire() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := !s.over
	s.over, s.fired = true, s.fired || first
	return first
}

// stop ends the watch, and reports whether the silence was too long.
func (s *silence) stop() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	if s.timer != nil {
		s.timer.Stop()
	}
	return s.fired
}
