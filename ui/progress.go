package ui

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/kura-backup/kura/internal/clock"
)

// How often progress is shown.
const (
	drawEvery    = 200 * time.Millisecond // on a terminal
	lineEvery    = time.Minute            // in a file
	messageEvery = time.Second            // with JSON
)

// Status is how far a verb has come. What does not apply is zero.
type Status struct {
	Noun       string // what is counted: "file"
	Done       uint64
	Total      uint64
	Bytes      uint64
	BytesTotal uint64
	Complete   bool   // the totals are final
	New        uint64 // bytes that the repository did not have
	HasNew     bool
	Errors     uint64

	// Of a restore: what was left as it was, and what was deleted.
	Skipped, BytesSkipped, Deleted uint64

	Current string // what is being worked on
}

// Timing is what progress adds to a Status.
type Timing struct {
	Elapsed   time.Duration
	Rate      float64       // bytes in a second, lately
	Remaining time.Duration // negative if unknown
}

// percent is the share that is done, between 0 and 1, or negative if unknown.
func (s *Status) percent() float64 {
	switch {
	case !s.Complete:
		return -1
	case s.BytesTotal > 0:
		return min(1, float64(s.Bytes)/float64(s.BytesTotal))
	case s.Total > 0:
		return min(1, float64(s.Done)/float64(s.Total))
	}
	return -1
}

// Progress shows how far a verb has come until it is stopped: on a terminal as lines that are drawn
// again and again, elsewhere as a line a minute, with JSON as messages. Its methods may be called
// concurrently.
type Progress struct {
	t       *Terminal
	source  func() Status
	message func(Status, Timing) any

	start time.Time
	now   chan struct{}
	stop  context.CancelFunc
	done  sync.WaitGroup
	speed speed // of the goroutine
}

// StartProgress begins to show what source returns. message makes a JSON message of it; it is nil where standard output
// has one document, which messages would spoil. The quiet see only what they ask for with Now.
func (t *Terminal) StartProgress(ctx context.Context, source func() Status, message func(Status, Timing) any) *Progress {
	ctx, cancel := context.WithCancel(ctx)
	p := &Progress{t: t, source: source, message: message, start: clock.Now(), now: make(chan struct{}, 1), stop: cancel}
	p.done.Go(func() { p.run(ctx) })
	return p
}

// Now shows the progress at once, as a line of its own.
func (p *Progress) Now() {
	select {
	case p.now <- struct{}{}:
	default: // one is about to be shown
	}
}

// Stop ends the progress and takes it from the terminal.
func (p *Progress) Stop() {
	p.stop()
	p.done.Wait()
	if p.t.Interactive() {
		p.t.setStatus(nil)
	}
}

func (p *Progress) run(ctx context.Context) {
	sample := time.NewTicker(drawEvery)
	defer sample.Stop()
	shown := p.start
	every := lineEvery
	switch {
	case p.t.JSON:
		every = messageEvery
	case p.t.Interactive():
		every = drawEvery
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.now:
			s, timing := p.measure()
			p.line(s, timing)
		case <-sample.C:
			s, timing := p.measure()
			if p.t.Quiet || p.t.JSON && p.message == nil || clock.Since(shown) < every {
				continue
			}
			shown = clock.Now()
			if p.t.Interactive() && !p.t.JSON {
				p.t.setStatus(statusLines(s, timing))
			} else {
				p.line(s, timing)
			}
		}
	}
}

func (p *Progress) measure() (Status, Timing) {
	s := p.source()
	elapsed := clock.Since(p.start)
	p.speed.add(elapsed, s.Bytes)
	t := Timing{Elapsed: elapsed, Rate: p.speed.rate(), Remaining: -1}
	if s.Complete && t.Rate > 0 && s.BytesTotal >= s.Bytes {
		t.Remaining = time.Duration(min(float64(s.BytesTotal-s.Bytes)/t.Rate, 1e6) * float64(time.Second))
	}
	return s, t
}

func (p *Progress) line(s Status, t Timing) {
	if p.t.JSON && p.message != nil {
		p.t.Message(p.message(s, t))
		return
	}
	p.t.Error("kura: " + strings.Join(statusLines(s, t), "  "))
}

// statusLines writes a status in one line of less than 80 columns as a rule, and in a second one what is
// new, what went wrong, and what is being worked on.
func statusLines(s Status, t Timing) []string {
	first := []string{"[" + Duration(t.Elapsed) + "]"}
	if share := s.percent(); share >= 0 {
		first = append(first, fmt.Sprintf("%.1f%%", share*100))
	}
	switch {
	case s.Complete && s.Total > 0:
		first = append(first, fmt.Sprintf("%d / %s", s.Done, Count(s.Total, s.Noun)))
	case s.Total > s.Done:
		first = append(first, fmt.Sprintf("%s (%d found so far)", Count(s.Done, s.Noun), s.Total))
	case s.Noun != "":
		first = append(first, Count(s.Done, s.Noun))
	}
	switch {
	case s.Complete && s.BytesTotal > 0:
		first = append(first, shortBytes(s.Bytes)+" / "+shortBytes(s.BytesTotal))
	case s.Bytes > 0:
		first = append(first, shortBytes(s.Bytes))
	}
	if t.Rate >= 1 {
		first = append(first, shortBytes(uint64(t.Rate))+"/s")
	}
	if t.Remaining >= 0 {
		first = append(first, "ETA "+Duration(t.Remaining))
	}
	var second []string
	if s.HasNew {
		second = append(second, shortBytes(s.New)+" new")
	}
	if s.Errors > 0 {
		second = append(second, Count(s.Errors, "error"))
	}
	if s.Current != "" {
		second = append(second, Printable(s.Current))
	}
	lines := []string{strings.Join(first, "  ")}
	if len(second) > 0 {
		lines = append(lines, strings.Join(second, "  "))
	}
	return lines
}

// speed is the speed of the last seconds: one long file after many small ones must not be promised
// the speed of those.
type speed struct {
	samples [64]sample
	n       int // samples taken
	last    time.Duration
}

type sample struct {
	at    time.Duration
	bytes uint64
}

// sampleEvery spreads the samples over half a minute, however often add is called.
const sampleEvery = 500 * time.Millisecond

func (s *speed) add(at time.Duration, bytes uint64) {
	i := s.n - 1
	if s.n < 2 || at-s.last >= sampleEvery {
		i, s.last = s.n, at
		s.n++
	}
	s.samples[i%len(s.samples)] = sample{at, bytes}
}

// rate is in bytes a second.
func (s *speed) rate() float64 {
	if s.n < 2 {
		return 0
	}
	newest := s.samples[(s.n-1)%len(s.samples)]
	oldest := s.samples[max(0, s.n-len(s.samples))%len(s.samples)]
	d := newest.at - oldest.at
	if d <= 0 || newest.bytes < oldest.bytes {
		return 0
	}
	return float64(newest.bytes-oldest.bytes) / d.Seconds()
}
