package main

import (
	"bytes"
	"io"
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// farOutput is where the output of a command on another machine goes.
func (a *app) farOutput() io.Writer {
	if a.term.OutputIsTerminal() {
		return &harmless{to: a.term, live: a.farWidth() > 0}
	}
	return a.term
}

// farErrors is where its messages go.
func (a *app) farErrors() io.Writer {
	if term.IsTerminal(int(a.stderr.Fd())) {
		return &harmless{to: a.stderr, live: a.farWidth() > 0}
	}
	return a.stderr
}

// farWidth is how wide a progress may be that is drawn there; 0: none is.
func (a *app) farWidth() int {
	if a.term.JSON {
		return 0
	}
	return a.term.Width()
}

// harmless passes on what comes from another machine without what could play tricks with a terminal. Of sequences it knows those that
// draw a progress, which go up no further than over lines that came this way. It is safe for concurrent use.
type harmless struct {
	mu    sync.Mutex
	to    io.Writer
	live  bool   // a progress is drawn
	lines int    // above the cursor that are its own
	rest  []byte // the beginning of a character or a sequence
}

// drawing are the sequences that package ui draws a progress with.
var drawing = [][]byte{[]byte("\x1b[2K"), []byte(lineUp)}

const lineUp = "\x1b[1A"

func (h *harmless) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	text := append(h.rest, p...)
	out := make([]byte, 0, len(text))
	for len(text) > 0 && !isBeginning(text) {
		n, good := harmlessPrefix(text)
		if good && h.allows(text[:n]) {
			out = append(out, text[:n]...)
		} else {
			out = append(out, '?')
		}
		text = text[n:]
	}
	h.rest = bytes.Clone(text)
	if _, err := h.to.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// allows counts lines, and reports whether a harmless text is so where the cursor is.
func (h *harmless) allows(text []byte) bool {
	switch {
	case text[0] == '\n':
		h.lines++
	case text[0] == lineUp[0] && !h.live:
		return false
	case string(text) == lineUp:
		if h.lines == 0 {
			return false
		}
		h.lines--
	}
	return true
}

// isBeginning reports whether more has to come before one can say what a text begins with.
func isBeginning(text []byte) bool {
	for _, d := range drawing {
		if len(text) < len(d) && bytes.HasPrefix(d, text) {
			return true
		}
	}
	return len(text) < utf8.UTFMax && !utf8.FullRune(text)
}

// harmlessPrefix returns how long the first character or sequence is, and whether it is harmless.
func harmlessPrefix(text []byte) (n int, good bool) {
	for _, d := range drawing {
		if bytes.HasPrefix(text, d) {
			return len(d), true
		}
	}
	r, n := utf8.DecodeRune(text)
	return n, r == '\n' || r == '\r' || r == '\t' || r == ' ' || unicode.IsPrint(r) && (r != utf8.RuneError || n > 1)
}
