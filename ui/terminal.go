package ui

import (
	"encoding/json"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/term"
)

// Terminal is standard output and standard error, kept from mixing: while a status is shown, what is
// printed goes above it. It is safe for concurrent use.
type Terminal struct {
	// These are set before use and not changed.
	JSON  bool
	Quiet bool
	// Verbose is 0, 1 to name what changed, or 2 to name everything.
	Verbose int

	mu      sync.Mutex
	out     io.Writer
	err     io.Writer
	width   func() int // of standard error; nil if it is no terminal
	outTerm bool       // whether standard output is one
	status  int        // lines shown
	failed  error      // the first failure of standard output
}

// NewTerminal returns a Terminal over two files, which may or may not be terminals.
func NewTerminal(stdout, stderr *os.File) *Terminal {
	t := &Terminal{out: stdout, err: stderr, outTerm: term.IsTerminal(int(stdout.Fd()))}
	if fd := int(stderr.Fd()); term.IsTerminal(fd) && os.Getenv("TERM") != "dumb" {
		t.width = func() int {
			if w, _, err := term.GetSize(fd); err == nil && w > 0 {
				return w
			}
			return 80
		}
	}
	return t
}

// NewPlain returns a Terminal that is none: two writers.
func NewPlain(stdout, stderr io.Writer) *Terminal { return &Terminal{out: stdout, err: stderr} }

// NewFar returns a Terminal over writers to one that is elsewhere: standard error has the width, or is none if that is 0, and
// standard output is one if isTerm.
func NewFar(stdout, stderr io.Writer, width int, isTerm bool) *Terminal {
	t := &Terminal{out: stdout, err: stderr, outTerm: isTerm}
	if width > 0 {
		t.width = func() int { return width }
	}
	return t
}

// Width is how many columns standard error has, or 0 if it is no terminal.
func (t *Terminal) Width() int {
	if t.width == nil {
		return 0
	}
	return t.width()
}

// Interactive reports whether a status can be drawn on standard error.
func (t *Terminal) Interactive() bool { return t.width != nil }

// OutputIsTerminal reports whether standard output is a terminal.
func (t *Terminal) OutputIsTerminal() bool { return t.outTerm }

// Print writes a line to standard output.
func (t *Terminal) Print(line string) { t.write([]byte(line + "\n")) }

// Printable is [Printable] where standard output is a terminal, and nothing elsewhere: other programs
// want names as they are.
func (t *Terminal) Printable(name string) string {
	if t.outTerm {
		return Printable(name)
	}
	return name
}

// Write writes bytes to standard output, such as those of an object.
func (t *Terminal) Write(p []byte) (int, error) { return t.write(p) }

// Message writes v as a line of JSON to standard output.
func (t *Terminal) Message(v any) { t.write(marshal(v)) }

// Info writes a line about the run to standard error, unless quiet or JSON is asked for.
func (t *Terminal) Info(line string) {
	if !t.Quiet && !t.JSON {
		t.Error("kura: " + line)
	}
}

// Error writes a line to standard error.
func (t *Terminal) Error(line string) { t.writeErr([]byte(line + "\n")) }

// ErrorMessage writes v as a line of JSON to standard error.
func (t *Terminal) ErrorMessage(v any) { t.writeErr(marshal(v)) }

// Ask writes a question to standard error. The answer comes on the same line.
func (t *Terminal) Ask(question string) { t.writeErr([]byte("kura: " + question + " ")) }

// Err is the first failure to write to standard output. A command whose purpose is its output must
// not end well when that went nowhere.
func (t *Terminal) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failed
}

func (t *Terminal) write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clear()
	n, err := t.out.Write(p)
	if err != nil && t.failed == nil {
		t.failed = err
	}
	return n, err
}

func (t *Terminal) writeErr(p []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clear()
	_, _ = t.err.Write(p) // there is nobody left to tell
}

// setStatus shows lines, cut to the terminal's width, in place of those shown before.
func (t *Terminal) setStatus(lines []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.width == nil {
		return
	}
	width := t.width() - 1 // some terminals begin a new line in the last column
	var b strings.Builder
	b.WriteString(t.eraser())
	t.status = len(lines)
	for i, line := range lines {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(fit(line, width))
	}
	_, _ = io.WriteString(t.err, b.String())
}

func (t *Terminal) clear() {
	if t.status > 0 {
		_, _ = io.WriteString(t.err, t.eraser())
		t.status = 0
	}
}

// eraser removes the status and leaves the cursor where it began.
func (t *Terminal) eraser() string {
	if t.status == 0 {
		return ""
	}
	return "\r\x1b[2K" + strings.Repeat("\x1b[1A\x1b[2K", t.status-1)
}

func marshal(v any) []byte {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		// All messages are structs of this package and encode; a new one that does not is
		// found by its first test.
		panic("ui: " + err.Error())
	}
	return []byte(b.String())
}
