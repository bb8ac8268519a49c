package mysql

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kura-backup/kura/internal/testserver"
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
	d := ReadArchiveDetails(out.Details())
	if d == nil {
		t.Fatalf("%s", out.Details())
	}
	return d
}

// A backup and the archive of logs bring back any moment, exactly.
func TestReplay_AnyMoment_IsAsTheLogSays(t *testing.T) {
	b := newBank(t)
	base := sourcetest.NewWriter()
	backUp(t, &Logical{Config: configOf(b.MariaDB)}, base)
	m, d := manifest(t, base)
	out := sourcetest.NewWriter()
	a := &Archive{Config: configOf(b.MariaDB)}
	archive(t, a, out)
	var moments []Coordinates
	for range 3 {
		for n := b.Number(t, "SELECT COUNT(*) FROM bank.moves"); b.Number(t, "SELECT COUNT(*) FROM bank.moves") < n+10; {
			time.Sleep(10 * time.Millisecond)
		}
		if _, err := Hold(t.Context(), configOf(b.MariaDB), Limits{}, func(_ context.Context, h *Held) error {
			moments = append(moments, h.At)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		b.SQL(t, "FLUSH BINARY LOGS")
		out = out.Next()
		archive(t, a, out)
	}
	b.rest()
	out = out.Next()
	now := archive(t, a, out)
	if behind, err := a.Behind(t.Context(), now); err != nil || behind != 0 {
		t.Errorf("%d bytes behind, %v", behind, err)
	}
	p, err := m.Plan(Selection{})
	if err != nil {
		t.Fatal(err)
	}
	restored := testserver.NewMariaDB(t)
	target := open(t, configOf(restored))
	for _, want := range moments {
		state, err := binlog.ParseState(want.GTID)
		if err != nil {
			t.Fatal(err)
		}
		g := state[0]
		r, err := PrepareReplay(t.Context(), now, d.At, Until{GTID: &g}, t.TempDir(), files(out, now.Root))
		if err != nil {
			t.Fatal(err)
		}
		restored.SQL(t, "DROP DATABASE IF EXISTS bank")
		if _, err := p.Load(t.Context(), target, files(base, d.Root)); err != nil {
			t.Fatal(err)
		}
		if err := r.Run(t.Context(), target); err != nil {
			t.Fatal(err)
		}
		replayed := b.replay(t, want)
		sum := func(s *testserver.MariaDB) string { return s.SQL(t, "CHECKSUM TABLE bank.accounts, bank.moves") }
		if diff := cmp.Diff(sum(replayed), sum(restored)); diff != "" || r.To.GTID != want.GTID || r.Transactions == 0 {
			t.Errorf("at %+v, replayed %+v: %s", want, r, diff)
		}
		b.check(t, restored)
		t.Logf("%d transactions to %+v", r.Transactions, r.To)
	}
}

func TestPrepareReplay_Time_EndsBeforeIt(t *testing.T) {
	s := testserver.NewMariaDB(t)
	s.SQL(t, "CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY)")
	from, err := open(t, configOf(s)).coordinates(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// The times of events can be set, as replicas do.
	for i := range 6 {
		s.SQL(t, fmt.Sprintf("SET timestamp = %d; INSERT INTO shop.t VALUES (%d)", 2_100_000_000+100*i, i))
		if i == 3 {
			s.SQL(t, "SET timestamp = 2100000301; FLUSH BINARY LOGS")
		}
	}
	out := sourcetest.NewWriter()
	d := archive(t, &Archive{Config: configOf(s)}, out)
	for until, want := range map[int64]int{2_100_000_000: 0, 2_100_000_001: 1, 2_100_000_300: 3, 2_100_000_301: 4, 2_100_000_450: 5, 2_100_000_500: 5} {
		dir := t.TempDir()
		r, err := PrepareReplay(t.Context(), d, from, Until{Time: time.Unix(until, 0)}, dir, files(out, d.Root))
		if err != nil || r.Transactions != want {
			t.Errorf("until %d: %+v, %v", until, r, err)
			continue
		}
		s.SQL(t, "DELETE FROM shop.t")
		if err := r.Run(t.Context(), open(t, configOf(s))); err != nil {
			t.Errorf("until %d: %v", until, err)
		}
		if n := s.Number(t, "SELECT COUNT(*) FROM shop.t"); n != want {
			t.Errorf("until %d: %d rows", until, n)
		}
	}
	g := binlog.GTID{Server: 1, Number: 1 << 40}
	for name, c := range map[string]struct {
		from  Coordinates
		until Until
	}{
		"later than the archive": {from, Until{Time: time.Unix(1<<33, 0)}},
		"no such transaction":    {from, Until{GTID: &g}},
		"from another log":       {Coordinates{File: "binlog.000009", Position: 4}, Until{Time: time.Unix(2_100_000_001, 0)}},
		"from behind its end":    {Coordinates{File: d.At.File, Position: d.At.Position + 1}, Until{Time: time.Unix(2_100_000_001, 0)}},
		"before the backup":      {from, Until{Time: time.Unix(1_700_000_001, 0)}},
		"from nowhere":           {Coordinates{}, Until{Time: time.Unix(2_100_000_001, 0)}},
	} {
		if _, err := PrepareReplay(t.Context(), d, c.from, c.until, t.TempDir(), files(out, d.Root)); !errors.Is(err, ErrReach) {
			t.Errorf("%s: %v", name, err)
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
		if behind, err := a.Behind(t.Context(), d); err != nil || behind <= 0 {
			t.Errorf("%d bytes behind, %v", behind, err)
		}
		out = out.Next()
		d = archive(t, a, out)
		s.SQL(t, "PURGE BINARY LOGS TO '"+d.At.File+"'")
	}
	if len(d.Logs) != 4 || d.At.File != "binlog.000004" {
		t.Fatalf("%+v", d)
	}
	state := binlog.State{}
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

	old := &Archive{Config: configOf(s), Keep: time.Hour, Now: time.Now().Add(2 * time.Hour)}
	if d := archive(t, old, out.Next()); len(d.Logs) != 1 || d.name(0) != "binlog.000004" {
		t.Errorf("what is older than an hour stays: %+v", d)
	}
}

func TestArchive_LogsAreMissing_SaysSo(t *testing.T) {
	s := testserver.NewMariaDB(t)
	a := &Archive{Config: configOf(s)}
	out := sourcetest.NewWriter()
	archive(t, a, out)
	s.SQL(t, "FLUSH BINARY LOGS; FLUSH BINARY LOGS; PURGE BINARY LOGS TO 'binlog.000003'")
	if err := a.Write(t.Context(), out.Next()); !errors.Is(err, ErrGap) || !strings.Contains(err.Error(), "the archive ends with binlog.000001, and the server begins with binlog.000003") {
		t.Errorf("%v", err)
	}
	after := &Archive{Config: configOf(s), AfterGap: true}
	next := out.Next()
	if d := archive(t, after, next); d.name(0) != "binlog.000003" || len(d.Logs) != 1 {
		t.Errorf("%+v", d)
	}
	s.SQL(t, "RESET MASTER; CREATE DATABASE shop; FLUSH BINARY LOGS; FLUSH BINARY LOGS")
	if err := a.Write(t.Context(), next.Next()); !errors.Is(err, ErrGap) || !strings.Contains(err.Error(), "the server has begun with other logs") {
		t.Errorf("after RESET MASTER: %v", err)
	}
}
