package mysql

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	patience   = 10 * time.Second // for a program that was asked to end, or a lock to go
	maxMessage = 16 << 10         // of what a program says is kept
)

// tool is a program of a vendor.
type tool struct {
	path    string
	version string // of the server that it comes with
	mariaDB bool
}

func (t *tool) String() string { return t.path + " " + t.version }

func (t *tool) name() string { return filepath.Base(t.path) + " " + t.version }

// series is what version begins with: 10.11.
func (t *tool) series() string {
	parts := strings.SplitN(t.version, ".", 3)
	return strings.Join(parts[:min(len(parts), 2)], ".")
}

var (
	distrib  = regexp.MustCompile(`(?:Distrib |from |server )(\d+\.\d+\.\d+)`)
	verNaked = regexp.MustCompile(`Ver (\d+\.\d+\.\d+)`)
)

// findTool returns the first program on PATH of the names that is of the right vendor.
func findTool(ctx context.Context, mariaDB bool, names ...string) (*tool, error) {
	var others []string
	for _, name := range names {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		out, err := exec.CommandContext(ctx, path, "--no-defaults", "--version").CombinedOutput()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %s --version: %w: %s", ErrProgram, path, err, firstLine(out))
		}
		t := &tool{path: path, mariaDB: bytes.Contains(bytes.ToLower(out), []byte("mariadb"))}
		for _, r := range []*regexp.Regexp{distrib, verNaked} {
			if m := r.FindSubmatch(out); m != nil && t.version == "" {
				t.version = string(m[1])
			}
		}
		if t.mariaDB == mariaDB {
			return t, nil
		}
		others = append(others, path)
	}
	vendor := "MySQL"
	if mariaDB {
		vendor = "MariaDB"
	}
	if len(others) > 0 {
		return nil, fmt.Errorf("%w: the server is %s, and %s is of the other vendor", ErrProgram, vendor, strings.Join(others, ", "))
	}
	return nil, fmt.Errorf("%w: there is no %s of %s on PATH", ErrProgram, strings.Join(names, " or "), vendor)
}

func firstLine(b []byte) string {
	s, _, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
	return s
}

// command prepares a program that asks the server. What it needs to get in it reads from a file in memory that has no name, which
// release closes: some programs read it several times, so that a pipe would not do.
func (t *tool) command(ctx context.Context, c *Config, args ...string) (cmd *exec.Cmd, release func(), err error) {
	fd, err := unix.MemfdCreate("options", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, nil, os.NewSyscallError("memfd_create", err)
	}
	r := os.NewFile(uintptr(fd), "options")
	// Programs ignore option files that everybody may write.
	err = r.Chmod(0o600)
	if err == nil {
		_, err = r.WriteString(c.optionFile(t.mariaDB))
	}
	if err != nil {
		return nil, nil, errors.Join(err, r.Close())
	}
	cmd = exec.CommandContext(ctx, t.path, append([]string{"--defaults-file=/dev/fd/3"}, args...)...)
	cmd.ExtraFiles = []*os.File{r}
	cmd.Env = environment()
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.WaitDelay = patience
	cmd.Stderr = &messages{}
	return cmd, func() { r.Close() }, nil
}

// environment is this process's without the variables by which the vendors' programs find a server, an account and a password: some count
// for more than the option file does. Those of MySQL read ~/.mylogin.cnf even so, unless it is elsewhere. Where the plugins are by which
// they prove who they are, they may only know from there.
func environment() []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		return (strings.HasPrefix(v, "MYSQL_") || strings.HasPrefix(v, "MARIADB_")) && !strings.HasPrefix(v, "MARIADB_PLUGIN_DIR=")
	})
	return append(env, "MYSQL_TEST_LOGIN_FILE=/dev/null/none")
}

// pipe runs a program, whose output take reads to its end. It returns nil only if both end well. When take fails in the middle the
// program is ended, and the error is that of take; when the program fails, that it ends early is no news.
func (t *tool) pipe(ctx context.Context, c *Config, args []string, take func(io.Reader) error) (*exec.Cmd, error) {
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd, release, err := t.command(running, c, args...)
	if err != nil {
		return nil, err
	}
	defer release()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFailed, err)
	}
	out := &ending{Reader: stdout}
	terr := take(out)
	if terr != nil && !out.ended {
		cancel() // it would wait for its reader
	}
	werr := cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case terr != nil && !out.ended:
		return nil, terr
	case werr != nil:
		return nil, failure(cmd, werr)
	}
	return cmd, terr
}

// ending notes whether a reader came to its end.
type ending struct {
	io.Reader
	ended bool
}

func (e *ending) Read(p []byte) (int, error) {
	n, err := e.Reader.Read(p)
	e.ended = e.ended || err == io.EOF
	return n, err
}

// messages keeps the end of what a program says.
type messages struct{ buf []byte }

func (m *messages) Write(p []byte) (int, error) {
	m.buf = append(m.buf, p...)
	if extra := len(m.buf) - maxMessage; extra > 0 {
		m.buf = append(m.buf[:0], m.buf[extra:]...)
	}
	return len(p), nil
}

// said returns what a program has said on standard error.
func said(cmd *exec.Cmd) string { return strings.TrimSpace(string(cmd.Stderr.(*messages).buf)) }

// altered is ER_TABLE_DEF_CHANGED.
var altered = regexp.MustCompile(`(?i:error|errno)[ :(]*1412\b|\(1412\)`)

// failure says why a program failed, in its own words.
func failure(cmd *exec.Cmd, err error) error {
	text := reasons(said(cmd))
	if altered.MatchString(text) {
		return fmt.Errorf("%w: %s", ErrDefinitionChanged, text)
	}
	if text == "" {
		return fmt.Errorf("%w: %s: %w", ErrFailed, cmd.Path, err)
	}
	return fmt.Errorf("%w: %s: %w: %s", ErrFailed, cmd.Path, err, text)
}

// reasons keeps of what a program says, which is a lot for mariadb-backup, the last lines about what went wrong.
func reasons(text string) string {
	lines := strings.Split(text, "\n")
	var about []string
	for _, l := range lines {
		if strings.Contains(l, "rror") || strings.Contains(l, "ailed") || strings.Contains(l, "denied") {
			about = append(about, l)
		}
	}
	if len(about) == 0 {
		about = lines
	}
	return strings.Join(about[max(0, len(about)-5):], "\n")
}
