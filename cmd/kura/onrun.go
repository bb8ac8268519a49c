package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/kura-backup/kura/internal/clock"
	"github.com/kura-backup/kura/internal/sshrun"
	"github.com/kura-backup/kura/remote"
	"github.com/kura-backup/kura/ui"
)

// exitStatus is how a command on another machine ended, where everything has been said about that.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// farRun is a command that runs on another machine.
type farRun struct {
	a     *app
	job   *job
	start sshrun.Options
	serve remote.ServeOptions

	traffic ui.Traffic // of all connections together
	waited  bool       // for what an earlier connection had to put in order, on the last one
}

// runOn runs a command on another machine with the repository that is open here.
func (a *app) runOn(ctx context.Context, j *job) error {
	defer outliveOutput()() // what is done there is put in order
	binary, err := j.program()
	if err != nil {
		return err
	}
	p, err := a.placeFor(ctx, j)
	if err != nil {
		return err
	}
	return a.withPlace(ctx, p, func(r *session) error {
		if err := j.pin(ctx, r); err != nil {
			return err
		}
		f := a.newFar(j, r, binary)
		result, err := f.run(ctx)
		if f.traffic.Received+f.traffic.Program > 0 {
			a.term.Traffic(f.traffic)
		}
		if j.purpose != remote.Restore && len(result.Snapshots) > 0 && ctx.Err() == nil {
			a.mergeIndex(ctx, r)
			a.readIndex(ctx, r)
		}
		return err
	})
}

func (a *app) placeFor(ctx context.Context, j *job) (*place, error) {
	if j.purpose != remote.Restore {
		return a.placeOrOffer(ctx)
	}
	return a.place()
}

// program is what is sent.
func (o *onOptions) program() (*sshrun.Binary, error) {
	if o.binary == "" {
		return sshrun.Own()
	}
	b, err := sshrun.FromFile(o.binary)
	if err != nil {
		return nil, usage("--agent-binary: " + withoutPackages(err.Error()))
	}
	return b, nil
}

func (a *app) newFar(j *job, r *session, binary *sshrun.Binary) *farRun {
	width := a.farWidth()
	f := &farRun{a: a, job: j, traffic: ui.Traffic{Machine: j.machine.String()}}
	f.start = sshrun.Options{
		Machine: j.machine, Command: j.ssh, Binary: binary, Keep: j.keep, Sudo: j.sudo,
		MayAsk: a.mayAsk(), Run: rand.Text(),
		Waiting: func() {
			f.waited = true
			a.term.Info("what was cut off is being put in order there; waiting")
		},
	}
	f.serve = remote.ServeOptions{
		Repository: r.Repository, Purpose: j.purpose, Version: agentVersion(),
		Command: remote.Command{
			Args: j.argv, Env: farEnvironment(j.env),
			Terminal: remote.Terminal{Width: width, Color: a.term.OutputIsTerminal(), Live: width > 0},
		},
		Stdout: a.farOutput(), Stderr: a.farErrors(),
	}
	return f
}

// mayAsk reports whether somebody is there to answer ssh.
func (a *app) mayAsk() bool {
	tty, done := a.keyboard()
	if tty != nil {
		done()
	}
	return tty != nil
}

// farEnvironment is what the environment says here about what is done there, with the variables of the command.
func farEnvironment(more []string) (env []string) {
	for _, name := range append([]string{envPackSize, envParity, envParityGroups}, more...) {
		if value := os.Getenv(name); value != "" {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// How long to wait after a connection was cut: twice as long each time.
const (
	firstPause = time.Second
	maxPause   = time.Minute
)

// A connection has been good for something that moved so much, or on which the command ran so long.
const (
	progressBytes = 1 << 20
	progressTime  = time.Minute
)

// useful reports whether the last connection was good for something. On one that was silent from the beginning the time counts for nothing.
func (f *farRun) useful(result remote.Result, took time.Duration) bool {
	return f.waited || result.Received+result.Sent >= progressBytes || result.Began && took >= progressTime
}

// How long nothing may move until the program there has answered: the first time, when somebody may be looking, and later, when as long as
// for anything else is left.
const (
	firstPatience = 15 * time.Minute
	leastPatience = time.Minute
)

// patience is how long nothing may move on the next connection, after the last one that was good for something was cut so long ago.
func (f *farRun) patience(ago time.Duration) time.Duration {
	if f.traffic.Connections == 0 {
		return firstPatience
	}
	return min(firstPatience, max(leastPatience, f.job.reconnect-ago))
}

// run runs the command, again and again if the connection is cut, and says how it ended.
func (f *farRun) run(ctx context.Context) (remote.Result, error) {
	pause := firstPause
	lost := clock.Now() // when the last connection that was good for something was cut
	for {
		began := clock.Now()
		f.start.Patience = f.patience(clock.Since(lost))
		f.serve.Patience = f.start.Patience
		result, err := f.once(ctx)
		if err == nil {
			if result.Exit != exitOK {
				err = exitStatus(result.Exit)
			}
			return result, err
		}
		if f.useful(result, clock.Since(began)) {
			pause, lost = firstPause, clock.Now()
		}
		if why := f.final(ctx, result, err, clock.Since(lost)+pause); why != nil {
			return result, why
		}
		f.a.term.Info(fmt.Sprintf("%s; trying again in %v", ui.PrintableMessage(withoutPackages(err.Error())), pause))
		select {
		case <-ctx.Done():
			return result, context.Cause(ctx)
		case <-time.After(pause):
		}
		pause = min(2*pause, maxPause)
		f.start.MayAsk = false // nobody may be there any more
	}
}

// once runs the command over one connection.
func (f *farRun) once(ctx context.Context) (remote.Result, error) {
	f.traffic.Connections++
	f.waited = false
	none := remote.Result{Exit: -1}
	c, err := sshrun.Start(ctx, f.start)
	if err != nil {
		return none, err
	}
	result, err := remote.Serve(ctx, c, f.serve)
	_ = c.Close() // Serve has closed it
	f.traffic.Program += uint64(c.Uploaded())
	f.traffic.Received += result.Received
	f.traffic.Sent += result.Sent
	if err == nil || !errors.Is(err, remote.ErrCut) && !errors.Is(err, remote.ErrProtocol) {
		return result, err
	}
	said := c.Failure(f.job.machine, err).Said
	status := c.Status()
	if other, ok := errors.AsType[*remote.NoPeerError](err); ok && status < 0 { // what sudo prints, say, and then nothing
		err = fmt.Errorf("%w: it had said %q", remote.ErrCut, other.Said)
	}
	switch {
	case status >= 0 && (status != exitCut || !errors.Is(err, remote.ErrCut)):
		err = &endedError{f.job.machine, status, said}
	case said != "":
		err = fmt.Errorf("%w (ssh says: %s)", err, said)
	}
	return result, err
}

// endedError is a program that ended there before the command had.
type endedError struct {
	machine sshrun.Machine
	status  int
	said    string // there, as errors
}

func (e *endedError) Error() string {
	text := fmt.Sprintf("kura on %v ended with status %d before the command had", e.machine, e.status)
	if e.said != "" {
		text += ": " + e.said
	}
	return text
}

// final returns the error to end with, or nil if another attempt may help.
func (f *farRun) final(ctx context.Context, result remote.Result, err error, waited time.Duration) error {
	cut := errors.Is(err, remote.ErrCut)
	failed, isConnection := errors.AsType[*sshrun.ConnectionError](err)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case len(result.Snapshots) > 0 && !f.job.many:
		last := result.Snapshots[len(result.Snapshots)-1].Short()
		return withHint(fmt.Errorf("snapshot %s was saved, but then: %w", last, err),
			"the snapshot is there; what the command had still to say or to do, such as --after, is not known")
	case isConnection && !failed.InVain() && f.traffic.Connections > 1, cut:
		if !f.job.again {
			return withHint(err, "what was restored is there in part; look at it, and run the command again with --yes")
		}
		if waited <= f.job.reconnect {
			return nil
		}
		return withHint(err, "run the command again: what arrived is not sent twice")
	}
	return explainFar(f.job, err)
}

// explainFar says what to do about a machine on which the command could not be run.
func explainFar(j *job, err error) error {
	if failed, ok := errors.AsType[*sshrun.ConnectionError](err); ok && failed.InVain() {
		return withHint(err, "keys, and whether the machine is the right one, are for ssh to say: ssh "+j.machine.String()+" has to work, and without a question where there is no terminal")
	}
	ended, isEnded := errors.AsType[*endedError](err)
	switch {
	case errors.Is(err, remote.ErrVersion):
		return withHint(err, "--agent-binary has to name the same version of kura, from the same commit")
	case errors.Is(err, sshrun.ErrMachine):
		return withHint(err, "name a kura of the same version that was made for that machine with --agent-binary")
	case errors.Is(err, sshrun.ErrFolder):
		return withHint(err, "make room, or set $TMPDIR for that user to a folder in which programs can be executed")
	case errors.Is(err, sshrun.ErrCommand):
		return &usageError{err}
	case isEnded && j.sudo && (ended.status == 1 || ended.status == 127):
		return withHint(err, "is sudo there, and may the user run programs with it without a password")
	case isEnded && ended.status == 126:
		return withHint(err, "the program that was sent is not for that machine; --agent-binary names another one")
	case isEnded && ended.status == 137:
		return withHint(err, "it was killed: is there too little memory; dmesg on that machine tells")
	}
	return err
}
