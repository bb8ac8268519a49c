package sftp

import "time"

// Argv is the command of the first connection.
func (o Options) Argv(l Location) ([]string, error) { return o.argv(l, true) }

// Processes returns the ids of the ssh processes.
func (s *Store) Processes() (pids []int) {
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	for _, c := range s.pool.conns {
		pids = append(pids, c.proc.Pid())
	}
	return pids
}

// Dialed returns the ids of the ssh processes when no connection is being made any more.
func (s *Store) Dialed() []int {
	s.pool.mu.Lock()
	d := s.pool.dialing
	s.pool.mu.Unlock()
	if d != nil {
		<-d.done
	}
	return s.Processes()
}

// SetPatience sets, until the test ends, for how long new connections may be silent, and operations of new
// stores may go on after their context has ended.
func SetPatience(t interface{ Cleanup(func()) }, silent, after time.Duration) {
	s, g := stall, grace
	stall, grace = silent, after
	t.Cleanup(func() { stall, grace = s, g })
}
