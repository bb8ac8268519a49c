package ui

import (
	"fmt"
	"time"

	"github.com/kura-backup/kura/backends/probe"
)

type findingMessage struct {
	MessageType string `json:"message_type"` // "finding"
	ID          string `json:"id"`
	Severity    string `json:"severity"`
	Seen        string `json:"seen"`
	Means       string `json:"means,omitempty"`
	Do          string `json:"do,omitempty"`
}

type doctorSummary struct {
	MessageType string   `json:"message_type"` // "summary"
	Repository  string   `json:"repository"`
	Fatal       int      `json:"num_fatal"`
	Warnings    int      `json:"num_warnings"`
	Latency     float64  `json:"put_seconds,omitempty"`
	Upload      float64  `json:"upload_bytes_per_second,omitempty"`
	Download    float64  `json:"download_bytes_per_second,omitempty"`
	Clock       float64  `json:"clock_ahead_seconds"`
	Left        []string `json:"left_behind,omitempty"`
}

// Finding prints what a look at a store has found.
func (t *Terminal) Finding(f probe.Finding) {
	if t.JSON {
		t.Message(findingMessage{"finding", string(f.ID), f.Severity.String(), f.Seen, f.Means, f.Do})
		return
	}
	t.Print(fmt.Sprintf("%v: %s: %s", f.Severity, f.ID, Printable(f.Seen)))
	if f.Means != "" {
		t.Print("    " + f.Means)
	}
	if f.Do != "" {
		t.Print("    what to do: " + f.Do)
	}
}

// Examined prints what else a look at the store at a location brought.
func (t *Terminal) Examined(location string, r *probe.Report) {
	m := doctorSummary{
		MessageType: "summary", Repository: location, Latency: r.Latency.Seconds(), Upload: r.Up, Download: r.Down,
		Clock: r.Clock.Seconds(), Left: r.Left,
	}
	for _, f := range r.Findings {
		switch f.Severity {
		case probe.Fatal:
			m.Fatal++
		case probe.Warning:
			m.Warnings++
		}
	}
	if t.JSON {
		t.Message(m)
		return
	}
	if r.Latency > 0 {
		t.Print("a small object is put in " + r.Latency.Round(100*time.Microsecond).String())
	}
	if r.Up > 0 && r.Down > 0 {
		t.Print(fmt.Sprintf("a large one goes up at %s/s, and comes down at %s/s", Bytes(uint64(r.Up)), Bytes(uint64(r.Down))))
	}
	switch {
	case m.Fatal > 0:
		t.Print(fmt.Sprintf("%s: %s that can lose data", location, Count(uint64(m.Fatal), "finding")))
	case m.Warnings > 0:
		t.Print(fmt.Sprintf("%s: no data is at risk, as far as can be seen; %s", location, Count(uint64(m.Warnings), "warning")))
	default:
		t.Print(location + ": all is well, as far as can be seen")
	}
}
