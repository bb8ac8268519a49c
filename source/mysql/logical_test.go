package mysql

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/kura-backup/kura/internal/testserver"
	"github.com/kura-backup/kura/source/mysql/dump"
	"github.com/kura-backup/kura/source/sourcetest"
)

func TestMain(m *testing.M) {
	if asProgram() {
		return
	}
	stop := testserver.Keep()
	code := m.Run()
	stop()
	if code == 0 {
		err := goleak.Find()
		for tries := 1; err != nil && tries < 300; tries++ { // of half a second each: what is about to end has minutes for that
			err = goleak.Find()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

func configOf(s *testserver.MariaDB) Config { return Config{Socket: s.Socket, User: "root"} }

// schema makes databases with everything that is hard to dump.
func schema(t testing.TB, s *testserver.MariaDB) {
	t.Helper()
	text, err := os.ReadFile("testdata/schema.sql")
	if err != nil {
		t.Fatal(err)
	}
	wipe(t, s)
	s.SQL(t, string(text))
	t.Cleanup(func() { wipe(t, s) })
}

// wipe drops all databases but the server's own, and accounts that tests have made.
func wipe(t testing.TB, s *testserver.MariaDB) {
	t.Helper()
	s.SQL(t, s.SQL(t, "SELECT CONCAT('DROP DATABASE `', REPLACE(schema_name, '`', '``'), '`;') FROM information_schema.schemata"+
		" WHERE schema_name NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema')"+
		" UNION ALL SELECT CONCAT('DROP USER ', QUOTE(user), '@', QUOTE(host), ';') FROM mysql.user"+
		" WHERE user NOT IN ('root', 'mariadb.sys', 'mysql', 'PUBLIC') AND is_role = 'N'"))
}

// backUp makes a backup, and checks the contract of sources.
func backUp(t testing.TB, b *Logical, out *sourcetest.Writer) {
	t.Helper()
	if err := b.Write(t.Context(), out); err != nil {
		t.Fatal(err)
	}
	if err := out.Finish(); err != nil {
		t.Fatal(err)
	}
}

// files opens the files of a backup.
func files(out *sourcetest.Writer, root string) Opener {
	return func(path string) (io.ReadCloser, error) {
		b := out.Bytes(root + "/" + path)
		if b == nil {
			return nil, fmt.Errorf("there is no %s", path)
		}
		return io.NopCloser(bytes.NewReader(b)), nil
	}
}

func manifest(t testing.TB, out *sourcetest.Writer) (*Manifest, *Details) {
	t.Helper()
	d, err := ReadDetails(out.Details())
	if d == nil {
		t.Fatalf("details: %v, %s", err, out.Details())
		return nil, nil
	}
	m, err := ReadManifest(bytes.NewReader(out.Bytes(d.Root + "/+dump.json")))
	if err != nil {
		t.Fatal(err)
	}
	return m, d
}

func open(t testing.TB, c Config) *Server {
	t.Helper()
	s, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// load loads what is selected of a backup.
func load(t testing.TB, out *sourcetest.Writer, c Config, sel Selection) *Plan {
	t.Helper()
	m, d := manifest(t, out)
	p, err := m.Plan(sel)
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, c)
	if _, err := p.Load(t.Context(), s, files(out, d.Root)); err != nil {
		t.Fatal(err)
	}
	if err := p.Count(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	return p
}

// exact is what the dump program prints, but for coordinates.
func exact(t testing.TB, s *testserver.MariaDB, databases ...string) string {
	t.Helper()
	b := &Logical{Config: configOf(s), Databases: databases, NoUsers: true, Tables: Lock}
	out := sourcetest.NewWriter()
	backUp(t, b, out)
	m, d := manifest(t, out)
	var text bytes.Buffer
	if err := m.WriteExact(t.Context(), &text, make([]string, len(d.CoordinatesSQL)), files(out, d.Root)); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

func TestLogical_WholeServer_RestoresTheSame(t *testing.T) {
	s := testserver.SharedMariaDB(t)
	schema(t, s)
	out := sourcetest.NewWriter()
	var facts Facts
	backUp(t, &Logical{Config: configOf(s), Looked: func(f *Facts) { facts = *f }}, out)
	m, d := manifest(t, out)
	if want := []string{"empty_db", "other-db", "shop"}; cmp.Diff(want, facts.Databases) != "" || !facts.Binlog || len(facts.NonTransactional) > 0 {
		t.Errorf("%+v", facts)
	}
	if d.At.File == "" || d.At.Position == 0 || d.At.GTID == "" || d.Rows != 8 || d.Databases != 3 {
		t.Errorf("%+v", d)
	}
	t.Logf("%d files, %d tables, %d rows, at %+v", len(out.Paths()), d.Tables, d.Rows, d.At)

	var whole bytes.Buffer
	if err := m.WriteExact(t.Context(), &whole, d.CoordinatesSQL, files(out, d.Root)); err != nil {
		t.Fatal(err)
	}
	if int64(whole.Len()) != d.Bytes || !strings.HasPrefix(whole.String(), "/*M!999999") || !strings.Contains(whole.String(), "MASTER_LOG_POS="+fmt.Sprint(d.At.Position)) {
		t.Errorf("the dump has %d bytes of %d", whole.Len(), d.Bytes)
	}

	before := exact(t, s)
	wipe(t, s)
	if err := loadUsers(t, out, configOf(s)); err != nil {
		t.Fatal(err)
	}
	p := load(t, out, configOf(s), Selection{})
	if diff := cmp.Diff(before, exact(t, s)); diff != "" {
		t.Errorf("the dump of what was restored differs: %s", diff)
	}
	if err := p.Compare(t.Context(), configOf(s)); err != nil {
		t.Error(err)
	}
	if got := s.SQL(t, "SHOW GRANTS FOR app@localhost"); !strings.Contains(got, "GRANT SELECT ON `shop`.*") {
		t.Errorf("app may: %s", got)
	}
	s.SQL(t, "UPDATE shop.orders SET t = 'changed' WHERE id = 1; DELETE FROM shop.nopk")
	if err := p.Compare(t.Context(), configOf(s)); !errors.Is(err, ErrDiffers) || !strings.Contains(err.Error(), "shop.orders: other rows") || !strings.Contains(err.Error(), "shop.nopk: 0 rows instead of 1") {
		t.Errorf("after a change: %v", err)
	}
	if err := p.Count(t.Context(), open(t, configOf(s))); !errors.Is(err, ErrDiffers) {
		t.Errorf("after a change: %v", err)
	}
}

func loadUsers(t testing.TB, out *sourcetest.Writer, c Config) error {
	t.Helper()
	return open(t, c).LoadUsers(t.Context(), files(out, "/mysql/local"))
}

func TestLogical_NothingChanged_SameFiles(t *testing.T) {
	s := testserver.SharedMariaDB(t)
	schema(t, s)
	first, second := sourcetest.NewWriter(), sourcetest.NewWriter()
	backUp(t, &Logical{Config: configOf(s)}, first)
	s.SQL(t, "CREATE DATABASE elsewhere; FLUSH BINARY LOGS; DROP DATABASE elsewhere") // moves the coordinates
	backUp(t, &Logical{Config: configOf(s)}, second)
	if diff := cmp.Diff(first.Paths(), second.Paths()); diff != "" {
		t.Fatal(diff)
	}
	for _, p := range first.Paths() {
		if !bytes.Equal(first.Bytes(p), second.Bytes(p)) {
			t.Errorf("%s: %s", p, cmp.Diff(string(first.Bytes(p)), string(second.Bytes(p))))
		}
	}
	_, a := manifest(t, first)
	_, b := manifest(t, second)
	if a.At == b.At {
		t.Errorf("the coordinates are the same: %+v", a.At)
	}
}

func TestLogical_Names_BecomeSafePaths(t *testing.T) {
	s := testserver.SharedMariaDB(t)
	schema(t, s)
	out := sourcetest.NewWriter()
	backUp(t, &Logical{Config: configOf(s), Databases: []string{"shop"}, NoUsers: true}, out)
	for _, want := range []string{"/mysql/local/shop/we`ird $%2Fna%2Eme.sql", "/mysql/local/shop/new%0Aline.sql", "/mysql/local/shop/%2Bplus.sql", "/mysql/local/shop/vv.view.sql"} {
		if out.Bytes(want) == nil {
			t.Errorf("there is no %s: %q", want, out.Paths())
		}
	}
	if out.Bytes("/mysql/local/+users.sql") != nil || out.Bytes("/mysql/local/other-db/t.sql") != nil {
		t.Errorf("more than was asked for: %q", out.Paths())
	}
}

// fakeDump puts a dump program in front of the real one.
func fakeDump(t testing.TB, script string) {
	t.Helper()
	fakeProgram(t, "mariadb-dump", script)
}

// fakeProgram puts a program in front of the real one, in a folder that it returns. It has the version of that.
func fakeProgram(t testing.TB, name, script string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	script = "#!/bin/sh\ncase \"$*\" in *--version) exec /usr/bin/" + name + " --version;; esac\n" + script
	if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return dir
}

// Behind a pipe, a dump that failed looks like one that is short. Here its exit status counts, and so does its last line.
func TestLogical_DumpFails_NoBackup(t *testing.T) {
	s := testserver.SharedMariaDB(t)
	schema(t, s)
	for name, c := range map[string]struct {
		script string
		want   error
		text   string
	}{
		"dies":          {`/usr/bin/mariadb-dump "$@" | head -c 3000; kill -9 $$`, ErrFailed, "killed"},
		"fails":         {`/usr/bin/mariadb-dump "$@"; echo "Got error: 2013" >&2; exit 2`, ErrFailed, "Got error: 2013"},
		"cut, status 0": {`/usr/bin/mariadb-dump "$@" | head -c 3000; exit 0`, dump.ErrTruncated, ""},
		"nothing":       {`exit 0`, dump.ErrTruncated, ""},
		"altered":       {`/usr/bin/mariadb-dump "$@" | head -c 3000; echo "mariadb-dump: Error 1412: Table definition has changed, please retry transaction when dumping table" >&2; exit 3`, ErrDefinitionChanged, "1412"},
		"two dumps":     {`/usr/bin/mariadb-dump "$@"; /usr/bin/mariadb-dump "$@"`, dump.ErrFormat, ""},
	} {
		t.Run(name, func(t *testing.T) {
			fakeDump(t, c.script+"\n")
			out := sourcetest.NewWriter()
			err := (&Logical{Config: configOf(s), NoUsers: true}).Write(t.Context(), out)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%v", err)
			}
			if out.Details() != nil {
				t.Errorf("it was described: %s", out.Details())
			}
		})
	}
}

// The connection of the dump is killed by the server while it reads a table.
func TestLogical_ConnectionKilled_NoBackup(t *testing.T) {
	s := testserver.SharedMariaDB(t)
	wipe(t, s)
	t.Cleanup(func() { wipe(t, s) })
	s.SQL(t, "CREATE DATABASE big; USE big; CREATE TABLE t (id INT PRIMARY KEY, b LONGTEXT); INSERT INTO t SELECT seq, REPEAT('x', 50000) FROM seq_1_to_600")
	out := &slowWriter{Writer: sourcetest.NewWriter(), reached: make(chan struct{}), goOn: make(chan struct{})}
	done := make(chan error, 1)
	go func() { done <- (&Logical{Config: configOf(s), NoUsers: true}).Write(t.Context(), out) }()
	<-out.reached
	id := s.SQL(t, "SELECT id FROM information_schema.processlist WHERE info LIKE 'SELECT%FROM `t`%' AND id <> CONNECTION_ID() AND command = 'Query' LIMIT 1")
	if id == "" {
		t.Fatal("the dump is not reading the table")
	}
	s.SQL(t, "KILL "+id)
	close(out.goOn)
	if err := <-done; !errors.Is(err, ErrFailed) {
		t.Errorf("%v", err)
	}
}

// A table that is altered behind the begin of the transaction has none of its rows in it any more.
func TestLogical_TableAlteredMeanwhile_NoBackup(t *testing.T) {
	s := testserver.SharedMariaDB(t)
	wipe(t, s)
	t.Cleanup(func() { wipe(t, s) })
	s.SQL(t, "CREATE DATABASE big; USE big; CREATE TABLE a (id INT PRIMARY KEY, b LONGTEXT); INSERT INTO a SELECT seq, REPEAT('x', 50000) FROM seq_1_to_160; CREATE TABLE z (id INT); INSERT INTO z VALUES (1)")
	out := &slowWriter{Writer: sourcetest.NewWriter(), reached: make(chan struct{}), goOn: make(chan struct{})}
	done := make(chan error, 1)
	go func() { done <- (&Logical{Config: configOf(s), NoUsers: true}).Write(t.Context(), out) }()
	<-out.reached // rows of the first table, which no pipe can hold
	s.SQL(t, "ALTER TABLE big.z ADD COLUMN b INT, FORCE")
	close(out.goOn)
	err := <-done
	if !errors.Is(err, ErrDefinitionChanged) || out.Details() != nil {
		t.Errorf("%v, %s", err, out.Details())
	}
	t.Logf("%v", err)
}

// A table without transactions that nobody knew of in the beginning was not locked.
func TestLogical_TableWithoutTransactionsMadeMeanwhile_NoBackup(t *testing.T) {
	s := testserver.SharedMariaDB(t)
	wipe(t, s)
	t.Cleanup(func() { wipe(t, s) })
	s.SQL(t, "CREATE DATABASE a; CREATE DATABASE z; CREATE TABLE a.a (id INT PRIMARY KEY, b LONGTEXT); INSERT INTO a.a SELECT seq, REPEAT('x', 50000) FROM a.seq_1_to_160; CREATE TABLE z.z (id INT)")
	out := &slowWriter{Writer: sourcetest.NewWriter(), reached: make(chan struct{}), goOn: make(chan struct{})}
	done := make(chan error, 1)
	go func() { done <- (&Logical{Config: configOf(s), NoUsers: true}).Write(t.Context(), out) }()
	<-out.reached
	s.SQL(t, "CREATE TABLE z.new (id INT) ENGINE=MyISAM")
	close(out.goOn)
	if err := <-done; !errors.Is(err, ErrNonTransactional) || !strings.Contains(err.Error(), "z.new (MyISAM)") || out.Details() != nil {
		t.Errorf("%v", err)
	}
}

// A dump has six digits of such a column, which has to be known before it is needed.
func TestCheck_FloatColumns_AreToldOf(t *testing.T) {
	s := testserver.SharedMariaDB(t)
	schema(t, s)
	s.SQL(t, "CREATE TABLE shop.f (a FLOAT, b DOUBLE, c FLOAT(10,2)); INSERT INTO shop.f VALUES (16777215, 16777215, 1)")
	out := sourcetest.NewWriter()
	backUp(t, &Logical{Config: configOf(s), NoUsers: true}, out)
	if _, d := manifest(t, out); d.Floats != 1 {
		t.Errorf("%+v", d)
	}
	if text := string(out.Bytes("/mysql/local/shop/f.sql")); !strings.Contains(text, "(16777200,16777215,") {
		t.Errorf("it is exact now? %s", text)
	}
}

func TestParseCoordinates_GTIDsOfMySQL(t *testing.T) {
	for text, want := range map[string]string{
		"SET @@GLOBAL.GTID_PURGED=/*!80000 '+'*/ '3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5,\n7664fad8-49fd-11e8-a546-4201c0a8010a:1-7';": "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5,7664fad8-49fd-11e8-a546-4201c0a8010a:1-7",
		"/* SET @@GLOBAL.GTID_PURGED='+3e11fa47-71ca-11e1-9e33-c80aa9429562:1-184';*/":                                                   "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-184",
		"SET @@GLOBAL.GTID_PURGED='3e11fa47-71ca-11e1-9e33-c80aa9429562:blue_1:1-184';":                                                  "3e11fa47-71ca-11e1-9e33-c80aa9429562:blue_1:1-184",
	} {
		if got := parseCoordinates([]string{text}); got.GTID != want {
			t.Errorf("%s: %q", text, got.GTID)
		}
	}
}

func TestLogical_Cancelled_EndsTheDump(t *testing.T) {
	s := testserver.SharedMariaDB(t)
	schema(t, s)
	runs := filepath.Join(t.TempDir(), "runs")
	fakeDump(t, "echo > "+runs+"; exec sleep 1000\n")
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped")
	go func() {
		for _, err := os.Stat(runs); err != nil && t.Context().Err() == nil; _, err = os.Stat(runs) {
			time.Sleep(time.Millisecond)
		}
		cancel(stopped)
	}()
	if err := (&Logical{Config: configOf(s), NoUsers: true}).Write(ctx, sourcetest.NewWriter()); !errors.Is(err, stopped) {
		t.Errorf("%v", err)
	}
}

// A disk that is full, or a store that fails, ends the dump with that error and not with the broken pipe that it causes.
func TestLogical_WriterFails_ItsError(t *testing.T) {
	s := testserver.SharedMariaDB(t)
	wipe(t, s)
	t.Cleanup(func() { wipe(t, s) })
	s.SQL(t, "CREATE DATABASE big; USE big; CREATE TABLE t (id INT PRIMARY KEY, b LONGTEXT); INSERT INTO t SELECT seq, REPEAT('x', 50000) FROM seq_1_to_200")
	full := errors.New("no space left")
	err := (&Logical{Config: configOf(s), NoUsers: true}).Write(t.Context(), &fullWriter{sourcetest.NewWriter(), full})
	if !errors.Is(err, full) || errors.Is(err, ErrFailed) {
		t.Errorf("%v", err)
	}
}
