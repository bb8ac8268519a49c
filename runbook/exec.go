package runbook

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/kura-backup/kura/internal/process"
)

// Run is the Exec of a World: it runs programs.
func (c Exec) Run(ctx context.Context) error { return c.RunWith(ctx, nil) }

// RunWith runs the program with more variables in its environment.
func (c Exec) RunWith(ctx context.Context, env []string) error {
	cmd := process.New(ctx, c.Argv)
	cmd.Stdout, cmd.Stderr = c.Out, c.Out
	if f, ok := c.Out.(*os.File); ok {
		cmd.ExtraFiles = []*os.File{f} // for its lock, also if what it prints goes elsewhere
	}
	if len(env) > 0 {
		cmd.Env = append(os.Environ(), env...)
	}
	err := cmd.Run()
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// attempt is one attempt at a step, or at taking it back.
type attempt struct {
	step *Step
	w    *World
	run  *Run
	note note // what this attempt will change
	log  *stepLog
	cut  bool // it was asked to end
}

// exec runs a command of the step.
func (a *attempt) exec(ctx context.Context, argv []string) error {
	if err := a.log.run(ctx, a.w, Quote(argv), argv, true); err != nil {
		return fmt.Errorf("%s: %w", brief(argv), err)
	}
	return nil
}

// brief is a command line for a message: what is done, and if that is short to what.
func brief(argv []string) string {
	n := len(argv)
	if argv[0] != systemctl { // kura: the words before the snapshot
		for n = 1; n < len(argv) && isWord(argv[n]) && argv[n][0] != '-'; n++ {
		}
	}
	return strings.Join(append([]string{filepath.Base(argv[0])}, argv[1:n]...), " ")
}

// stillRuns adds to the error of an attempt that was asked to end that it has not done so.
func (a *attempt) stillRuns(err error) error {
	if !a.cut {
		return err
	}
	switch alone, aerr := a.log.alone(); {
	case aerr != nil:
		return errors.Join(err, aerr)
	case !alone:
		return fmt.Errorf("%w; what it has started was asked to end and is still running (fuser -v %s)", err, Quote([]string{a.log.name}))
	}
	return err
}

// command runs a command of the plan.
func (a *attempt) command(ctx context.Context, c Command) error {
	argv, err := c.argv()
	if err != nil {
		return err
	}
	if err := a.log.run(ctx, a.w, c.String(), argv, true); err != nil {
		return fmt.Errorf("%s: %w", c, err)
	}
	return nil
}

// ask runs a command that answers by how it ends. One that was stopped has not answered.
func (a *attempt) ask(ctx context.Context, c Command) (bool, error) {
	ctx, cancel := withTimeout(ctx, shortTime)
	defer cancel()
	err := a.command(ctx, c)
	switch {
	case err == nil:
		return true, nil
	case ctx.Err() != nil:
		return false, timeoutOr(ctx, err)
	}
	if exit := exitCoder(nil); errors.As(err, &exit) && exit.ExitCode() > 0 && exit.ExitCode() < notRun {
		return false, nil
	}
	return false, err
}

// notRun is the first of the exit codes by which a shell says that it could not run a command.
const notRun = 126

// exitCoder is the error of a program that has ended.
type exitCoder interface{ ExitCode() int }

// output runs a program and returns what it prints, which nobody else wants to see.
func (a *attempt) output(ctx context.Context, argv []string) (string, error) {
	err := a.log.run(ctx, a.w, Quote(argv), argv, false)
	return string(a.log.last), err
}

func withTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if d == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, d, fmt.Errorf("%w (after %v)", ErrTimeout, d))
}

// timeoutOr is the reason for the end of a context, if it ended, or else the error.
func timeoutOr(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
