package durable

import "sync"

// dirSyncs lets concurrent calls share the fsync of a folder: a call waits for
// one that begins after it, and everybody who comes before that begins gets its
// result. One fsync runs per folder at a time, and at most one more is awaited.
// It is safe for concurrent use and starts no goroutines: the first to wait for
// a round runs it.
type dirSyncs struct {
	sync func(dir string) error

	mu      sync.Mutex
	running map[string]*round
	waiting map[string]*round
}

type round struct {
	done chan struct{} // closed when err is set
	err  error
}

func newDirSyncs(syncDir func(string) error) *dirSyncs {
	return &dirSyncs{sync: syncDir, running: make(map[string]*round), waiting: make(map[string]*round)}
}

// Sync makes everything durable that was done in the folder before the call.
func (s *dirSyncs) Sync(dir string) error {
	s.mu.Lock()
	if r := s.waiting[dir]; r != nil {
		s.mu.Unlock()
		<-r.done
		return r.err
	}
	r := &round{done: make(chan struct{})}
	s.waiting[dir] = r
	before := s.running[dir]
	s.mu.Unlock()

	if before != nil {
		// It may have begun before what this call must cover.
		<-before.done
	}

	s.mu.Lock()
	delete(s.waiting, dir) // from here on others need a later round
	s.running[dir] = r
	s.mu.Unlock()

	r.err = s.sync(dir)

	s.mu.Lock()
	if s.running[dir] == r {
		delete(s.running, dir)
	}
	s.mu.Unlock()
	close(r.done)
	return r.err
}
