package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/kura-backup/kura/internal/clock"
	"github.com/kura-backup/kura/internal/process"
	"github.com/kura-backup/kura/source"
	"github.com/kura-backup/kura/tree"
)

// Kind is what manifests call snapshots of streams.
const Kind = "stdin"

// DefaultName is the file that a stream without a name becomes.
const DefaultName = "stdin"

var (
	// ErrEmpty is returned for a stream without bytes: that is hardly ever what was meant.
	ErrEmpty = errors.New("stream: the stream was empty, nothing was saved")
	// ErrStreams is returned for streams that can not be backed up together.
	ErrStreams = errors.New("stream: not streams of a snapshot")
)

// Stream is what becomes a file of a snapshot. Exactly one of Reader, Command and Line is set.
type Stream struct {
	Name   string // path of the file; empty: DefaultName
	Reader io.Reader
	// Command is a program and its arguments, whose standard output is read. It must succeed.
	Command []string
	// Line is a command line for a shell, in which all parts of a pipeline must succeed.
	Line string
}

// argv returns the command, if it is one.
func (s *Stream) argv() ([]string, error) {
	if s.Line == "" {
		return s.Command, nil
	}
	return process.Shell(s.Line)
}

// called returns what the user calls the command.
func (s *Stream) called() []string {
	if s.Line != "" {
		return []string{s.Line}
	}
	return s.Command
}

// isOne reports whether it is exactly one thing.
func (s *Stream) isOne() bool {
	n := 0
	for _, set := range []bool{s.Reader != nil, len(s.Command) > 0, s.Line != ""} {
		if set {
			n++
		}
	}
	return n == 1
}

// Source backs up streams, one after the other, each as a file. It implements source.Source.
type Source struct {
	// Time is the files' mtime; zero: when they are written.
	Time time.Time
	// Warn is told of a stream that is compressed already. Nil: nobody is.
	Warn func(path, format string)

	streams []Stream // with the paths as names
}

var _ source.Source = (*Source)(nil)

// New returns the source of streams.
func New(streams ...Stream) (*Source, error) {
	s := new(Source)
	for _, st := range streams {
		if !st.isOne() {
			return nil, fmt.Errorf("%w: %q is not either a reader or a command", ErrStreams, st.Name)
		}
		if _, err := st.argv(); err != nil {
			return nil, fmt.Errorf("%s: %w", st.Name, err)
		}
		name := st.Name
		if name == "" {
			name = DefaultName
		}
		st.Name = path.Clean("/" + name)
		if source.CheckPath(st.Name) != nil {
			return nil, fmt.Errorf("%w: %q can not be the name of a stream's file", ErrStreams, name)
		}
		for _, other := range s.streams {
			if within(st.Name, other.Name) || within(other.Name, st.Name) {
				return nil, fmt.Errorf("%w: %s and %s can not both be files", ErrStreams, other.Name, st.Name)
			}
		}
		s.streams = append(s.streams, st)
	}
	if len(streams) == 0 {
		return nil, fmt.Errorf("%w: there are none", ErrStreams)
	}
	return s, nil
}

// within reports whether a path is another one or lies below it.
func within(p, above string) bool { return strings.HasPrefix(p+"/", above+"/") }

// Kind is of source.Source.
func (s *Source) Kind() string { return Kind }

// Paths is of source.Source.
func (s *Source) Paths() []string {
	out := make([]string, len(s.streams))
	for i := range s.streams {
		out[i] = s.streams[i].Name
	}
	return out
}

// Write is of source.Source. It fails if any stream is empty or any command fails.
func (s *Source) Write(ctx context.Context, out source.Writer) error {
	for i := range s.streams {
		if err := s.write(ctx, out, &s.streams[i]); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return err
		}
	}
	return nil
}

func (s *Source) write(ctx context.Context, out source.Writer, st *Stream) error {
	at := s.Time
	if at.IsZero() {
		at = clock.Now()
	}
	node := source.FileNode(0o644)
	node.MTime = tree.MakeTime(at.Unix(), uint32(at.Nanosecond()))
	f, err := out.Create(st.Name, node)
	if err != nil {
		return err
	}
	if st.Reader != nil {
		err = s.read(ctx, f, st, st.Reader)
	} else {
		err = s.readCommand(ctx, f, st)
	}
	switch {
	case err != nil:
		return err
	case f.Size() == 0:
		return fmt.Errorf("%w: %s", ErrEmpty, st.Name)
	}
	return f.Close()
}

func (s *Source) readCommand(ctx context.Context, f source.File, st *Stream) error {
	argv, err := st.argv()
	if err != nil {
		return err
	}
	c, err := Start(ctx, argv)
	if err != nil {
		return &CommandError{Command: st.called(), Err: err}
	}
	if err := s.read(ctx, f, st, c.Output()); err != nil {
		c.Stop()
		if errors.Is(err, errHeldOpen) {
			return &CommandError{Command: st.called(), Err: errHeldOpen}
		}
		return err
	}
	if err := c.Wait(); err != nil {
		return &CommandError{Command: st.called(), Err: err}
	}
	return nil
}

func (s *Source) read(ctx context.Context, f source.File, st *Stream, r io.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // lets the goroutine of the reader go
	in := &sniffer{r: NewReader(ctx, r)}
	if s.Warn != nil {
		in.tell = func(format string) { s.Warn(st.Name, format) }
	}
	if _, err := f.ReadFrom(in); err != nil {
		return fmt.Errorf("stream: reading %s: %w", st.Name, err)
	}
	return nil
}
