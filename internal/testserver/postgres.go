package testserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
)

const postgresVar = "KURA_TEST_POSTGRES"

// Postgres is a running server that listens at a socket alone and trusts everybody there.
type Postgres struct {
	Socket string // the folder with the socket: $PGHOST
	User   string // the superuser: $PGUSER
	Bin    string // the folder with its programs
}

// NewPostgres starts a server for one test. Without the programs, whose folder the environment may name (KURA_TEST_POSTGRES), the
// test is skipped.
func NewPostgres(t testing.TB) *Postgres {
	t.Helper()
	bin := os.Getenv(postgresVar)
	if bin == "" {
		found, err := filepath.Glob("/usr/lib/postgresql/*/bin")
		if err != nil || len(found) == 0 {
			t.Skip("there is no PostgreSQL; `make apt` installs it")
		}
		bin = slices.Max(found)
	}
	// Not t.TempDir: a socket's path must be short.
	dir, err := os.MkdirTemp("", "kura-postgres-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &Postgres{Socket: filepath.Join(dir, "run"), User: "kura", Bin: bin}
	data := filepath.Join(dir, "run", "data")
	if err := s.prepare(dir, data); err != nil {
		t.Fatalf("testserver: %v", err)
	}
	argv := s.asUser(filepath.Join(bin, "postgres"), "-D", data, "-k", s.Socket, "-c", "listen_addresses=", "-c", "fsync=off")
	p, err := start(dir, argv[0], argv[1:], nil)
	if err != nil {
		t.Fatalf("testserver: %v", err)
	}
	t.Cleanup(func() { endPostgres(p) })
	if err := p.await(s.ready); err != nil {
		t.Fatalf("testserver: %v", err)
	}
	return s
}

// endPostgres ends the server in its own way: killed, it would leave shared memory behind.
func endPostgres(p *process) {
	_ = syscall.Kill(p.cmd.Process.Pid, syscall.SIGINT) // it may have ended
	select {
	case <-p.done:
	case <-time.After(startTimeout):
	}
	p.stop()
}

// prepare makes the folders and the first database.
func (s *Postgres) prepare(dir, data string) error {
	if err := errors.Join(os.Mkdir(s.Socket, 0o700), os.Chmod(dir, 0o755)); err != nil {
		return err
	}
	if os.Getuid() == 0 {
		if out, err := exec.Command("chown", "nobody:", s.Socket).CombinedOutput(); err != nil {
			return fmt.Errorf("chown: %w: %s", err, out)
		}
	}
	argv := s.asUser(filepath.Join(s.Bin, "initdb"), "-D", data, "-U", s.User, "--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C")
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	return nil
}

// asUser returns the command that runs a program as somebody else than root, which the server refuses to be.
func (s *Postgres) asUser(argv ...string) []string {
	if os.Getuid() != 0 {
		return argv
	}
	return append([]string{"setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--"}, argv...)
}

func (s *Postgres) ready(ctx context.Context) error {
	return exec.CommandContext(ctx, filepath.Join(s.Bin, "pg_isready"), "-q", "-h", s.Socket, "-U", s.User, "-d", "postgres").Run()
}

// Env is what the environment of clients must have.
func (s *Postgres) Env() []string {
	return []string{"PGHOST=" + s.Socket, "PGUSER=" + s.User, "PATH=" + s.Bin + string(os.PathListSeparator) + os.Getenv("PATH")}
}
