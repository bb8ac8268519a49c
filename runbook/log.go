package runbook

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// stepLog is the file with what a step has printed. Commands write to it themselves: what they print is there also if this process dies,
// and they do not die with it in the middle of something; a service that one of them starts keeps nobody waiting; and
// as long as one of them has the file open, its lock is held. What is in it is told of, line by line. Without a file it only keeps what
// the last command has printed. It is not safe for concurrent use.
type stepLog struct {
	name string
	file *os.File
	tell func(line string)

	at   int64  // up to where it was read
	last []byte // of what the last command has printed
}

// openLog opens a log to write on in it.
func openLog(name string, tell func(string)) (*stepLog, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	return &stepLog{name: name, file: f, tell: tell}, nil
}

// take takes the log's lock, and reports whether nobody else has it. Where there are no locks, nobody has.
func (l *stepLog) take() bool {
	for {
		switch err := unix.Flock(int(l.file.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
		case errors.Is(err, unix.EINTR):
		default:
			return !errors.Is(err, unix.EWOULDBLOCK)
		}
	}
}

// alone reports whether nobody else has the file open that had it with this lock. It is opened anew for that.
func (l *stepLog) alone() (bool, error) {
	again, err := openLog(l.name, l.tell)
	if err != nil {
		return false, err
	}
	err = l.file.Close() // which gives up the lock, unless a command still has it
	l.file = again.file
	return l.take(), err
}

// inUse reports whether a command has the log of a name open.
func inUse(name string) (bool, error) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	l := &stepLog{name: name, file: f}
	used := !l.take()
	return used, l.Close()
}

// say writes a line of ours.
func (l *stepLog) say(text string) {
	if l.file != nil {
		_, _ = l.file.WriteString(text + "\n") // a full disk must not end a recovery
	}
}

// Close closes the file.
func (l *stepLog) Close() error { return l.file.Close() }

const (
	lookEvery = 100 * time.Millisecond
	maxLine   = 4 << 10  // of a line that has no end
	maxKept   = 64 << 10 // of what a command has printed
)

// run runs a command. What it prints is told of if show says so.
func (l *stepLog) run(ctx context.Context, w *World, shown string, argv []string, show bool) error {
	l.last = nil
	l.say("$ " + shown)
	if l.file == nil {
		var b bytes.Buffer
		err := w.Exec(ctx, Exec{Argv: argv, Out: &b})
		l.last = b.Bytes()
		return err
	}
	end, err := l.file.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	l.at = end
	var look sync.WaitGroup
	over := make(chan struct{})
	look.Go(func() { l.follow(over, show) })
	err = w.Exec(ctx, Exec{Argv: argv, Out: l.file})
	close(over)
	look.Wait()
	return err
}

// follow reads what is written to the file until it is over.
func (l *stepLog) follow(over <-chan struct{}, show bool) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var line []byte
	for ended := false; !ended; {
		select {
		case <-over:
			ended = true
		case <-tick.C:
		}
		buf := make([]byte, 32<<10)
		for {
			n, err := l.file.ReadAt(buf, l.at)
			l.at += int64(n)
			if room := maxKept - len(l.last); room > 0 {
				l.last = append(l.last, buf[:min(n, room)]...)
			}
			if show {
				line = l.lines(append(line, buf[:n]...))
			}
			if n == 0 || err != nil { // the end, or a disk that tells nothing any more
				break
			}
		}
	}
	if show && len(line) > 0 {
		l.tell(string(line))
	}
}

// lines tells of whole lines, and returns what is left.
func (l *stepLog) lines(text []byte) []byte {
	for {
		i := bytes.IndexAny(text, "\n\r")
		switch {
		case i > 0:
			l.tell(string(text[:min(i, maxLine)]))
		case i < 0 && len(text) > maxLine:
			l.tell(string(text[:maxLine]))
			text = text[maxLine:]
			continue
		case i < 0:
			return text
		}
		text = text[i+1:]
	}
}
