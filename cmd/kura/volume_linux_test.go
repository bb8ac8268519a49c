package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kura-backup/kura/internal/testserver"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/source/device"
)

// newVolumeBox is a box with an image on XFS, mounted, for all that a server has.
func newVolumeBox(t *testing.T) *deviceBox {
	t.Helper()
	b := newImageBox(t, "xfs", "ext4", 900<<20, 500<<20)
	b.mounted = testsys.MountShort(t, "ext4", testsys.Loop(t, b.image))
	return b
}

// onVolume calls begin, which begins a server, so that its files lie on the image.
func (b *deviceBox) onVolume(begin func()) {
	b.t.Helper()
	was := os.TempDir()
	b.t.Setenv("TMPDIR", b.mounted)
	begin()
	b.t.Setenv("TMPDIR", was)
}

// backUpVolume backs up the image, and returns what the snapshot says of it, and what was printed.
func (b *deviceBox) backUpVolume(options ...string) (*device.Detail, string) {
	b.t.Helper()
	cmd := b.command(append([]string{"device", "backup", b.image, "--snapshot", "reflink", "--freeze", "--max-hold", "1h"}, options...)...)
	out, err := cmd.CombinedOutput()
	if b.t.Logf("%s", out); err != nil {
		b.t.Fatalf("%q: %v", cmd.Args, err)
	}
	var all []struct{ Details json.RawMessage }
	if err := json.Unmarshal([]byte(b.kura("snapshots", "--json")), &all); err != nil || len(all) != 1 {
		b.t.Fatalf("%d snapshots: %v", len(all), err)
	}
	d, err := device.ReadDetails(all[0].Details)
	if err != nil || len(d.Devices) != 1 || d.Devices[0].Snapshot == nil || d.Devices[0].Live {
		b.t.Fatalf("%v: %s", err, all[0].Details)
	}
	if s := d.Devices[0].Snapshot; s.Kind != "reflink" || s.FrozenMS <= 0 {
		b.t.Errorf("%+v", s)
	}
	return &d.Devices[0], string(out)
}

// restoreVolume restores the image to a new one, and returns where there is now what was in a folder of it.
func (b *deviceBox) restoreVolume(folder string) string {
	b.t.Helper()
	restored := filepath.Join(b.dir, "restored.img")
	b.kura("device", "restore", "latest", "--to", restored)
	rel, err := filepath.Rel(b.mounted, folder)
	if err != nil {
		b.t.Fatal(err)
	}
	return filepath.Join(testsys.MountShort(b.t, "ext4", testsys.Loop(b.t, restored)), rel)
}

// ledger is a client of a PostgreSQL server that writes one transaction after the other: ten rows with checksums, an older ten that
// are written once more, and how many there are.
type ledger struct {
	acked atomic.Int64 // number of the last transaction that the server says it has
	stop  context.CancelFunc
	done  sync.WaitGroup
}

func newLedger(t *testing.T, s *testserver.Postgres) *ledger {
	t.Helper()
	s.SQL(t, `CREATE TABLE entries (n bigint, i int, what text NOT NULL, sum text NOT NULL, PRIMARY KEY (n, i));
		CREATE TABLE total (n bigint NOT NULL, entries bigint NOT NULL);
		INSERT INTO total VALUES (0, 0)`)
	l := new(ledger)
	ctx, stop := context.WithCancel(context.Background())
	l.stop = stop
	t.Cleanup(l.rest)
	l.done.Go(func() {
		if err := l.write(ctx, s); err != nil {
			t.Errorf("the client: %v", err)
		}
	})
	return l
}

// rest lets the client end what it does.
func (l *ledger) rest() {
	l.stop()
	l.done.Wait()
}

// goesOn waits for further transactions.
func (l *ledger) goesOn(t *testing.T, n int64) {
	t.Helper()
	from := l.acked.Load()
	waitUntil(t, "another transaction", func() bool { return t.Failed() || l.acked.Load() >= from+n })
	if t.Failed() { // the client may have ended
		t.FailNow()
	}
}

// entries is a transaction.
func entries(n int64) string {
	return fmt.Sprintf(`BEGIN;
		INSERT INTO entries SELECT %[1]d, i, w, md5(w) FROM (SELECT i, repeat(md5(%[1]d || '-' || i), 1 + (7 * %[1]d + i) %% 40) FROM generate_series(1, 10) i) AS x (i, w);
		UPDATE entries SET what = 'again ' || what, sum = md5('again ' || what) WHERE n = %[1]d / 2;
		UPDATE total SET n = %[1]d, entries = entries + 10;
		COMMIT;
`, n)
}

// wantLedger fails the test unless a server has so many transactions, and each of them as a whole.
func wantLedger(t *testing.T, s *testserver.Postgres, n int64) {
	t.Helper()
	for question, want := range map[string]string{
		"SELECT n, entries FROM total": fmt.Sprintf("%d|%d", n, 10*n),
		"SELECT count(*), count(DISTINCT n), min(n), max(n), count(*) FILTER (WHERE sum <> md5(what)) FROM entries": fmt.Sprintf("%d|%d|1|%d|0", 10*n, n, n),
		"SELECT count(*) FROM entries WHERE what LIKE 'again %'":                                                    fmt.Sprint(10 * (n / 2)),
		"SET enable_seqscan = off; SELECT count(*) FROM entries WHERE n > 0":                                        fmt.Sprint(10 * n),
	} {
		if got := s.SQL(t, question); got != want {
			t.Errorf("%s: %s, want %s", question, got, want)
		}
	}
}

func (l *ledger) write(ctx context.Context, s *testserver.Postgres) error {
	cmd := s.Client()
	var said strings.Builder
	cmd.Stderr = &said
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	answers := bufio.NewReader(out)
	for n := int64(1); ctx.Err() == nil && err == nil; n++ {
		// psql ends at an error, and does not get to what stands behind it.
		if _, err = fmt.Fprintf(in, "%s\\echo %d\n", entries(n), n); err != nil {
			break
		}
		var answer string
		answer, err = answers.ReadString('\n')
		if err == nil && strings.TrimSpace(answer) != strconv.FormatInt(n, 10) {
			err = fmt.Errorf("%d is answered by %q", n, answer)
		}
		if err == nil {
			l.acked.Store(n)
		}
	}
	_ = in.Close()
	_, _ = io.Copy(io.Discard, answers)
	if err = errors.Join(err, cmd.Wait()); err != nil {
		return fmt.Errorf("%w: %s", err, &said)
	}
	return nil
}

// A server whose data and log lie on one volume needs no lock: from a snapshot of that, taken while it writes, another one recovers by
// its log, and has all that it had said it has. Memory for pages is short, so that on the volume there are some that are newer than
// where recovery begins.
func TestDevice_PostgresOnOneVolume_RecoversAllThatWasAcknowledged(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	b := newVolumeBox(t)
	var first *testserver.Postgres
	b.onVolume(func() {
		first = testserver.NewPostgres(t, "-c", "fsync=on", "-c", "shared_buffers=1MB", "-c", "max_wal_size=64MB")
	})
	l := newLedger(t, first)
	l.goesOn(t, 150)
	first.SQL(t, "CHECKPOINT")
	l.goesOn(t, 150)
	acked := l.acked.Load()
	d, _ := b.backUpVolume()
	l.goesOn(t, 2)
	l.rest()
	last := l.acked.Load()
	first.End() // which would be in the way of another one with its process's number

	second := testserver.PostgresOn(t, b.restoreVolume(first.Data))
	if said := second.Said(t); !strings.Contains(said, "automatic recovery in progress") || !strings.Contains(said, "redo done") {
		t.Errorf("it did not recover: %s", said)
	}
	n, err := strconv.ParseInt(second.SQL(t, "SELECT n FROM total"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d transactions before the backup, %d in it, %d in all; frozen for %.0f ms", acked, n, last, d.Snapshot.FrozenMS)
	if n < acked || n >= last {
		t.Errorf("the backup has %d transactions; there were %d before it, and %d in the end", n, acked, last)
	}
	wantLedger(t, second, n)
	// Rows of after the end of the log, if there were any, would come to light as those of the transactions that get their numbers now.
	var more strings.Builder
	for m := n + 1; m <= n+200; m++ {
		more.WriteString(entries(m))
	}
	second.SQL(t, more.String())
	wantLedger(t, second, n+200)
}

var stoodStill = regexp.MustCompile(`the server stood still for (\d+) ms, at (\S+),`)

// What comes back from a repository, of an image that was copied under the server's lock while two clients wrote, is what the server had at
// the coordinates in the snapshot's details.
func TestDevice_MariaDBUnderLockAndFreeze_RestoredIsAsAtTheCoordinates(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	b := newVolumeBox(t)
	var bank *testserver.Bank
	b.onVolume(func() {
		// What was committed has to be on the volume.
		bank = testserver.NewBank(t, "--innodb-flush-log-at-trx-commit=1", "--sync-binlog=1")
	})
	waitUntil(t, "as many moves", func() bool { return bank.Moves(t) >= 200 })
	before := bank.Moves(t)
	// Limits that nothing comes to, however busy the machine is.
	d, out := b.backUpVolume("--lock-command", fmt.Sprintf("kura mysql lock --socket '%s' --user root --max-hold 1h --lock-wait 5m --long-query 5m --", bank.Socket))
	n := bank.Moves(t)
	waitUntil(t, "another move", func() bool { return bank.Moves(t) > n }) // the server is another by now
	bank.Rest()
	lock := d.Snapshot.Lock
	position, err := strconv.ParseUint(lock["mysql_position"], 10, 64)
	if err != nil || lock["mysql_gtid"] == "" || d.Snapshot.LockedMS <= 0 {
		t.Fatalf("%v: %+v", err, d.Snapshot)
	}
	stood := stoodStill.FindStringSubmatch(out)
	if stood == nil || stood[2] != fmt.Sprintf("%s:%d", lock["mysql_file"], position) {
		t.Fatalf("what was printed does not say how long, at %v", lock)
	}

	fresh := testserver.MariaDBOn(t, b.restoreVolume(bank.Data))
	testserver.CheckBank(t, fresh)
	replayed := bank.Replay(t, lock["mysql_file"], position)
	if diff := cmp.Diff(testserver.BankSums(t, replayed), testserver.BankSums(t, fresh)); diff != "" {
		t.Errorf("at %v: %s", lock, diff)
	}
	if got := fresh.SQL(t, "SELECT @@gtid_binlog_pos"); got != lock["mysql_gtid"] {
		t.Errorf("GTID %s, want %s", got, lock["mysql_gtid"])
	}
	in, after := fresh.Number(t, "SELECT COUNT(*) FROM bank.moves"), bank.Moves(t)
	if in < before || in >= after {
		t.Errorf("the backup has %d moves; there were %d before it, and %d in the end", in, before, after)
	}
	fresh.SQL(t, "INSERT INTO bank.moves (a, b, amount) VALUES (1, 2, 0)")
	t.Logf("%d moves before the backup, %d in it at %v, %d in all; the server stood still for %s ms, the file system for %.0f ms", before, in, lock, after, stood[1], d.Snapshot.FrozenMS)
}
