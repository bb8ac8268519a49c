package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/kura-backup/kura/internal/process"
	"github.com/kura-backup/kura/remote"
	"github.com/kura-backup/kura/ui"
)

// nameAgent is the command that is run on another machine.
const nameAgent = "agent"

// agentCommand is what a kura elsewhere has sent here, and speaks with.
func (a *app) agentCommand() *cobra.Command {
	var folder, work string
	cmd := &cobra.Command{
		Use:    nameAgent,
		Short:  "run a command for a kura on another machine",
		Hidden: true,
		Args:   noArgs,
		RunE:   func(cmd *cobra.Command, _ []string) error { return a.runAgent(cmd.Context(), folder, work) },
	}
	cmd.Flags().StringVar(&folder, "folder", "", "private `folder` with this program, which is removed in the end")
	cmd.Flags().StringVar(&work, "work", "", "private `folder` for caches, which is removed in the end")
	return cmd
}

// exitCut is how an agent ends whose connection was cut. Of its own, so that the other side knows.
const exitCut = 75

// agentVersion is that of this program, as both sides compare it.
func agentVersion() string { return version + " " + revision() }

// stdio is the connection of an agent.
type stdio struct {
	io.Reader
	io.WriteCloser
}

// runAgent runs a command whose repository is at the other end of standard input and output. The connection's end is
// the command's: what it has begun is put in order then, as after an interrupt.
func (a *app) runAgent(ctx context.Context, folder, work string) (err error) {
	defer outliveOutput()() // which is the connection
	if folder == "" || work == "" {
		return usage("kura agent is started by a kura on another machine, with --folder and --work")
	}
	if err := noteProgram(folder, work); err != nil {
		return err
	}
	if err := leaveNoProgram(filepath.Join(folder, "kura")); err != nil {
		return err
	}
	caches := filepath.Join(work, "cache")
	defer func() { err = errors.Join(err, os.RemoveAll(caches)) }()
	defer func() {
		if errors.Is(err, remote.ErrCut) {
			err = errors.Join(exitStatus(exitCut), err)
		}
	}()
	peer, err := remote.Dial(ctx, stdio{a.stdin, os.Stdout}, agentVersion())
	if err != nil {
		return err
	}
	defer peer.Close()
	command := peer.Command()
	if err := setEnvironment(command.Env, work); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(peer.Context(), func() { cancel(errInterrupted) })()

	said, err := divertOutput(peer.Stderr())
	if err != nil {
		return err
	}
	nothing, err := os.Open(os.DevNull)
	if err != nil {
		return errors.Join(err, said.stop())
	}
	defer nothing.Close()
	width := 0
	if command.Terminal.Live {
		width = command.Terminal.Width
	}
	agent := &app{
		peer: peer, stdin: nothing, stderr: said.w,
		term: ui.NewFar(peer.Stdout(), peer.Stderr(), width, command.Terminal.Color),
	}
	agent.globals.private = caches
	code := agent.execute(ctx, command.Args, peer.Stdout(), peer.Stderr())
	return errors.Join(said.stop(), peer.Finish(code))
}

// noteProgram puts down in the private folders who works in them: the shell that has made them, and would remove them, may be killed alone. Who looks
// may be another user than we are.
func noteProgram(folders ...string) error {
	for _, dir := range slices.Compact(folders) {
		f, err := os.OpenFile(filepath.Join(dir, "program"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(f, os.Getpid())
		if err := errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// leaveNoProgram removes this program's file, so that it is not left behind even if all are killed that would clean up. It runs on without, and
// a link to itself is what those start that need it as another process, such as the watchdog of a frozen file system.
func leaveNoProgram(path string) error {
	if runtime.GOOS != "linux" {
		return nil // the shell that has started us removes it
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	return os.Symlink(fmt.Sprintf("/proc/%d/exe", os.Getpid()), path)
}

// longestTemp is how long the path of a folder for temporary files may be, in which sockets are made: their names have 107 bytes at most.
const longestTemp = 80

// setEnvironment keeps what this machine's own kura is told to itself, and adds variables. What is put down for a while goes to a folder that is
// removed.
func setEnvironment(env []string, work string) error {
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "KURA_") {
			if err := os.Unsetenv(name); err != nil {
				return err
			}
		}
	}
	if len(work) <= longestTemp {
		if err := process.SetTemp(work); err != nil {
			return err
		}
	}
	for _, v := range env {
		name, value, _ := strings.Cut(v, "=")
		if err := os.Setenv(name, value); err != nil {
			return fmt.Errorf("environment: %w", err)
		}
	}
	return nil
}

// diversion is what programs print that the command starts.
type diversion struct {
	r, w           *os.File
	stdout, stderr *os.File // as they were
	done           sync.WaitGroup
}

// divertOutput makes what is printed to this process's own output and error come to w: the real output is a connection.
func divertOutput(w io.Writer) (*diversion, error) {
	d := &diversion{stdout: os.Stdout, stderr: os.Stderr}
	var err error
	if d.r, d.w, err = os.Pipe(); err != nil {
		return nil, err
	}
	os.Stdout, os.Stderr = d.w, d.w
	d.done.Go(func() { _, _ = io.Copy(w, d.r) }) // a connection that is cut is noticed elsewhere
	return d, nil
}

// divertGrace is how long programs that were left running may go on to print.
const divertGrace = time.Second

// stop puts everything back, and waits for what was printed.
func (d *diversion) stop() error {
	os.Stdout, os.Stderr = d.stdout, d.stderr
	err := d.w.Close()
	drained := make(chan struct{})
	go func() { // ends with the pipe, which is closed below
		d.done.Wait()
		close(drained)
	}()
	timer := time.NewTimer(divertGrace)
	defer timer.Stop()
	select {
	case <-drained:
	case <-timer.C:
	}
	err = errors.Join(err, d.r.Close())
	<-drained
	return err
}
