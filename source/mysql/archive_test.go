package mysql

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kura-backup/kura/internal/testrand"
	"github.com/kura-backup/kura/internal/testserver"
	"github.com/kura-backup/kura/source"
	"github.com/kura-backup/kura/source/mysql/binlog"
	"github.com/kura-backup/kura/source/sourcetest"
)

func archive(t testing.TB, a *Archive, out *sourcetest.Writer) *ArchiveDetails {
	t.Helper()
	if err := a.Write(t.Context(), out); err != nil {
		t.Fatal(err)
	}
	if err := out.Finish(); err != nil {
		t.Fatal(err)
	}
	d, err := ReadArchiveDetails(out.Details())
	if d == nil {
		t.Fatalf("%v, %s", err, out.Details())
	}
	return d
}

// purge removes logs of a server. It leaves those alone that somebody has been reading just now.
func purge(t *testing.T, s *testserver.MariaDB, to string) {
	t.Helper()
	for !strings.HasPrefix(s.SQL(t, "PURGE BINARY LOGS TO '"+to+"'; SHOW BINARY LOGS"), to) {
		time.Sleep(10 * time.Millisecond)
	}
}

// A backup and the archive of logs bring back any moment, exactly.
func TestReplay_AnyMoment_IsAsTheLogSays(t *testing.T) {
	b := testserver.NewBank(t)
	base := sourcetest.NewWriter()
	backUp(t, &Logical{Config: configOf(b.MariaDB)}, base)
	m, d := manifest(t, base)
	out := sourcetest.NewWriter()
	a := &Archive{Config: configOf(b.MariaDB)}
	archive(t, a, out)
	r, began := testrand.New(t), b.Number(t, "SELECT UNIX_TIMESTAMP(SYSDATE()) + 1")
	var moments []Coordinates
	var rows []int
	for range 3 {
		for n := b.Moves(t) + r.IntN(60); b.Moves(t) <= n; {
			time.Sleep(10 * time.Millisecond)
		}
		held, err := Hold(t.Context(), configOf(b.MariaDB), patient, func(_ context.Context, h *Held) error {
			moments, rows = append(moments, h.At), append(rows, b.Moves(t))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("held for %v", held.Time)
		b.SQL(t, "FLUSH BINARY LOGS")
		out = out.Next()
		archive(t, a, out)
	}
	for b.Number(t, "SELECT UNIX_TIMESTAMP(SYSDATE())") <= began {
		time.Sleep(10 * time.Millisecond)
	}
	b.Rest()
	out = out.Next()
	now := archive(t, a, out)
	// Some time after a flush the server notes, in the next log, that it will not need the one before.
	for tries := 1; ; tries++ {
		due, err := a.Due(t.Context(), now, time.Hour)
		if err == nil && !due {
			break
		}
		if err != nil || tries == 1000 {
			t.Fatalf("due: %v, %v", due, err)
		}
		out = out.Next()
		now = archive(t, a, out)
	}
	p, err := m.Plan(Selection{})
	if err != nil {
		t.Fatal(err)
	}
	restored := testserver.NewMariaDB(t)
	target := open(t, configOf(restored))
	for i, want := range moments {
		state, err := binlog.ParseState(want.GTID)
		if err != nil {
			t.Fatal(err)
		}
		g, _ := state.Last(0)
		replay, err := PrepareReplay(t.Context(), now, d.At, Until{GTID: &g}, files(out, now.Root))
		if err != nil {
			t.Fatal(err)
		}
		restored.SQL(t, "DROP DATABASE IF EXISTS bank")
		if _, err := p.Load(t.Context(), target, files(base, d.Root)); err != nil {
			t.Fatal(err)
		}
		if err := replay.Run(t.Context(), target); err != nil {
			t.Fatal(err)
		}
		replayed := b.Replay(t, want.File, want.Position)
		if diff := cmp.Diff(testserver.BankSums(t, replayed), testserver.BankSums(t, restored)); diff != "" || replay.To.GTID != want.GTID || replay.Transactions == 0 {
			t.Errorf("at %+v, replayed %+v: %s", want, replay, diff)
		}
		if n := restored.Number(t, "SELECT COUNT(*) FROM bank.moves"); n != rows[i] {
			t.Errorf("at %+v: %d rows instead of %d", want, n, rows[i])
		}
		testserver.CheckBank(t, restored)
		t.Logf("%d transactions to %+v, %d rows", replay.Transactions, replay.To, rows[i])
	}
	// The same for times, as the vendor's program reads those of the log.
	cmd := exec.Command("mariadb-binlog", "--no-defaults", fmt.Sprintf("--start-position=%d", d.At.Position))
	for i := range now.Logs {
		cmd.Args = append(cmd.Args, filepath.Join(b.Data, now.name(i)))
	}
	cmd.Env = append(os.Environ(), "TZ=UTC")
	sql, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	transactions := regexp.MustCompile(`(?m)^#(\d{6}) +(\d+:\d\d:\d\d) .*\tGTID (\d+-\d+-\d+)`).FindAllSubmatch(sql, -1)
	for range 3 {
		until, want := time.Unix(int64(began+r.IntN(int(now.AsOf.Unix())-began+1)), 0).UTC(), d.At.GTID
		for _, m := range transactions {
			at, err := time.Parse("060102 15:04:05", string(m[1])+" "+string(m[2]))
			if err != nil {
				t.Fatal(err)
			}
			if !at.Before(until) {
				break
			}
			want = string(m[3])
		}
		replay, err := PrepareReplay(t.Context(), now, d.At, Until{Time: until}, files(out, now.Root))
		if err != nil || replay.To.GTID != want {
			t.Errorf("until %v: %+v, %v, and the last transaction before it is %s", until, replay, err, want)
		} else {
			t.Logf("%d transactions until %v", replay.Transactions, until)
		}
	}
}

// Each archive has all logs, though the server has removed them, and only the last one and newer ones are read.
func TestArchive_GrowsAndResumes_SameBytes(t *testing.T) {
	s := testserver.NewMariaDB(t)
	s.SQL(t, "CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY)")
	a := &Archive{Config: configOf(s)}
	out := sourcetest.NewWriter()
	d := archive(t, a, out)
	for i := range 3 {
		s.SQL(t, fmt.Sprintf("INSERT INTO shop.t VALUES (%d); FLUSH BINARY LOGS", i))
		if due, err := a.Due(t.Context(), d, time.Hour); err != nil || !due {
			t.Errorf("due: %v, %v", due, err)
		}
		out = out.Next()
		d = archive(t, a, out)
		purge(t, s, d.At.File)
	}
	if len(d.Logs) != 4 || d.At.File != "binlog.000004" {
		t.Fatalf("%+v", d)
	}
	state := new(binlog.State)
	for i, l := range d.Logs {
		text := out.Bytes(d.Root + "/" + d.name(i))
		if err := binlog.Scan(bytes.NewReader(text), state.Follow); err != nil || int64(len(text)) != l[0] {
			t.Errorf("%s: %d bytes, %v", d.name(i), len(text), err)
		}
	}
	if onDisk, err := os.ReadFile(filepath.Join(s.Data, d.At.File)); err != nil || !bytes.HasPrefix(onDisk[30:], out.Bytes(d.Root + "/" + d.At.File)[30:]) {
		t.Errorf("the last log is not that of the server: %v", err)
	}
	if state.String() != d.At.GTID || d.At.GTID != s.SQL(t, "SELECT @@gtid_binlog_pos") {
		t.Errorf("%v, %+v", state, d.At)
	}

	// Times of events have no fractions of seconds.
	for s.Number(t, "SELECT UNIX_TIMESTAMP(SYSDATE())") <= int(d.Last.Unix()) {
		time.Sleep(50 * time.Millisecond)
	}
	old := &Archive{Config: configOf(s), Keep: time.Millisecond}
	if d := archive(t, old, out.Next()); len(d.Logs) != 1 || d.name(0) != "binlog.000004" {
		t.Errorf("what is old stays: %+v", d)
	}
}

// Clients may set the times of events.
func TestArchive_WrongTimes_DoNotCount(t *testing.T) {
	s := testserver.NewMariaDB(t)
	s.SQL(t, "CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY); SET timestamp = 2100000000; INSERT INTO shop.t VALUES (1); FLUSH BINARY LOGS")
	s.SQL(t, "INSERT INTO shop.t VALUES (2); SET timestamp = 1000000000; INSERT INTO shop.t VALUES (3); FLUSH BINARY LOGS")
	out := sourcetest.NewWriter()
	a := &Archive{Config: configOf(s), Keep: time.Hour}
	d := archive(t, a, out)
	for range 2 {
		if now := time.Now(); d.Last.After(now.Add(time.Minute)) || now.Sub(d.Last) > time.Hour || now.Sub(d.AsOf) > time.Hour || d.Ends.After(now.Add(2*time.Minute)) {
			t.Errorf("at %v: %+v", now, d)
		}
		for i, l := range d.Logs {
			if age := time.Since(l.latest()); age > time.Hour || age < -time.Minute {
				t.Errorf("log %d is %v old", i, age)
			}
		}
		if l := d.Logs[1]; l.earliest().Unix() != 1_000_000_000 || d.Logs[2].transactions() || len(d.Logs) != 3 {
			t.Errorf("%+v", d)
		}
		var err error
		if err = d.Reaches(Coordinates{File: "binlog.000001", Position: 4}, Until{Time: time.Unix(2_000_000_000, 0)}); !errors.Is(err, ErrReach) {
			t.Errorf("it reaches what is to come: %v", err)
		}
		for s.Number(t, "SELECT UNIX_TIMESTAMP(SYSDATE())") <= int(d.Last.Unix()) {
			time.Sleep(50 * time.Millisecond)
		}
		out = out.Next()
		d = archive(t, a, out)
	}
	// On a server that does nothing, an archive reaches to when it was made.
	if err := d.Reaches(Coordinates{File: "binlog.000001", Position: 4}, Until{Time: d.AsOf}); err != nil {
		t.Error(err)
	}
}

// That nothing has happened has to be said now and then, or moments at which nothing did are out of reach.
func TestArchive_IdleServer_IsDueAfterAWhile(t *testing.T) {
	s := testserver.SharedMariaDB(t)
	a := &Archive{Config: configOf(s)}
	out := sourcetest.NewWriter()
	d := archive(t, a, out)
	for tries := 1; ; tries++ {
		for s.Number(t, "SELECT UNIX_TIMESTAMP(SYSDATE())") < int(d.AsOf.Unix())+2 {
			time.Sleep(50 * time.Millisecond)
		}
		due, err := a.Due(t.Context(), d, 24*time.Hour)
		if err == nil && !due {
			break
		}
		if err != nil || tries == 20 {
			t.Fatalf("due: %v, %v", due, err)
		}
		out = out.Next() // the server had yet to note that it does not need an earlier log any more
		d = archive(t, a, out)
	}
	if due, err := a.Due(t.Context(), d, 2*time.Second); err != nil || !due {
		t.Errorf("after two seconds: due: %v, %v", due, err)
	}
	moment := Until{Time: d.AsOf.Add(time.Second)}
	if err := d.Reaches(d.At, moment); !errors.Is(err, ErrReach) || !strings.Contains(err.Error(), "its last event is of "+d.Last.UTC().Format(time.RFC3339)) {
		t.Errorf("%v", err)
	}
	if err := archive(t, a, out.Next()).Reaches(d.At, moment); err != nil {
		t.Errorf("of the next one: %v", err)
	}
}

func TestArchive_LogsAreMissing_SaysSo(t *testing.T) {
	s := testserver.NewMariaDB(t)
	a := &Archive{Config: configOf(s)}
	out := sourcetest.NewWriter()
	archive(t, a, out)
	s.SQL(t, "FLUSH BINARY LOGS; FLUSH BINARY LOGS")
	purge(t, s, "binlog.000003")
	if err := a.Write(t.Context(), out.Next()); !errors.Is(err, ErrGap) || !strings.Contains(err.Error(), "the archive ends with binlog.000001, and the server has binlog.000003 to binlog.000003") {
		t.Errorf("%v", err)
	}
	after := &Archive{Config: configOf(s), AfterGap: true}
	next := out.Next()
	if d := archive(t, after, next); d.name(0) != "binlog.000003" || len(d.Logs) != 1 {
		t.Errorf("%+v", d)
	}
	s.SQL(t, "CREATE DATABASE shop; DROP DATABASE shop")
	next = next.Next()
	d := archive(t, a, next)
	for name, sql := range map[string]string{
		"shorter ones":  "RESET MASTER",
		"equal numbers": "RESET MASTER; CREATE DATABASE a; DROP DATABASE a; FLUSH BINARY LOGS; FLUSH BINARY LOGS",
		"as long ones":  "RESET MASTER; FLUSH BINARY LOGS; FLUSH BINARY LOGS; SET SESSION server_id = 2; CREATE DATABASE shop; DROP DATABASE shop",
		"longer ones":   "RESET MASTER; FLUSH BINARY LOGS; FLUSH BINARY LOGS; CREATE DATABASE a; DROP DATABASE a; CREATE DATABASE a; DROP DATABASE a; FLUSH BINARY LOGS",
	} {
		s.SQL(t, sql)
		if due, err := a.Due(t.Context(), d, time.Hour); err == nil && !due || err != nil && !errors.Is(err, ErrGap) {
			t.Errorf("after RESET MASTER, %s: due: %v, %v", name, due, err)
		}
		if err := a.Write(t.Context(), next.Next()); !errors.Is(err, ErrGap) {
			t.Errorf("after RESET MASTER, %s: %v", name, err)
		}
		anew := next.Next()
		if d := archive(t, after, anew); !after.Anew() || d.name(0) != "binlog.000001" || d.At.GTID != s.SQL(t, "SELECT @@gtid_binlog_pos") {
			t.Errorf("after RESET MASTER, %s: %+v", name, d)
		}
		if d := archive(t, after, anew.Next()); after.Anew() || len(d.Logs) == 0 {
			t.Errorf("after RESET MASTER, %s, once more: %+v", name, d)
		}
	}
}

// An archive that this version can not read is not taken for none: a new one would lack what the server has no longer.
func TestArchive_NewerVersionsArchive_IsNotContinued(t *testing.T) {
	s := testserver.SharedMariaDB(t)
	out := sourcetest.NewWriter()
	if err := errors.Join(out.Describe(map[string]any{archiveKey: map[string]int{"format": detailsFormat + 1}}), out.Finish()); err != nil {
		t.Fatal(err)
	}
	for _, gap := range []bool{false, true} {
		next := out.Next()
		if err := (&Archive{Config: configOf(s), AfterGap: gap}).Write(t.Context(), next); !errors.Is(err, source.ErrNewer) || next.Details() != nil {
			t.Errorf("%v, %s", err, next.Details())
		}
	}
}

// A domain that was deleted is a gap inside the server's logs.
func TestArchive_GapInTheServersLogs_NewArchiveBeginsBehindIt(t *testing.T) {
	s := testserver.NewMariaDB(t)
	s.SQL(t, "CREATE DATABASE shop; SET SESSION gtid_domain_id = 7; CREATE TABLE shop.t (id INT PRIMARY KEY); FLUSH BINARY LOGS")
	out := sourcetest.NewWriter()
	archive(t, &Archive{Config: configOf(s)}, out)
	purge(t, s, "binlog.000002")
	s.SQL(t, "FLUSH BINARY LOGS DELETE_DOMAIN_ID = (7); INSERT INTO shop.t VALUES (1)")
	if err := (&Archive{Config: configOf(s)}).Write(t.Context(), out.Next()); !errors.Is(err, ErrGap) {
		t.Errorf("%v", err)
	}
	a := &Archive{Config: configOf(s), AfterGap: true}
	out = out.Next()
	if d := archive(t, a, out); !a.Anew() || d.name(0) != "binlog.000003" || d.At.GTID != "0-1-2" {
		t.Errorf("%+v", d)
	}
	a = &Archive{Config: configOf(s)}
	if archive(t, a, out.Next()); a.Anew() {
		t.Error("it does not go on")
	}
}

// However long the logs, what is said of them has room in a snapshot.
func TestArchiveDetails_ManyLogs_HaveRoom(t *testing.T) {
	d := ArchiveDetails{Format: detailsFormat, Root: "/mysql/" + strings.Repeat("r", 255) + "/" + binlogFolder, Version: "10.11.19-MariaDB-0+deb12u1-log", Prefix: strings.Repeat("p", 250) + ".", Digits: 10}
	d.Began, d.AtTime, d.AsOf, d.Ends, d.Last = time.Now(), time.Now(), time.Now(), time.Now(), time.Now()
	for range maxLogs {
		d.Logs = append(d.Logs, Log{99_999_999_999, math.MaxUint32, math.MaxUint32})
	}
	d.At = Coordinates{File: d.name(0), Position: math.MaxUint32, GTID: strings.Repeat("4294967295-4294967295-1000000000000,", 50)}
	text, err := source.MarshalDetails(map[string]any{archiveKey: d})
	if err != nil {
		t.Fatal(err)
	}
	got, err := ReadArchiveDetails(text)
	if err != nil || got == nil {
		t.Fatalf("%+v, %v", got, err)
	}
	if diff := cmp.Diff(d.Logs, got.Logs); diff != "" {
		t.Error(diff)
	}
	t.Logf("%d bytes of %d", len(text), source.MaxDetails)
}

// Names of logs become names of files, and arguments.
func TestArchive_NamesThatDoHarm_Refused(t *testing.T) {
	for name, want := range map[string]bool{
		"binlog.000001": true, "my db-bin.+x.1000000": true,
		"../binlog.000001": false, "/etc/x.000001": false, "-r.000001": false, "--result-file=x.000001": false, "a\nb.000001": false, "binlog": false, ".": false,
	} {
		if err := new(Archive).begins(&serverLogs{logs: []serverLog{{name, 4}}}); (err == nil) != want {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// A program that fails, and a store that does, end the archive with their own reasons.
func TestArchive_FetchFails_SaysWhy(t *testing.T) {
	s := testserver.SharedMariaDB(t)
	whole := sourcetest.NewWriter()
	d := archive(t, &Archive{Config: configOf(s)}, whole)
	for name, c := range map[string]struct {
		script string
		want   error
	}{
		"fails":     {"echo 'ERROR: no' >&2; exit 1", ErrFailed},
		"nothing":   {"exit 0", binlog.ErrFormat},
		"cut":       {"for a; do case $a in --result-file=*) f=${a#*=};; esac; done; head -c 270 \"$0.log\" > $f$a", binlog.ErrTruncated},
		"cut, dies": {"for a; do case $a in --result-file=*) f=${a#*=};; esac; done; head -c 270 \"$0.log\" > $f$a; kill -9 $$", ErrFailed},
	} {
		dir := t.TempDir()
		script := "#!/bin/sh\ncase \"$*\" in *--version) exec /usr/bin/mariadb-binlog --version;; esac\n" + c.script + "\n"
		program, log := filepath.Join(dir, "mariadb-binlog"), whole.Bytes(d.Root+"/"+d.name(0))
		if err := errors.Join(os.WriteFile(program, []byte(script), 0o755), os.WriteFile(program+".log", log, 0o600)); err != nil {
			t.Fatal(err)
		}
		t.Setenv("PATH", dir+":/usr/bin:/bin")
		out := sourcetest.NewWriter()
		if err := (&Archive{Config: configOf(s)}).Write(t.Context(), out); !errors.Is(err, c.want) || out.Details() != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Rows of logs do not come to lie in a folder for temporary files.
func TestArchive_TemporaryFiles_HaveNothing(t *testing.T) {
	s := testserver.NewMariaDB(t)
	s.SQL(t, "CREATE DATABASE shop; USE shop; CREATE TABLE t (id INT PRIMARY KEY, b LONGTEXT); INSERT INTO t SELECT seq, REPEAT('x', 100000) FROM seq_1_to_30")
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	looked := 0
	out := &watchedWriter{sourcetest.NewWriter(), func() {
		looked++
		err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
			if err == nil && e.Type().IsRegular() {
				err = fmt.Errorf("%s is there", path)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}}
	if err := (&Archive{Config: configOf(s)}).Write(t.Context(), out); err != nil {
		t.Fatal(err)
	}
	if rest, err := os.ReadDir(dir); err != nil || len(rest) > 0 || looked < 3 {
		t.Errorf("%v, %v, looked %d times", rest, err, looked)
	}
	// A store that fails ends the program, too, which writes more than a pipe takes.
	full := errors.New("no space left")
	for _, w := range []source.Writer{&brokenWriter{sourcetest.NewWriter(), full}, &closedWriter{sourcetest.NewWriter(), full}} {
		if err := (&Archive{Config: configOf(s)}).Write(t.Context(), w); !errors.Is(err, full) || errors.Is(err, ErrFailed) {
			t.Errorf("%v", err)
		}
	}
}
