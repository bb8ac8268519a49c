package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/kura-backup/kura/internal/process"
)

// patience is how long a command that was asked to end may take.
const patience = process.Patience

// maxOutput is how much of what a command says is kept.
const maxOutput = 1 << 20

// run runs a program and returns what it printed.
func run(ctx context.Context, env []string, argv ...string) ([]byte, error) {
	cmd := process.New(ctx, argv)
	cmd.Env = append(os.Environ(), env...)
	var out, said limited
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, &CommandError{Command: argv, Output: firstLine(said.Bytes()), Err: err, all: said.String()}
	}
	return out.Bytes(), nil
}

// limited keeps the beginning of what is written.
type limited struct{ bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	l.Buffer.Write(p[:min(len(p), max(maxOutput-l.Len(), 0))])
	return len(p), nil
}

// command runs the user's own command for each step, which the environment names:
//
//	KURA_SNAPSHOT         create, check or remove
//	KURA_SNAPSHOT_NAME    the name to give to the copy
//	KURA_SNAPSHOT_OF      the path of the device
//	KURA_SNAPSHOT_AT      where the copy can be read, for check and remove, if that is known
//
// To create it prints, as its last line, where the copy can be read. To remove what is not there is no error.
type command struct{ text string }

func (command) Writes() bool { return false }

func (p command) Create(ctx context.Context, c *Copy) error {
	c.begun = true
	out, err := p.step(ctx, "create", c)
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	at := strings.TrimSpace(lines[len(lines)-1])
	if !filepath.IsAbs(at) {
		return &CommandError{Command: []string{p.text}, Err: fmt.Errorf("it printed %.200q in place of the path of the snapshot", at)}
	}
	c.At = at
	return nil
}

func (p command) Check(ctx context.Context, c *Copy) error {
	_, err := p.step(ctx, "check", c)
	if failed := (*exec.ExitError)(nil); errors.As(err, &failed) {
		return fmt.Errorf("%w: %w", ErrOverflow, err)
	}
	return err
}

func (p command) Remove(ctx context.Context, c *Copy) error {
	_, err := p.step(ctx, "remove", c)
	return err
}

func (p command) step(ctx context.Context, step string, c *Copy) ([]byte, error) {
	env := []string{"KURA_SNAPSHOT=" + step, "KURA_SNAPSHOT_NAME=" + c.Name, "KURA_SNAPSHOT_OF=" + c.Of, "KURA_SNAPSHOT_AT=" + c.At}
	return run(ctx, env, "/bin/sh", "-c", p.text)
}
