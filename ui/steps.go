package ui

import (
	"sync/atomic"
	"time"
)

// Steps counts the steps of verbs that work in phases, and is the source of their progress. It is safe
// for concurrent use; the zero Steps has no phase.
type Steps struct {
	phase       atomic.Pointer[string]
	done, total atomic.Uint64
	errors      atomic.Uint64
}

// Phase begins a phase.
func (s *Steps) Phase(name string) {
	s.done.Store(0)
	s.total.Store(0)
	s.phase.Store(&name)
}

// Step says how far the phase has come. A total of 0 is unknown.
func (s *Steps) Step(done, total uint64) {
	s.done.Store(done)
	s.total.Store(total)
}

// Failed counts an error.
func (s *Steps) Failed() { s.errors.Add(1) }

// Status is the source of a [Progress].
func (s *Steps) Status() Status {
	st := Status{Noun: "step", Done: s.done.Load(), Total: s.total.Load(), Errors: s.errors.Load()}
	st.Complete = st.Total > 0
	if p := s.phase.Load(); p != nil {
		st.Current = *p
	}
	return st
}

type stepsMessage struct {
	MessageType    string  `json:"message_type"` // "status"
	SecondsElapsed uint64  `json:"seconds_elapsed,omitempty"`
	PercentDone    float64 `json:"percent_done"`
	Phase          string  `json:"phase,omitempty"`
	Done           uint64  `json:"done,omitempty"`
	Total          uint64  `json:"total,omitempty"`
	ErrorCount     uint64  `json:"error_count,omitempty"`
}

// StepsMessage is the status message of verbs that work in phases.
func StepsMessage(s Status, t Timing) any {
	return stepsMessage{
		MessageType: "status", SecondsElapsed: seconds(t.Elapsed), PercentDone: max(0, s.percent()),
		Phase: s.Current, Done: s.Done, Total: s.Total, ErrorCount: s.Errors,
	}
}

// seconds rounds down; a negative duration, which is an unknown one, becomes 0.
func seconds(d time.Duration) uint64 { return uint64(max(0, d) / time.Second) }
