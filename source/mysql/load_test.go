package mysql

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kura-backup/kura/internal/testserver"
	"github.com/kura-backup/kura/source/sourcetest"
)

func TestLogical_ServerUnderWriteLoad_IsAsAtTheCoordinates(t *testing.T) {
	b := testserver.NewBank(t)
	var out *sourcetest.Writer
	var m *Manifest
	var d *Details
	for tries := 1; ; tries++ { // until something was written while the dump ran
		out = sourcetest.NewWriter()
		begun, start := b.Moves(t), time.Now()
		backUp(t, &Logical{Config: configOf(b.MariaDB)}, out)
		took, during := time.Since(start), b.Moves(t)
		m, d = manifest(t, out)
		moves := m.table("bank", "moves").Rows
		t.Logf("%d moves before the dump, %d in it, %d at the end of it; %v; lock %d ms; %+v", begun, moves, during, took, d.LockMS, d.At)
		if int64(during) > moves {
			break
		}
		if tries == 20 {
			t.Fatal("nothing was ever written while the dump ran")
		}
	}
	b.Rest()

	replayed := b.Replay(t, d.At.File, d.At.Position)
	p, err := m.Plan(Selection{})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Compare(t.Context(), configOf(replayed)); err != nil {
		t.Errorf("the backup is not what the log says: %v", err)
	}

	fresh := testserver.NewMariaDB(t)
	load(t, out, configOf(fresh), Selection{})
	testserver.CheckBank(t, fresh)
	if diff := cmp.Diff(testserver.BankSums(t, replayed), testserver.BankSums(t, fresh)); diff != "" {
		t.Errorf("what was restored is not what the log says: %s", diff)
	}
}

func TestPhysical_ServerUnderWriteLoad_IsAsAtTheCoordinates(t *testing.T) {
	if _, err := exec.LookPath("mariadb-backup"); err != nil {
		t.Skipf("%v; `make apt` installs it", err)
	}
	b := testserver.NewBank(t, "--innodb-log-file-size=64M") // which the clients do not go round in before the program has read it
	out := sourcetest.NewWriter()
	p := &Physical{Config: configOf(b.MariaDB)}
	if err := p.Write(t.Context(), out); err != nil {
		t.Fatal(err)
	}
	b.Rest()
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
	testserver.CheckBank(t, restored)
	replayed := b.Replay(t, d.At.File, d.At.Position)
	if diff := cmp.Diff(testserver.BankSums(t, replayed), testserver.BankSums(t, restored)); diff != "" {
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
	b := testserver.NewBank(t)
	b.SQL(t, "CREATE DATABASE other; USE other; CREATE TABLE v (id INT) WITH SYSTEM VERSIONING; INSERT INTO v VALUES (1); CREATE TABLE a (id INT) ENGINE=Aria; INSERT INTO a VALUES (1); CREATE TABLE f (x FLOAT); INSERT INTO f VALUES (16777215)")
	out := sourcetest.NewWriter()
	backUp(t, &Logical{Config: configOf(b.MariaDB), Checksums: true, Tables: Lock, Limits: patient}, out)
	for n := b.Moves(t); b.Moves(t) <= n; { // the server is another by now
		time.Sleep(10 * time.Millisecond)
	}
	b.Rest()
	m, d := manifest(t, out)
	t.Logf("nothing was committed for %d ms; %s", d.ViewLockMS, d.Baseline)
	if !strings.Contains(d.Baseline, "CHECKSUM TABLE of 2 tables") {
		t.Errorf("%+v", d)
	}
	want := fmt.Sprintf("bank.accounts\t%s\nbank.moves\t%s", m.table("bank", "accounts").Checksum, m.table("bank", "moves").Checksum)
	replayed := b.Replay(t, d.At.File, d.At.Position)
	if got := testserver.BankSums(t, replayed); !strings.HasPrefix(got, want+"\n") || strings.HasPrefix(testserver.BankSums(t, b.MariaDB), want) {
		t.Errorf("the checksums are not those of the moment: %s\n%s", want, got)
	}
	replayed.SQL(t, "DROP DATABASE bank; DROP DATABASE other")
	p := load(t, out, configOf(replayed), Selection{})
	if err := p.Compare(t.Context(), configOf(replayed)); err != nil {
		t.Error(err)
	}
	for i := range p.Tables {
		if p.Tables[i].Checksum != "" {
			p.Tables[i].Checksum = "1"
		}
	}
	if err := p.Compare(t.Context(), configOf(replayed)); !errors.Is(err, ErrDiffers) || strings.Count(err.Error(), "CHECKSUM TABLE") != 2 {
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
	killed := filepath.Join(t.TempDir(), "killed")
	fakeDumpWithView(t, s, fmt.Sprintf(`echo "$view" >'%s'; sql "KILL $view" && exec /usr/bin/mariadb-dump "$@"`, killed))
	out := sourcetest.NewWriter()
	err := (&Logical{Config: configOf(s), NoUsers: true, Checksums: true, Tables: Lock, Limits: patient}).Write(t.Context(), out)
	id, rerr := os.ReadFile(killed)
	if rerr != nil {
		t.Fatal(rerr, err)
	}
	// The statement is the first of those for the checksums.
	want := ", at other-db.t: mysql: SAVEPOINT before_it: connection " + strings.TrimSpace(string(id)) + " has ended: "
	if !errors.Is(err, ErrViewLost) || !strings.Contains(err.Error(), want) || out.Details() != nil {
		t.Errorf("%v", err)
	}
	s.SQL(t, "CREATE DATABASE free; DROP DATABASE free")
}
