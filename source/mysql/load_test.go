package mysql

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kura-backup/kura/internal/testrand"
	"github.com/kura-backup/kura/internal/testserver"
	"github.com/kura-backup/kura/source/sourcetest"
)

// bank is a server with accounts between which two clients move money, each move noted in a second table, so that neither the
// sum nor the notes may ever be out of step.
type bank struct {
	*testserver.MariaDB
	stop context.CancelFunc
	done sync.WaitGroup
}

func newBank(t *testing.T, options ...string) *bank {
	t.Helper()
	b := &bank{MariaDB: testserver.NewMariaDB(t, options...)}
	b.SQL(t, `CREATE DATABASE bank; USE bank;
		CREATE TABLE accounts (id INT PRIMARY KEY, money INT NOT NULL, note VARCHAR(300));
		CREATE TABLE moves (id BIGINT PRIMARY KEY AUTO_INCREMENT, a INT, b INT, amount INT, what BLOB);
		INSERT INTO accounts SELECT seq, 1000, REPEAT(CHAR(65 + seq % 26), seq % 300) FROM seq_1_to_5000;`)
	ctx, stop := context.WithCancel(t.Context())
	b.stop = stop
	t.Cleanup(b.rest)
	for i := range 2 {
		r := testrand.New(t)
		s := open(t, configOf(b.MariaDB))
		b.done.Go(func() {
			for ctx.Err() == nil {
				if err := move(t.Context(), s, r); err != nil && number(err) != 1213 && number(err) != 1205 {
					t.Errorf("client %d: %v", i, err)
					return
				}
			}
		})
	}
	for b.Number(t, "SELECT COUNT(*) FROM bank.moves") < 20 {
		time.Sleep(10 * time.Millisecond)
	}
	return b
}

// rest lets the clients end what they do.
func (b *bank) rest() {
	b.stop()
	b.done.Wait()
}

func move(ctx context.Context, s *Server, r *rand.Rand) error {
	from, to, amount := 1+r.IntN(5000), 1+r.IntN(5000), r.IntN(100)
	statements := []string{
		"START TRANSACTION",
		fmt.Sprintf("UPDATE bank.accounts SET money = money - %d WHERE id = %d", amount, from),
		fmt.Sprintf("UPDATE bank.accounts SET money = money + %d WHERE id = %d", amount, to),
		fmt.Sprintf("INSERT INTO bank.moves (a, b, amount, what) VALUES (%d, %d, %d, REPEAT('\\0\\'x', %d))", from, to, amount, r.IntN(200)),
		"COMMIT",
	}
	for _, q := range statements {
		if err := s.exec(ctx, q); err != nil {
			return errors.Join(err, s.exec(ctx, "ROLLBACK"))
		}
	}
	return nil
}

// replay makes a server as another one was at a place in its log, from the beginning.
func (b *bank) replay(t *testing.T, at Coordinates) *testserver.MariaDB {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(b.Data, "binlog.[0-9]*"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(logs)
	last := slices.IndexFunc(logs, func(l string) bool { return filepath.Base(l) == at.File })
	if last < 0 {
		t.Fatalf("there is no %s: %q", at.File, logs)
	}
	b.SQL(t, "FLUSH BINARY LOGS") // so that what is read is complete
	args := append([]string{"--no-defaults", fmt.Sprintf("--stop-position=%d", at.Position)}, logs[:last+1]...)
	sql, err := exec.Command("mariadb-binlog", args...).Output()
	if err != nil {
		t.Fatal(err)
	}
	to := testserver.NewMariaDB(t)
	to.SQL(t, string(sql))
	return to
}

func (b *bank) check(t *testing.T, s *testserver.MariaDB) {
	t.Helper()
	if got := s.SQL(t, "SELECT SUM(money), COUNT(*) FROM bank.accounts"); got != "5000000\t5000" {
		t.Errorf("sum and number of accounts: %s", got)
	}
}

// sums are by what two servers are compared.
func sums(t *testing.T, s *testserver.MariaDB) string {
	t.Helper()
	return s.SQL(t, "CHECKSUM TABLE bank.accounts, bank.moves; SELECT COUNT(*) FROM bank.accounts; SELECT COUNT(*) FROM bank.moves")
}

func TestLogical_ServerUnderWriteLoad_IsAsAtTheCoordinates(t *testing.T) {
	b := newBank(t)
	out := sourcetest.NewWriter()
	start := time.Now()
	backUp(t, &Logical{Config: configOf(b.MariaDB)}, out)
	took := time.Since(start)
	m, d := manifest(t, out)
	during := b.Number(t, "SELECT COUNT(*) FROM bank.moves")
	b.rest()
	moves := m.table("bank", "moves").Rows
	t.Logf("%d moves at the begin of the dump, %d in it, %d at the end of it; %v; lock %d ms; %+v", 20, moves, during, took, d.LockMS, d.At)
	if int64(during) == moves {
		t.Log("nothing was written while the dump ran")
	}

	replayed := b.replay(t, d.At)
	p, err := m.Plan(Selection{})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Compare(t.Context(), configOf(replayed), true); err != nil {
		t.Errorf("the backup is not what the log says: %v", err)
	}
	checksums := sums(t, replayed)

	replayed.SQL(t, "DROP DATABASE bank")
	load(t, out, configOf(replayed), Selection{})
	b.check(t, replayed)
	if diff := cmp.Diff(checksums, sums(t, replayed)); diff != "" {
		t.Errorf("what was restored is not what the log says: %s", diff)
	}
}

func TestPhysical_ServerUnderWriteLoad_IsAsAtTheCoordinates(t *testing.T) {
	if _, err := exec.LookPath("mariadb-backup"); err != nil {
		t.Skipf("%v; `make apt` installs it", err)
	}
	b := newBank(t, "--innodb-log-file-size=64M") // which the clients do not go round in before the program has read it
	out := sourcetest.NewWriter()
	p := &Physical{Config: configOf(b.MariaDB)}
	if err := p.Write(t.Context(), out); err != nil {
		t.Fatal(err)
	}
	b.rest()
	if err := out.Finish(); err != nil {
		t.Fatal(err)
	}
	d, err := ReadDetails(out.Details())
	if err != nil || d == nil || d.Kind != "physical" || d.At.File == "" || d.At.GTID == "" || d.Root != "/mysql/local/+physical" || d.Bytes < 10<<20 {
		t.Fatalf("%s", out.Details())
	}
	dir := filepath.Join(t.TempDir(), "data")
	for _, path := range out.Paths() {
		to := filepath.Join(dir, strings.TrimPrefix(path, d.Root))
		if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o700), os.WriteFile(to, out.Bytes(path), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	other := *d
	other.Version = "10.5.0-MariaDB"
	if err := Prepare(t.Context(), &other, dir); !errors.Is(err, ErrProgram) {
		t.Errorf("a mariadb-backup of another series: %v", err)
	}
	if err := Prepare(t.Context(), d, dir); err != nil {
		t.Fatal(err)
	}
	restored := testserver.MariaDBOn(t, dir)
	b.check(t, restored)
	replayed := b.replay(t, d.At)
	if diff := cmp.Diff(sums(t, replayed), sums(t, restored)); diff != "" {
		t.Errorf("at %+v: %s", d.At, diff)
	}
	t.Logf("%d files, %d bytes, %d moves at %+v", len(out.Paths()), d.Bytes, restored.Number(t, "SELECT COUNT(*) FROM bank.moves"), d.At)
}

// A mariadb-backup that fails, or is cut off, makes no backup.
func TestPhysical_ProgramFails_NoBackup(t *testing.T) {
	if _, err := exec.LookPath("mariadb-backup"); err != nil {
		t.Skipf("%v; `make apt` installs it", err)
	}
	s := testserver.SharedMariaDB(t)
	for name, script := range map[string]string{
		"dies":        "exec /usr/bin/mariadb-backup \"$@\" 2>/dev/null | { head -c 2000000; kill -9 $$; }",
		"cut":         "/usr/bin/mariadb-backup \"$@\" 2>/dev/null | head -c 2000000; echo 'completed OK!' >&2",
		"says no end": "/usr/bin/mariadb-backup \"$@\" 2>/dev/null",
		"fails":       "echo 'mariabackup: Error: no' >&2; exit 1",
	} {
		dir := t.TempDir()
		script = "#!/bin/sh\ncase \"$*\" in *--version) exec /usr/bin/mariadb-backup --version;; esac\n" + script + "\n"
		if err := os.WriteFile(filepath.Join(dir, "mariadb-backup"), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		t.Setenv("PATH", dir+":/usr/bin:/bin")
		out := sourcetest.NewWriter()
		if err := (&Physical{Config: configOf(s)}).Write(t.Context(), out); err == nil || out.Details() != nil {
			t.Errorf("%s: %v, %s", name, err, out.Details())
		} else {
			t.Logf("%s: %v", name, err)
		}
	}
}

// CHECKSUM TABLE is of the moment of the dump, though clients write, because both views were opened under one lock.
func TestLogical_Checksums_AreOfTheMomentOfTheDump(t *testing.T) {
	b := newBank(t)
	b.SQL(t, "CREATE DATABASE other; USE other; CREATE TABLE v (id INT) WITH SYSTEM VERSIONING; INSERT INTO v VALUES (1); CREATE TABLE a (id INT) ENGINE=Aria; INSERT INTO a VALUES (1); CREATE TABLE f (x FLOAT); INSERT INTO f VALUES (16777215)")
	out := sourcetest.NewWriter()
	backUp(t, &Logical{Config: configOf(b.MariaDB), Checksums: true, Tables: Lock, Limits: patient}, out)
	for n := b.Number(t, "SELECT COUNT(*) FROM bank.moves"); b.Number(t, "SELECT COUNT(*) FROM bank.moves") <= n; { // the server is another by now
		time.Sleep(10 * time.Millisecond)
	}
	b.rest()
	m, d := manifest(t, out)
	t.Logf("nothing was committed for %d ms; %s", d.ViewLockMS, d.Baseline)
	if !strings.Contains(d.Baseline, "CHECKSUM TABLE of 2 tables") {
		t.Errorf("%+v", d)
	}
	want := fmt.Sprintf("bank.accounts\t%s\nbank.moves\t%s", m.table("bank", "accounts").Checksum, m.table("bank", "moves").Checksum)
	replayed := b.replay(t, d.At)
	if got := sums(t, replayed); !strings.HasPrefix(got, want+"\n") || strings.HasPrefix(sums(t, b.MariaDB), want) {
		t.Errorf("the checksums are not those of the moment: %s\n%s", want, got)
	}
	replayed.SQL(t, "DROP DATABASE bank; DROP DATABASE other")
	p := load(t, out, configOf(replayed), Selection{})
	if err := p.Compare(t.Context(), configOf(replayed), true); err != nil {
		t.Error(err)
	}
	for i := range p.Tables {
		if p.Tables[i].Checksum != "" {
			p.Tables[i].Checksum = "1"
		}
	}
	if err := p.Compare(t.Context(), configOf(replayed), true); !errors.Is(err, ErrDiffers) || strings.Count(err.Error(), "CHECKSUM TABLE") != 2 {
		t.Errorf("%v", err)
	}
}

// Whatever fails under the lock, or while the dump goes on, nothing is left behind.
func TestLogical_ChecksumsFail_NoBackup(t *testing.T) {
	s := testserver.SharedMariaDB(t)
	schema(t, s)
	for name, c := range map[string]struct {
		script string
		want   error
		limits Limits
	}{
		"dies":              {`/usr/bin/mariadb-dump "$@" | head -c 3000; kill -9 $$`, ErrFailed, patient},
		"fails":             {`exit 2`, ErrFailed, patient},
		"fails without one": {`exit 2`, ErrFailed, Limits{Wait: patient.Wait, Hold: patient.Hold, View: 1, LongQuery: patient.LongQuery}},
	} {
		t.Run(name, func(t *testing.T) {
			fakeDump(t, c.script+"\n")
			out := sourcetest.NewWriter()
			b := &Logical{Config: configOf(s), NoUsers: true, Checksums: true, Tables: Lock, Limits: c.limits}
			if err := b.Write(t.Context(), out); !errors.Is(err, c.want) || out.Details() != nil {
				t.Errorf("%v", err)
			}
			s.SQL(t, "CREATE DATABASE free; DROP DATABASE free")
		})
	}
}

// A dump that takes long to begin, as on a machine that is busy, makes others wait no longer than they are to. It costs the checksums, and not the backup.
func TestLogical_LockForChecksumsHeldTooLong_BackupWithoutThem(t *testing.T) {
	s := testserver.SharedMariaDB(t)
	schema(t, s)
	s.SQL(t, "CREATE TABLE shop.gate (id INT PRIMARY KEY AUTO_INCREMENT)")
	fakeDump(t, fmt.Sprintf("mariadb --no-defaults --socket=%s --user=root -e 'INSERT INTO shop.gate VALUES (NULL)' && exec /usr/bin/mariadb-dump \"$@\"\n", s.Socket))
	for name, view := range map[string]time.Duration{"the dump is late": time.Second, "the view is late, too": 1} {
		t.Run(name, func(t *testing.T) {
			var warned []string
			out := sourcetest.NewWriter()
			backUp(t, &Logical{
				Config: configOf(s), NoUsers: true, Checksums: true, Limits: Limits{Wait: patient.Wait, Hold: patient.Hold, View: view, LongQuery: patient.LongQuery},
				Warn: func(text string) { warned = append(warned, text) },
			}, out)
			m, d := manifest(t, out)
			if got, want := m.table("shop", "gate").Rows, int64(s.Number(t, "SELECT COUNT(*) FROM shop.gate")); got != want {
				t.Errorf("%d rows of %d", got, want)
			}
			if m.table("shop", "orders").Checksum != "" || !strings.Contains(d.Baseline, "no CHECKSUM TABLE: "+ErrHeldTooLong.Error()) {
				t.Errorf("%+v", d)
			}
			if text := strings.Join(warned, "\n"); !strings.Contains(text, "no checksums of tables") {
				t.Errorf("%q", text)
			}
		})
	}
}

// fakeDumpWithView is fakeDump for a script that finds the connection of the other view in $view, 0 if there is none, and asks the server by sql.
func fakeDumpWithView(t testing.TB, s *testserver.MariaDB, script string) {
	t.Helper()
	fakeDump(t, fmt.Sprintf(`sql() { mariadb --no-defaults --socket=%s --user=root --batch --skip-column-names -e "$1"; }
view=$(sql 'SELECT COALESCE(MAX(trx_mysql_thread_id), 0) FROM information_schema.innodb_trx') || exit 8
`, s.Socket)+script+"\n")
}

// A view that is of no use any more is not kept until a dump of hours has ended: the server keeps old rows for it, and some end who is idle for long.
func TestLogical_NoChecksumsAfterAll_ViewIsClosedWhileTheDumpGoesOn(t *testing.T) {
	s := testserver.SharedMariaDB(t)
	schema(t, s)
	s.SQL(t, "CREATE TABLE shop.gate (id INT PRIMARY KEY AUTO_INCREMENT)")
	seen := filepath.Join(t.TempDir(), "seen")
	fakeDumpWithView(t, s, fmt.Sprintf(`[ "$view" = 0 ] || echo "$view" >'%s'
sql 'INSERT INTO shop.gate VALUES (NULL)' || exit 8 # waits until the lock has gone
for i in $(seq 300); do
	[ "$(sql "SELECT COUNT(*) FROM information_schema.processlist WHERE id = $view")" = 0 ] && exec /usr/bin/mariadb-dump "$@"
	sleep 0.1
done
echo "the view of connection $view is still open" >&2
exit 9`, seen))
	for view := time.Second; ; view *= 2 { // until there was time to open one
		out := sourcetest.NewWriter()
		backUp(t, &Logical{
			Config: configOf(s), NoUsers: true, Checksums: true, Limits: Limits{Wait: patient.Wait, Hold: patient.Hold, View: view, LongQuery: patient.LongQuery},
		}, out)
		if _, d := manifest(t, out); !strings.Contains(d.Baseline, "no CHECKSUM TABLE: "+ErrHeldTooLong.Error()) {
			t.Errorf("%+v", d)
		}
		if _, err := os.Stat(seen); err == nil {
			return
		} else if view > time.Minute {
			t.Fatalf("there was no view within %v: %v", view, err)
		}
	}
}

// The checksums that were asked for can not be had any more if the server ends the connection of their view, however well the dump ends.
func TestLogical_ViewIsKilled_NoBackupAndSaysSo(t *testing.T) {
	s := testserver.SharedMariaDB(t)
	schema(t, s)
	fakeDumpWithView(t, s, `sql "KILL $view" && exec /usr/bin/mariadb-dump "$@"`)
	out := sourcetest.NewWriter()
	err := (&Logical{Config: configOf(s), NoUsers: true, Checksums: true, Tables: Lock, Limits: patient}).Write(t.Context(), out)
	// The statement is the first of those for the checksums.
	if err == nil || !strings.Contains(err.Error(), "SAVEPOINT before_it: ") || !strings.Contains(strings.ToLower(err.Error()), "connection") || out.Details() != nil {
		t.Errorf("%v", err)
	}
	s.SQL(t, "CREATE DATABASE free; DROP DATABASE free")
}
