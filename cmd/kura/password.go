package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/term"

	"github.com/kura-backup/kura/internal/process"
	"github.com/kura-backup/kura/seal"
)

var (
	errEmpty = errors.New("is empty")
	errLines = errors.New("has more than one line")
	errZero  = errors.New("has a zero byte in it, as UTF-16 has")
)

// secretSource is where the password or the key comes from.
type secretSource struct {
	name  string // for messages
	value string
	read  func(a *app, ctx context.Context, value string) (seal.Credential, error)
}

// isKeyFile reports whether the source is a key file, which init generates if it is missing.
func (s *secretSource) isKeyFile() bool { return s.name == "--key-file" || s.name == "$"+envKeyFile }

// secretSources lists what the flags name or, without such flags, what the environment names.
func (o *access) secretSources() []secretSource {
	var flags, env []secretSource
	for _, s := range []struct {
		flag, value, variable string
		read                  func(a *app, ctx context.Context, value string) (seal.Credential, error)
	}{
		{"--password-file", o.passwordFile, envPasswordFile, (*app).passwordFromFile},
		{"--password-command", o.passwordCommand, envPasswordCommand, (*app).passwordFromCommand},
		{"--key-file", o.keyFile, envKeyFile, (*app).keyFromFile},
		{"", "", envPassword, o.passwordFromEnvironment},
	} {
		if s.value != "" {
			flags = append(flags, secretSource{o.flag(s.flag), s.value, s.read})
		}
		if v := o.env(s.variable); v != "" {
			env = append(env, secretSource{"$" + o.variable(s.variable), v, s.read})
		}
	}
	if len(flags) > 0 {
		return flags
	}
	return env
}

// secret returns the one source that was given, or nil.
func (o *access) secret() (*secretSource, error) {
	sources := o.secretSources()
	switch len(sources) {
	case 0:
		return nil, nil
	case 1:
		return &sources[0], nil
	}
	names := make([]string, len(sources))
	for i, s := range sources {
		names[i] = s.name
	}
	return nil, usage("more than one password or key: "+strings.Join(names, ", "), "give one of them")
}

func (o *access) passwordFromEnvironment(_ *app, _ context.Context, value string) (seal.Credential, error) {
	return newPassword([]byte(value), "$"+o.variable(envPassword))
}

func (a *app) passwordFromFile(_ context.Context, path string) (seal.Credential, error) {
	line, err := readLine(path, "password file")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, withHint(err, "put your copy of it there; for a new repository or key, write a password into it first, and keep a copy elsewhere")
	}
	if err != nil {
		return nil, err
	}
	return seal.Passphrase([]byte(line)), nil
}

// passwordFromCommand runs a command in the shell. What it says on standard error is passed on.
func (a *app) passwordFromCommand(ctx context.Context, command string) (seal.Credential, error) {
	cmd := process.New(ctx, []string{"/bin/sh", "-c", command})
	cmd.Stderr = a.stderr
	var out bytes.Buffer
	cmd.Stdout = &limitedWriter{&out, maxLine}
	if err := cmd.Run(); err != nil {
		err = fmt.Errorf("password command: %w", err)
		if errors.Is(err, exec.ErrWaitDelay) {
			err = withHint(err, "something that it has started goes on and keeps its output open, so that there may be more to come: let that print elsewhere")
		}
		return nil, err
	}
	return newPassword(out.Bytes(), "what the password command printed")
}

func newPassword(b []byte, where string) (seal.Credential, error) {
	line, err := oneLine(b)
	if err != nil {
		return nil, fmt.Errorf("%s %w; it must be a password on one line", where, err)
	}
	return seal.Passphrase([]byte(line)), nil
}

// limitedWriter refuses more than left bytes.
type limitedWriter struct {
	w    io.Writer
	left int
}

func (l *limitedWriter) Write(p []byte) (int, error) {
	if len(p) > l.left {
		return 0, errors.New("more output than a password has")
	}
	l.left -= len(p)
	return l.w.Write(p)
}

func (a *app) keyFromFile(_ context.Context, path string) (seal.Credential, error) {
	c, err := readKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, withHint(err, "put your copy of the key file there; without it, or a password, nobody can open the repository")
	}
	return c, err
}

// keyboard returns the terminal to ask at, or nil. Standard input may be the data to back up, and
// the user sits at the terminal all the same.
func (a *app) keyboard() (tty *os.File, done func()) {
	if a.globals.json || !term.IsTerminal(int(a.stderr.Fd())) {
		return nil, nil
	}
	if term.IsTerminal(int(a.stdin.Fd())) {
		return a.stdin, func() {}
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, nil
	}
	return tty, func() { _ = tty.Close() }
}

// askNewPassword asks for the password of a new repository at the terminal, twice.
func (a *app) askNewPassword(ctx context.Context) (seal.Credential, error) {
	tty, done, err := a.keyboardFor(&a.globals.access)
	if err != nil {
		return nil, err
	}
	defer done()
	a.term.Info("whoever loses the password loses the backup: keep a copy of it outside of this machine")
	return a.askTwice(ctx, tty, "password for the new repository:")
}

// askTwice asks for a new password, and for the same again.
func (a *app) askTwice(ctx context.Context, tty *os.File, question string) (seal.Credential, error) {
	password, err := a.readPassword(ctx, tty, question)
	if err != nil {
		return nil, err
	}
	c, err := newPassword(password, "the password")
	if err != nil {
		return nil, err
	}
	again, err := a.readPassword(ctx, tty, "the same password again:")
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(password, again) {
		return nil, usage("the two passwords differ", "nothing was done; run the command again")
	}
	return c, nil
}

// askPasswordOf asks at the terminal for the password of a repository that there is.
func (a *app) askPasswordOf(ctx context.Context, o *access) (seal.Credential, error) {
	tty, done, err := a.keyboardFor(o)
	if err != nil {
		return nil, err
	}
	defer done()
	question := "password for the repository:"
	if o.from {
		question = "password for the repository to take from:"
	}
	password, err := a.readPassword(ctx, tty, question)
	if err != nil {
		return nil, err
	}
	return newPassword(password, "the password")
}

// keyboardFor returns the terminal to ask for a password at. Without one the error says how else to give it.
func (a *app) keyboardFor(o *access) (tty *os.File, done func(), err error) {
	if tty, done = a.keyboard(); tty != nil {
		return tty, done, nil
	}
	missing := "no password was given, and there is no terminal to ask at"
	if o.from {
		missing = "no password for the repository to take from was given, and there is no terminal to ask at"
	}
	return nil, nil, usage(missing, fmt.Sprintf("give it with %s, %s, %s, $%s, $%s, $%s or $%s",
		o.flag("--password-file"), o.flag("--password-command"), o.flag("--key-file"),
		o.variable(envPassword), o.variable(envPasswordFile), o.variable(envPasswordCommand), o.variable(envKeyFile)))
}

// readPassword reads a line that is not shown.
func (a *app) readPassword(ctx context.Context, tty *os.File, question string) ([]byte, error) {
	fd := int(tty.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return nil, err
	}
	show := func() { _ = term.Restore(fd, before) }
	if err := hideTyping(fd); err != nil {
		return nil, err
	}
	defer show()
	a.term.Ask(question)
	defer a.term.Error("") // the user's own line end is not shown either
	return waitFor(ctx, func() ([]byte, error) { return readHidden(tty) }, show)
}

// waitFor waits for a read of the keyboard or the end of ctx. A read of a terminal can not be broken
// off; the one that is left behind ends with the program, which is next.
func waitFor(ctx context.Context, read func() ([]byte, error), undo func()) ([]byte, error) {
	type answer struct {
		line []byte
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		line, err := read()
		got <- answer{line, err}
	}()
	select {
	case a := <-got:
		return a.line, a.err
	case <-ctx.Done():
		undo()
		return nil, context.Cause(ctx)
	}
}

// confirm asks a question that is answered with y or n; no answer is no.
func (a *app) confirm(ctx context.Context, tty *os.File, question string) (bool, error) {
	a.term.Ask(question + " (y/N)")
	line, err := waitFor(ctx, func() ([]byte, error) { return readAnswer(tty, 1024) }, func() {})
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	switch strings.ToLower(strings.TrimSpace(string(line))) {
	case "y", "yes":
		return true, nil
	}
	return false, nil
}

// readAnswer reads a line of so many bytes at most, byte by byte, so that nothing behind it is lost.
func readAnswer(tty io.Reader, most int) ([]byte, error) {
	var line []byte
	for len(line) < most {
		var b [1]byte
		if _, err := io.ReadFull(tty, b[:]); err != nil {
			return line, err
		}
		if b[0] == '\n' {
			break
		}
		line = append(line, b[0])
	}
	return line, nil
}
