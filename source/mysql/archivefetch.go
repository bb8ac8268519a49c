package mysql

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/source"
	"github.com/kura-backup/kura/source/mysql/binlog"
)

// follower looks whether logs continue what was archived.
type follower struct {
	state  binlog.State
	before *ArchiveDetails // what was archived; nil when its end was passed, or if there is none
	latest time.Time       // of an event that can be right
}

// follow follows an event.
func (f *follower) follow(e *binlog.Event) error {
	if err := f.state.Follow(e); err != nil {
		return fmt.Errorf("%w: %w", ErrGap, err)
	}
	if f.before == nil || e.End < int64(f.before.At.Position) {
		return nil
	}
	was, err := binlog.ParseState(f.before.At.GTID)
	if err != nil {
		return err
	}
	if e.End != int64(f.before.At.Position) || !f.state.Equal(was) || !e.Time.Equal(f.before.AtTime) {
		return fmt.Errorf("%w: it is not the one that was archived: the server has begun with other logs", ErrGap)
	}
	f.before = nil
	return nil
}

// ended is for the end of the log that was the last one.
func (f *follower) ended() error {
	if f.before != nil {
		return fmt.Errorf("%w: it was longer when it was archived", ErrGap)
	}
	return nil
}

// take stores a log.
func (b *Archive) take(r io.Reader, l *serverLogs, out source.Writer, name string, f *follower) error {
	to, err := out.Create(b.details.Root+"/"+name, source.FileNode(0o600))
	if err != nil {
		return err
	}
	var last *binlog.Event
	var earliest time.Time
	err = binlog.Scan(io.TeeReader(r, to), func(e *binlog.Event) error {
		last = e
		if e.Time.After(f.latest) && !e.Time.After(l.now()) {
			f.latest = e.Time
		}
		if e.GTID != nil && (earliest.IsZero() || e.Time.Before(earliest)) {
			earliest = e.Time
		}
		return f.follow(e)
	})
	if err != nil {
		return err
	}
	if last == nil || to.Size() != last.End {
		return fmt.Errorf("%w: the log has %d bytes, which are no whole events", ErrFailed, to.Size())
	}
	if f.latest.IsZero() {
		f.latest = l.at // all of them are wrong
	}
	log := Log{last.End, f.latest.Unix(), 0}
	if !earliest.IsZero() {
		log[2] = max(earliest.Unix(), 1) // 0 is none
	}
	d := &b.details
	d.Logs, d.At, d.AtTime = append(d.Logs, log), Coordinates{File: name, Position: uint64(last.End)}, last.Time
	return errors.Join(f.ended(), to.Close())
}

// fetch reads a log of the server, as far as it is now. The program writes it to a pipe that it takes for a file: nothing of it comes to
// lie on a disk.
func (b *Archive) fetch(ctx context.Context, l *serverLogs, name string, take func(io.Reader) error) (err error) {
	dir, err := os.MkdirTemp("", "kura-binlog-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, name)
	if err := unix.Mkfifo(path, 0o600); err != nil {
		return &os.PathError{Op: "mkfifo", Path: path, Err: err}
	}
	// Without waiting for a writer: the program may fail before it is one. Then the second one keeps the pipe from ending until it has.
	r, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	w, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return errors.Join(err, r.Close())
	}
	running, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	in, taken := &ending{Reader: r}, make(chan error, 1)
	go func() {
		err := take(in)
		if !in.ended {
			cancel(err) // the program may write, or be about to begin: without a reader it would wait for one
		}
		taken <- err
	}()
	args := []string{"--read-from-remote-server", "--raw", "--result-file=" + dir + "/", "--start-position=4", name}
	// A log in the middle of which the server was killed ends so, and what is whole of it counts. That nothing else is missing, the log
	// behind it says.
	cut := func(err error) bool {
		return err != nil && strings.Contains(err.Error(), "truncated in the middle of event") && name != l.logs[len(l.logs)-1].name
	}
	_, perr := l.tool.pipe(running, &b.Config, args, func(r io.Reader) error {
		_, err := io.Copy(io.Discard, r)
		return err
	})
	err = w.Close()
	terr := <-taken
	err = errors.Join(terr, err, r.Close())
	if perr == nil || terr == nil && cut(perr) || terr != nil && !in.ended {
		return err
	}
	return perr
}
