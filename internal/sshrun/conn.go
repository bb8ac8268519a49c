package sshrun

import (
	"bufio"
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync/atomic"
	"time"
)

//go:embed script.sh
var script string

// endGrace is for the program there to put things in order, and for the script to remove the folder.
const endGrace = 15 * time.Second

// noiseLimit bounds what start-up files may print.
const noiseLimit = 64 << 10

// Options say what is run, and where.
type Options struct {
	Machine Machine
	Command string  // in place of "ssh", with its first arguments, as a shell takes it
	Binary  *Binary // required
	// Run names what is done there, by letters and digits. A connection waits until the program of an earlier one for the same run has
	// ended. Required.
	Run string
	// Waiting is called when there is one. It may be nil.
	Waiting func()
	// Patience is for how long nothing may move until the program is being started; 0: for ever. While ssh may be asking something it does not
	// count, and while an earlier connection is waited for there is a limit of its own.
	Patience time.Duration
	Keep     bool // keep the program there, for the next time
	Sudo     bool // run it as root
	MayAsk   bool // ssh may ask at the terminal
}

// Conn is a program that runs on another machine: its standard input and output. Read and Write may be called concurrently
// with each other and with Close.
type Conn struct {
	process  *Process
	out      *bufio.Reader
	uploaded atomic.Int64
	moved    func() // called when the program, or an answer, has moved on its way
}

// Start connects, and returns when the program there is being started. Until then ctx ends it, and so does a silence.
func Start(ctx context.Context, o Options) (*Conn, error) {
	command, err := argv(o.Machine, o.Command, o.MayAsk)
	if err != nil {
		return nil, err
	}
	p, handBack, err := StartProcess(command, o.MayAsk)
	if err != nil {
		return nil, &ConnectionError{Machine: o.Machine, Err: err}
	}
	defer handBack()
	stop := context.AfterFunc(ctx, p.End)
	quiet := newSilence(o.Patience, p.End)
	if !o.MayAsk {
		quiet.begin(0)
	}
	c := &Conn{process: p, out: bufio.NewReader(p.Out), moved: func() { quiet.begin(0) }}
	err = c.shake(o, quiet)
	tooLong := quiet.stop()
	if !stop() {
		p.End()
		return nil, context.Cause(ctx)
	}
	if tooLong {
		p.End()
		err = fmt.Errorf("%w for %v", errSilent, o.Patience)
	}
	if err == nil {
		return c, nil
	}
	if errors.Is(err, errNoise) {
		p.End() // it may print for ever
	} else {
		p.Close()
	}
	said, err := p.Failure(err)
	// What was printed before a connection broke says nothing of the shell there.
	if !errors.Is(err, ErrShell) || errors.Is(err, errNoise) || c.Status() >= 0 {
		for _, final := range []error{ErrMachine, ErrFolder, ErrUpload, ErrShell, ErrBusy} {
			if errors.Is(err, final) {
				return nil, err
			}
		}
	}
	if tooLong && said != "" { // which was not the reason
		err, said = fmt.Errorf("%w; ssh says: %s", err, said), ""
	}
	return nil, &ConnectionError{Machine: o.Machine, Err: err, Said: said}
}

// shake sends the script and the program.
func (c *Conn) shake(o Options, quiet *silence) error {
	drawn := make([]byte, 12)
	if _, err := rand.Read(drawn); err != nil {
		return err
	}
	marker := "kura-" + hex.EncodeToString(drawn)
	keep, become := 0, ""
	if o.Keep {
		keep = 1
	}
	if o.Sudo {
		become = "sudo -n"
	}
	text := fmt.Sprintf("marker=%s run=%s hash=%s size=%d keep=%d become='%s'\n%s", marker, o.Run, o.Binary.hash, len(o.Binary.data), keep, become, script)
	if _, err := fmt.Fprintf(c.process.In, "%d\n%s", len(text), text); err != nil {
		return c.unheard(marker, err)
	}
	said, err := c.answer(marker)
	if err == nil && said == "waiting" {
		quiet.begin(waitLimit)
		if o.Waiting != nil {
			o.Waiting()
		}
		said, err = c.answer(marker)
	}
	if err != nil {
		return err
	}
	system, machine, have, unpack := "", "", "", ""
	if n, _ := fmt.Sscanf(said, "ready %s %s %s %s", &system, &machine, &have, &unpack); n != 4 {
		return refusal(said)
	}
	if !o.Binary.fits(system, machine) {
		return fmt.Errorf("%w: that is a %.40q, %.40q", ErrMachine, system, machine)
	}
	return c.upload(o.Binary, marker, have == "yes", unpack == "yes")
}

// unheard is what there is to say when nobody reads the script: what was printed by whoever has ended before it came, or else err. Something that
// ssh has started may keep its output open.
func (c *Conn) unheard(marker string, err error) error {
	end := time.AfterFunc(closeGrace, c.process.Close)
	defer end.Stop()
	if _, shell := c.answer(marker); errors.Is(shell, ErrShell) {
		return shell
	}
	return err
}

// upload sends the program, unless it is there, and waits until it is about to run.
func (c *Conn) upload(b *Binary, marker string, have, unpack bool) error {
	sent := make(chan error, 1)
	go func() { // ends with the process, at the latest
		if have {
			_, err := io.WriteString(c.process.In, "run 0\n")
			sent <- err
			return
		}
		sent <- b.send(&counter{c.process.In, &c.uploaded, c.moved}, unpack)
	}()
	said, err := c.answer(marker)
	if err != nil {
		return err
	}
	if said != "start" {
		return refusal(said)
	}
	return <-sent
}

// answer returns the next line behind the marker.
func (c *Conn) answer(marker string) (string, error) {
	var noise []byte
	for len(noise) < noiseLimit {
		line, err := c.out.ReadSlice('\n')
		if _, said, ok := strings.Cut(string(line), marker+" "); ok && err == nil {
			c.moved()
			return strings.TrimSuffix(said, "\n"), nil
		}
		noise = append(noise, line...)
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			if text := onOneLine(noise); text != "" {
				return "", fmt.Errorf("%w: it printed: %.1000s", ErrShell, text)
			}
			return "", err
		}
	}
	return "", fmt.Errorf("%w: %w", ErrShell, errNoise)
}

// refusal is what the script fails with.
func refusal(said string) error {
	said = printable([]byte(said))
	switch {
	case strings.HasPrefix(said, "failed folder"):
		return fmt.Errorf("%w: tried%.500s", ErrFolder, strings.TrimPrefix(said, "failed folder"))
	case strings.HasPrefix(said, "failed write"):
		return fmt.Errorf("%w: writing it failed in%.500s", ErrUpload, strings.TrimPrefix(said, "failed write"))
	case strings.HasPrefix(said, "failed changed"):
		return fmt.Errorf("%w: it is not the same in%.500s; is that disk full", ErrUpload, strings.TrimPrefix(said, "failed changed"))
	}
	if strings.HasPrefix(said, "failed busy") {
		return fmt.Errorf("%w:%.500s", ErrBusy, strings.TrimPrefix(said, "failed busy"))
	}
	return fmt.Errorf("%w: it answered %.200q", ErrShell, said)
}

// counter counts what is written.
type counter struct {
	w     io.Writer
	n     *atomic.Int64
	moved func()
}

func (c *counter) Write(p []byte) (n int, err error) {
	const step = 64 << 10 // so that it counts while a large write is under way
	for len(p) > 0 && err == nil {
		var m int
		m, err = c.w.Write(p[:min(step, len(p))])
		c.n.Add(int64(m))
		c.moved()
		n, p = n+m, p[m:]
	}
	return n, err
}

// Uploaded is how many bytes of the program were sent.
func (c *Conn) Uploaded() int64 { return c.uploaded.Load() }

// Read reads what the program prints. It ends with io.EOF when the program, or the connection, has ended.
func (c *Conn) Read(p []byte) (int, error) { return c.out.Read(p) }

// Write writes to the program's input.
func (c *Conn) Write(p []byte) (int, error) { return c.process.In.Write(p) }

// Close closes the program's input, waits until it has ended and the folder there is removed, and ends the connection if
// that takes too long.
func (c *Conn) Close() error {
	// A program that prints to somebody who does not read comes to no end.
	go func() { _, _ = io.Copy(io.Discard, c.process.Out) }() // until the process is closed
	c.process.closeWithin(endGrace)
	return nil
}

// Kill ends the connection at once. What runs there sees the end of its input.
func (c *Conn) Kill() { c.process.Kill() }

// Pid is that of the ssh process.
func (c *Conn) Pid() int { return c.process.Pid() }

// Failure is what there is to say about a connection that broke with err. It waits until the process has ended.
func (c *Conn) Failure(m Machine, err error) *ConnectionError {
	said, err := c.process.Failure(err)
	return &ConnectionError{Machine: m, Err: err, Said: said}
}

// broken is the exit status of an ssh whose connection broke, or was never there.
const broken = 255

// Status waits until the process has ended, and returns with which status the program there has, or -1 if that is not known: the connection
// broke.
func (c *Conn) Status() int {
	<-c.process.Done()
	if exit, ok := errors.AsType[*exec.ExitError](c.process.waitErr); ok && exit.ExitCode() != broken {
		return exit.ExitCode()
	} else if c.process.waitErr == nil {
		return 0
	}
	return -1
}
