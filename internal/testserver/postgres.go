package testserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const postgresVar = "KURA_TEST_POSTGRES"

// Postgres is a running server that listens at a socket alone and trusts everybody there. Its pages have checksums.
type Postgres struct {
	Socket string // the folder with the socket: $PGHOST
	User   string // the superuser: $PGUSER
	Bin    string // the folder with its programs
	Data   string // the folder with its data

	process *process
}

// NewPostgres starts a server for one test, with further arguments. Without the programs, whose folder the environment may name
// (KURA_TEST_POSTGRES), the test is skipped.
func NewPostgres(t testing.TB, args ...string) *Postgres {
	t.Helper()
	return startPostgres(t, "", args)
}

// PostgresOn starts a server for one test on a copy of the data in a folder, such as one that was restored.
func PostgresOn(t testing.TB, data string, args ...string) *Postgres {
	t.Helper()
	return startPostgres(t, data, args)
}

func startPostgres(t testing.TB, data string, args []string) *Postgres {
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
	s := &Postgres{Socket: filepath.Join(dir, "run"), User: "kura", Bin: bin, Data: filepath.Join(dir, "run", "data")}
	if err := s.prepare(dir, data); err != nil {
		t.Fatalf("testserver: %v", err)
	}
	argv := serveAs("nobody", filepath.Join(bin, "postgres"), "-D", s.Data, "-k", s.Socket, "-c", "listen_addresses=", "-c", "fsync=off")
	argv = append(argv, args...)
	if s.process, err = start(dir, argv[0], argv[1:], nil); err != nil {
		t.Fatalf("testserver: %v", err)
	}
	t.Cleanup(s.End)
	if err := s.process.await(s.ready); err != nil {
		t.Fatalf("testserver: %v", err)
	}
	return s
}

// End ends the server in its own way: killed, it would leave shared memory behind. Its data stays.
func (s *Postgres) End() {
	p := s.process
	_ = syscall.Kill(p.cmd.Process.Pid, syscall.SIGINT) // it may have ended
	select {
	case <-p.done:
	case <-time.After(startTimeout):
	}
	p.stop()
}

// Said is what the server has printed.
func (s *Postgres) Said(t testing.TB) string {
	t.Helper()
	out, err := os.ReadFile(s.process.log.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// prepare makes the folders and, without data to copy, the first database.
func (s *Postgres) prepare(dir, data string) error {
	if err := errors.Join(os.Mkdir(s.Socket, 0o700), os.Chmod(dir, 0o755)); err != nil {
		return err
	}
	if os.Getuid() == 0 {
		if out, err := exec.Command("chown", "nobody:", s.Socket).CombinedOutput(); err != nil {
			return fmt.Errorf("chown: %w: %s", err, out)
		}
	}
	argv := []string{"cp", "-a", "--reflink=auto", data, s.Data}
	if data == "" {
		argv = asUser(
			"nobody", filepath.Join(s.Bin, "initdb"), "-D", s.Data, "-U", s.User, "--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C", "--data-checksums",
		)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", argv[0], err, out)
	}
	return nil
}

func (s *Postgres) ready(ctx context.Context) error {
	return exec.CommandContext(ctx, filepath.Join(s.Bin, "pg_isready"), "-q", "-h", s.Socket, "-U", s.User, "-d", "postgres").Run()
}

// Client is the command of a client that reads SQL from its standard input, and ends at the first error.
func (s *Postgres) Client() *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.Bin, "psql"), "--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1", "--dbname=postgres")
	cmd.Env = append(os.Environ(), s.Env()...)
	return cmd
}

// SQL runs SQL as the superuser, and returns what it selects: a line for each row, with | between columns.
func (s *Postgres) SQL(t testing.TB, sql string) string {
	t.Helper()
	cmd := s.Client()
	cmd.Stdin = strings.NewReader(sql)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%.500s: %v: %s", sql, err, out)
	}
	return strings.TrimSuffix(string(out), "\n")
}

// Env is what the environment of clients must have.
func (s *Postgres) Env() []string {
	return []string{"PGHOST=" + s.Socket, "PGUSER=" + s.User, "PATH=" + s.Bin + string(os.PathListSeparator) + os.Getenv("PATH")}
}
