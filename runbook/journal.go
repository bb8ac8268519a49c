package runbook

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/kura-backup/kura/internal/durable"
)

// Lines of a journal.
const (
	lineRun    = "run"    // the first: a run begins
	lineValues = "values" // variables and snapshots from here on
	lineBegin  = "begin"  // a step is about to change something
	lineEnd    = "end"    // it has ended
	lineUndo   = "undo"   // a step is about to be taken back
	lineUndone = "undone" // it was, or could not be
	lineOver   = "over"   // nothing is to come
)

// How things end.
const (
	ResultDone    = "done"
	ResultAlready = "already" // there was nothing to do
	ResultPassed  = "passed"  // by the user's wish
	ResultFailed  = "failed"
	ResultStays   = "stays" // can not be taken back
	ResultUndone  = "undone"
)

// journalVersion is that of the journals that this program writes.
const journalVersion = 1

// line is one of a journal.
type line struct {
	What string    `json:"what"`
	At   time.Time `json:"at"`
	Step string    `json:"step,omitempty"`

	// of the run and its values
	Version   int               `json:"version,omitempty"`
	Plan      string            `json:"plan,omitempty"`    // the full path of its file
	Machine   string            `json:"machine,omitempty"` // its id
	Host      string            `json:"host,omitempty"`    // its name
	Only      string            `json:"only,omitempty"`    // the one step that it is about
	Vars      map[string]string `json:"vars,omitempty"`
	Snapshots map[string]Pin    `json:"snapshots,omitempty"`

	// of steps
	Print   string  `json:"print,omitempty"` // of how it was written
	Note    *note   `json:"note,omitempty"`
	Result  string  `json:"result,omitempty"`
	Error   string  `json:"error,omitempty"`
	Cut     bool    `json:"cut,omitempty"`  // it was asked to end; what it has started may not have ended
	Boot    string  `json:"boot,omitempty"` // of the machine, in which it ended
	Seconds float64 `json:"seconds,omitempty"`
}

// Pin is a snapshot that a run uses.
type Pin struct {
	ID   string `json:"id"`
	Text string `json:"text"` // for people
	// Choice is how the plan chose it then. It is set by this package.
	Choice string `json:"choice,omitempty"`
}

// note is what is needed to take a step back, written down before it begins.
type note struct {
	Kind  string   `json:"kind"`
	Again bool     `json:"again,omitempty"`
	Units []string `json:"units,omitempty"` // those that it changes
	Path  string   `json:"path,omitempty"`  // of what is moved aside
	Aside string   `json:"aside,omitempty"` // where it goes, or nothing if it was not there
	Inode uint64   `json:"inode,omitempty"` // of it: nothing else that gets one of the two names is taken for it
	Into  string   `json:"into,omitempty"`  // where it restores to, if another step has made room there
	Undo  Command  `json:"undo,omitzero"`
	Stays string   `json:"stays,omitempty"` // why it can not be taken back

	nothing bool // is to be done
}

// print is that of a step: it changes when what the step does changes.
func (s *Step) print() string {
	what := *s
	what.Timeout, what.Within, what.Every, what.Done, what.Undo = 0, 0, 0, Command{}, Command{}
	b, err := json.Marshal(what)
	if err != nil {
		panic("runbook: " + err.Error()) // a struct of texts and numbers encodes
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

// journal is that of a run. Each change replaces the file as a whole: it has a few kilobytes, and no line in it is ever half a one.
type journal struct {
	fsys  durable.FS
	name  string
	now   func() time.Time
	lines []line
}

const (
	maxJournal = 64 << 20
	maxError   = 4 << 10
)

// readJournal reads one.
func readJournal(fsys durable.FS, name string, now func() time.Time) (*journal, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > maxJournal {
		return nil, fmt.Errorf("%w: %s has more than %d bytes", ErrJournal, name, maxJournal)
	}
	j := &journal{fsys: fsys, name: name, now: now}
	in := bufio.NewScanner(io.NewSectionReader(f, 0, info.Size()))
	in.Buffer(nil, maxJournal)
	for n := 1; in.Scan(); n++ {
		var l line
		if err := json.Unmarshal(in.Bytes(), &l); err != nil {
			return nil, fmt.Errorf("%w: %s:%d: %w", ErrJournal, name, n, err)
		}
		if !l.good() {
			return nil, fmt.Errorf("%w: %s:%d", ErrJournal, name, n)
		}
		if n == 1 && (l.What != lineRun || l.Version != journalVersion) {
			return nil, fmt.Errorf("%w: %s: version %d is not known to this program", ErrJournal, name, l.Version)
		}
		j.lines = append(j.lines, l)
	}
	if err := in.Err(); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrJournal, name, err)
	}
	if len(j.lines) == 0 {
		return nil, fmt.Errorf("%w: %s is empty", ErrJournal, name)
	}
	return j, nil
}

// good reports whether a line has what lines of its sort have.
func (l *line) good() bool {
	switch l.What {
	case lineBegin:
		return goodName.MatchString(l.Step) && l.Note != nil
	case lineEnd, lineUndo, lineUndone:
		return goodName.MatchString(l.Step)
	}
	return l.Step == ""
}

// add writes a line, and returns when it is on the disk.
func (j *journal) add(ctx context.Context, l line) error {
	l.At = j.now().UTC().Round(time.Millisecond)
	l.Error = l.Error[:min(len(l.Error), maxError)]
	all := append(slices.Clone(j.lines), l)
	var b bytes.Buffer
	for _, l := range all {
		text, err := json.Marshal(l)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrJournal, err)
		}
		b.Write(append(text, '\n'))
	}
	// What has happened has happened: it is written down also by who is interrupted.
	if err := durable.WriteReplace(context.WithoutCancel(ctx), j.fsys, j.name, b.Bytes()); err != nil {
		return fmt.Errorf("the journal %s: %w", j.name, err)
	}
	j.lines = all
	return nil
}

// run is the first line.
func (j *journal) run() line { return j.lines[0] }

// values are the variables and snapshots of the run.
func (j *journal) values() (vars map[string]string, pins map[string]Pin) {
	for _, l := range j.lines {
		if l.What == lineValues {
			vars, pins = l.Vars, l.Snapshots
		}
	}
	return vars, pins
}

// over says how the run ended, or nothing if it did not.
func (j *journal) over() string {
	if last := j.lines[len(j.lines)-1]; last.What == lineOver {
		return last.Result
	}
	return ""
}

// undoing reports whether the run is being taken back.
func (j *journal) undoing() bool {
	return slices.ContainsFunc(j.lines, func(l line) bool { return l.What == lineUndo || l.What == lineUndone })
}

// past is what a journal says of a step.
type past struct {
	begun  bool
	result string // of the last attempt; nothing if that did not end, or there was none
	print  string
	err    string
	boot   string // of the machine, in which it ended
	cut    bool   // the last attempt was asked to end
	notes  []note // of all attempts
	undone string // how taking it back ended
	stays  string // or why it did not
	undo   bool   // that has begun
}

// unclear reports whether a step has begun, and nobody knows what came of it.
func (p *past) unclear() bool { return p.begun && p.result == "" }

// mayRun reports whether what the step, or taking it back, has started may still be at work: a process that was killed, or has given up
// waiting, has not seen its end.
func (p *past) mayRun() bool { return p.unclear() || p.cut || p.undo && p.undone == "" }

// finished reports whether there is nothing left to do.
func (p *past) finished() bool {
	return p.result == ResultDone || p.result == ResultAlready || p.result == ResultPassed
}

// past gathers what the journal says of a step.
func (j *journal) past(step string) (p past) {
	for _, l := range j.lines {
		if l.Step != step {
			continue
		}
		switch l.What {
		case lineBegin:
			p.begun, p.result, p.err, p.print, p.cut = true, "", "", l.Print, false
			if l.Note != nil {
				p.notes = append(p.notes, *l.Note)
			}
		case lineEnd:
			p.result, p.err, p.cut, p.boot = l.Result, l.Error, l.Cut, l.Boot
			if l.Print != "" {
				p.print = l.Print
			}
		case lineUndo:
			p.undo, p.undone = true, ""
		case lineUndone:
			p.undo, p.undone, p.stays, p.cut = true, l.Result, l.Error, l.Cut
		}
	}
	return p
}

// begun are the steps that have begun, in the order of their last attempts. What makes writing safe keeps the place of its first one: when it
// was looked at again, what it protects may have been written before.
func (j *journal) begun() (steps []string) {
	for _, l := range j.lines {
		if l.What != lineBegin || slices.Contains(steps, l.Step) && (l.Note.Kind == "stop" || l.Note.Kind == "fence") {
			continue
		}
		steps = append(slices.DeleteFunc(steps, func(s string) bool { return s == l.Step }), l.Step)
	}
	return steps
}
