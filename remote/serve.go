package remote

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/seal"
)

// Purpose is what the command on the far side is for: it says what it may do here.
type Purpose uint8

// The purposes.
const (
	Backup  Purpose = 1 // adds snapshots, and reads none: all files are read there each time
	Restore Purpose = 2 // reads, and changes nothing
	// Update is Backup that also reads folders and manifests, of all snapshots, if the key here does: for what goes on from
	// an earlier snapshot. It reads no file.
	Update Purpose = 3
)

// writes reports whether a command adds snapshots.
func (p Purpose) writes() bool { return p == Backup || p == Update }

// reads reports whether it reads what is of a kind.
func (p Purpose) reads(kind seal.Kind) bool { return p == Restore || p == Update && kind == seal.Meta }

// Command is what the far side is to run.
type Command struct {
	Args []string // without the program's name
	// Env are variables ("NAME=value") that it is to have, beside its own.
	Env      []string
	Terminal Terminal
}

// Terminal is where what the command prints will be seen.
type Terminal struct {
	Width int // 0: it is none
	Color bool
	Live  bool // whether lines may be rewritten, as for progress
}

// ServeOptions say what is served.
type ServeOptions struct {
	// Repository is open for as long as Serve runs. Required.
	Repository *repo.Repository
	Purpose    Purpose // required
	Command    Command
	// Version is the program's. Another one on the far side is refused.
	Version string
	// Patience is for how long nothing may move before the far side has answered; 0: for ever. Later it is for whoever has made the connection
	// to notice that it is gone.
	Patience time.Duration
	// Stdout and Stderr get what the command prints, one write at a time. Nil discards it. What comes is not to be
	// trusted: a terminal must not see it as it is.
	Stdout, Stderr io.Writer
}

// Result is how a command on the far side ended, or what is known of one whose connection was cut.
type Result struct {
	Exit int // what Finish was called with; -1 if it was not
	// Began says that the far side has answered, and has the command.
	Began bool
	// Snapshots are those that it has added to the log, in this order. Partial ones are not among them.
	Snapshots []object.SessionID
	// Received and Sent are the bytes that have come and gone over the connection.
	Received, Sent uint64
}

// stopGrace is how long a command has that is told to stop.
const stopGrace = 20 * time.Second

// Serve lets the far side of conn run the command with the repository, and returns when it has ended. It closes conn. The
// error wraps ErrCut when the connection ended before the command, and ErrProtocol, ErrVersion or the cause of ctx where
// these ended it; a command that failed is no error, see Result.Exit. When ctx is done the far side is told, has some
// seconds to end the command in order, and then is cut off.
func Serve(ctx context.Context, conn io.ReadWriteCloser, o ServeOptions) (Result, error) {
	if err := o.Purpose.check(); err != nil {
		return Result{Exit: -1}, err
	}
	g := &gate{repo: o.Repository, purpose: o.Purpose}
	s := newServer(conn, o.Repository.Store(), g, &views{repo: o.Repository, tell: o.Purpose.reads(seal.Meta)})
	s.stdout, s.stderr = o.Stdout, o.Stderr
	// What is under way when ctx ends is not cut off, but for the grace. What has come as a whole is put also when the
	// connection ends: so it need not come again.
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var greeted atomic.Bool
	defer context.AfterFunc(ctx, func() {
		end := func() {
			_ = s.conn.End(context.Cause(ctx))
			cancel()
		}
		if !greeted.Load() {
			end()
			return
		}
		late := time.AfterFunc(stopGrace, end)
		defer context.AfterFunc(inner, func() { late.Stop() })
		_ = s.conn.Send(inner, cancelFrame, 0, nil)
	})()
	enough := make(chan struct{})
	if o.Patience > 0 {
		s.working.Go(func() { watch(s.conn, o.Patience, enough, func() uint64 { return s.conn.Received() + s.conn.Sent() }) })
	}
	err := s.greet(inner, &o)
	close(enough)
	if err == nil {
		greeted.Store(true)
		err = s.serve(inner)
	}
	_ = s.conn.End(err)
	s.working.Wait()
	res := Result{Exit: s.exit, Began: greeted.Load(), Snapshots: g.settle(inner), Received: s.conn.Received(), Sent: s.conn.Sent()}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return res, err
}

// reads reports whether the far side is to read what is of a kind: if that is its purpose, and the key here can.
func (o *ServeOptions) reads(kind seal.Kind) bool {
	return o.Purpose.reads(kind) && o.Repository.Keys().CanRead(kind)
}

// greet hears who is there, and says what is to be done.
func (s *server) greet(ctx context.Context, o *ServeOptions) error {
	if err := s.hear(); err != nil {
		return err
	}
	keys, err := o.Repository.Keys().Lend()
	if err != nil {
		return err
	}
	caps := o.Repository.Store().Caps()
	t := o.Command.Terminal
	body, err := wire.Marshal(&hello{
		Version: o.Version, Args: o.Command.Args, Env: o.Command.Env, Purpose: o.Purpose, Keys: keys,
		Width: uint16(min(max(t.Width, 0), 1<<15)), Color: t.Color, Live: t.Live,
		OnlyOnce: caps.CreateOnly, Durable: caps.Durable,
		Data: o.reads(seal.Data), Meta: o.reads(seal.Meta),
	})
	if err != nil {
		return err
	}
	if len(body) > maxHello {
		return fmt.Errorf("remote: the command takes %d bytes", len(body))
	}
	head, err := wire.Marshal(&announced{Body: uint32(len(body))})
	if err != nil {
		return err
	}
	if err := s.conn.Send(ctx, helloFrame, 0, head); err != nil {
		return err
	}
	if err := s.conn.SendRow(ctx, 0, body, true, nil); err != nil {
		return err
	}
	f, err := s.conn.Read()
	if err != nil {
		return err
	}
	if f.Type != welcomeFrame {
		return unexpected(f)
	}
	var w welcome
	if err := decode(f.Payload, &w); err != nil {
		return err
	}
	if w.Version != o.Version {
		return otherVersion(w.Version, o.Version)
	}
	return nil
}

// hear reads up to the greeting. What a login prints before it, or says in place of it, is not kura's.
func (s *server) hear() error {
	var said []byte
	for !bytes.HasSuffix(said, []byte(greeting)) {
		if len(said) == maxNoise {
			return &NoPeerError{said}
		}
		said = append(said, 0)
		if err := s.conn.ReadFull(said[len(said)-1:]); err != nil {
			said = said[:len(said)-1]
			if s.conn.Err() == nil && err == io.EOF && !strings.HasPrefix(greeting, string(said)) {
				return &NoPeerError{said}
			}
			return s.conn.End(err)
		}
	}
	return nil
}
