package testserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// MariaDB is a running server that listens at a socket alone, keeps a binary log and knows one account: root, without a password. It is
// safe for concurrent use.
type MariaDB struct {
	Socket string
	Data   string // folder with its data

	options []string
	process *process
}

const mariadbdVar = "KURA_TEST_MARIADBD"

var mariadbServer = &shared[*MariaDB]{start: func() (*MariaDB, func(), error) {
	s, err := StartMariaDB()
	if err != nil {
		return nil, nil, err
	}
	return s, s.Remove, nil
}}

// SharedMariaDB returns a server that the tests of a binary have in common. Without the program, which the environment may name
// (KURA_TEST_MARIADBD), the test is skipped.
func SharedMariaDB(t testing.TB) *MariaDB {
	t.Helper()
	requireMariaDB(t)
	return mariadbServer.use(t)
}

// NewMariaDB starts a server for one test, with further options.
func NewMariaDB(t testing.TB, options ...string) *MariaDB {
	t.Helper()
	requireMariaDB(t)
	s, err := StartMariaDB(options...)
	if err != nil {
		t.Fatalf("testserver: %v", err)
	}
	t.Cleanup(s.Remove)
	return s
}

// MariaDBOn starts a server for one test on a copy of the data in a folder, such as one that was restored.
func MariaDBOn(t testing.TB, data string, options ...string) *MariaDB {
	t.Helper()
	requireMariaDB(t)
	s, err := StartMariaDBOn(data, options...)
	if err != nil {
		t.Fatalf("testserver: %v", err)
	}
	t.Cleanup(s.Remove)
	return s
}

// HasMariaDB reports whether the tests of it would not be skipped.
func HasMariaDB() bool {
	_, err := mariadbd()
	return err == nil
}

func requireMariaDB(t testing.TB) {
	t.Helper()
	if _, err := mariadbd(); err != nil {
		t.Skipf("%v; `make apt` installs it", err)
	}
}

func mariadbd() (string, error) {
	if path := os.Getenv(mariadbdVar); path != "" {
		return path, nil
	}
	return exec.LookPath("/usr/sbin/mariadbd")
}

// StartMariaDB starts a server for something that is no test of its own; Remove ends it.
func StartMariaDB(options ...string) (*MariaDB, error) {
	program, err := mariadbd()
	if err != nil {
		return nil, err
	}
	template, err := mariadbTemplate(program)
	if err != nil {
		return nil, err
	}
	return StartMariaDBOn(template, options...)
}

// StartMariaDBOn is StartMariaDB on a copy of the data in a folder.
func StartMariaDBOn(data string, options ...string) (_ *MariaDB, err error) {
	// Not t.TempDir: names of sockets may have about a hundred bytes.
	dir, err := os.MkdirTemp("", "kura-mariadb-")
	if err != nil {
		return nil, err
	}
	s := &MariaDB{Socket: filepath.Join(dir, "socket"), Data: filepath.Join(dir, "data"), options: options, process: &process{dir: dir}}
	if err := s.fill(data, dir); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := s.launch(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

// fill makes the folders, which belong to the server's user.
func (s *MariaDB) fill(data, dir string) error {
	if out, err := exec.Command("cp", "-a", "--reflink=auto", data, s.Data).CombinedOutput(); err != nil {
		return fmt.Errorf("cp: %w: %s", err, out)
	}
	if err := os.Mkdir(filepath.Join(dir, "tmp"), 0o700); err != nil {
		return err
	}
	if os.Getuid() != 0 {
		return nil
	}
	if out, err := exec.Command("chown", "-R", serverUser()+":", dir).CombinedOutput(); err != nil {
		return fmt.Errorf("chown: %w: %s", err, out)
	}
	return nil
}

// serverUser is whom a server runs as where the tests run as root.
func serverUser() string {
	if _, err := user.Lookup("mysql"); err == nil {
		return "mysql"
	}
	return "nobody"
}

// mariadbTemplate returns a folder with the data of a new server, which takes some seconds to make and is kept in the cache.
func mariadbTemplate(program string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	version, err := exec.Command(program, "--no-defaults", "--version").Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", program, err)
	}
	name := regexp.MustCompile(`[^0-9A-Za-z.+-]+`).ReplaceAllString(string(bytes.TrimSpace(version)), "-")
	template := filepath.Join(cache, "kura-tools", "data-of-"+filepath.Base(name))
	if _, err := os.Stat(template); err == nil {
		return template, nil
	}
	if err := os.MkdirAll(filepath.Dir(template), 0o755); err != nil {
		return "", err
	}
	made, err := os.MkdirTemp(filepath.Dir(template), "making-data-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(made)
	me, err := user.Current()
	if err != nil {
		return "", err
	}
	out, err := exec.Command(
		"mariadb-install-db", "--no-defaults", "--user="+me.Username, "--datadir="+made, "--auth-root-authentication-method=normal",
		"--skip-test-db", "--innodb-log-file-size=8M",
	).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("mariadb-install-db: %w: %s", err, out)
	}
	err = os.Rename(made, template)
	if errors.Is(err, syscall.EEXIST) || errors.Is(err, syscall.ENOTEMPTY) {
		err = nil // somebody else has made it meanwhile
	}
	return template, err
}

func (s *MariaDB) launch() error {
	program, err := mariadbd()
	if err != nil {
		return err
	}
	dir := s.process.dir
	args := []string{
		"--no-defaults", "--datadir=" + s.Data, "--socket=" + s.Socket, "--pid-file=" + filepath.Join(dir, "pid"), "--tmpdir=" + filepath.Join(dir, "tmp"),
		"--skip-networking", "--log-bin=binlog", "--binlog-format=ROW", "--server-id=1", "--character-set-server=utf8mb4", "--innodb-log-file-size=8M",
		"--innodb-buffer-pool-size=32M", "--innodb-flush-log-at-trx-commit=0", "--sync-binlog=0", "--secure-file-priv=" + filepath.Join(dir, "tmp"),
	}
	argv := serveAs(serverUser(), slices.Concat([]string{program}, args, s.options)...)
	p, err := start(dir, argv[0], argv[1:], nil)
	if err != nil {
		return err
	}
	s.process = p
	err = p.await(func(ctx context.Context) error {
		_, err := s.run(ctx, "SELECT 1")
		return err
	})
	if err != nil {
		p.stop()
	}
	return err
}

// Start starts a server that was stopped.
func (s *MariaDB) Start(t testing.TB) {
	t.Helper()
	if err := s.launch(); err != nil {
		t.Fatalf("testserver: %v", err)
	}
}

// Kill ends the server at once, as if it had crashed. Its data stays.
func (s *MariaDB) Kill() { s.process.stop() }

// Remove ends the server, and removes what it has stored.
func (s *MariaDB) Remove() {
	s.process.stop()
	_ = os.RemoveAll(s.process.dir) // in the folder for what is temporary
}

// run runs SQL by the client.
func (s *MariaDB) run(ctx context.Context, sql string) (string, error) {
	cmd := exec.CommandContext(ctx, "mariadb", "--no-defaults", "--socket="+s.Socket, "--user=root", "--batch", "--skip-column-names", "--default-character-set=utf8mb4", "--binary-mode")
	cmd.Stdin = strings.NewReader(sql)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%w: %s", err, &said)
	}
	return out.String(), nil
}

// SQL runs SQL as root, and returns what it selects: a line for each row, with tabs between columns.
func (s *MariaDB) SQL(t testing.TB, sql string) string {
	t.Helper()
	out, err := s.run(context.Background(), sql)
	if err != nil {
		t.Fatalf("%.500s: %v", sql, err)
	}
	return strings.TrimSuffix(out, "\n")
}

// Number is SQL for a number.
func (s *MariaDB) Number(t testing.TB, sql string) int {
	t.Helper()
	n, err := strconv.Atoi(s.SQL(t, sql))
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return n
}
