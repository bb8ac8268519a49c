package mysql

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kura-backup/kura/internal/testserver"
	"github.com/kura-backup/kura/source/mysql/binlog"
	"github.com/kura-backup/kura/source/sourcetest"
)

func TestPrepareReplay_Time_EndsBeforeIt(t *testing.T) {
	s := testserver.NewMariaDB(t) // a server that has seen such times may go on with them
	from, _ := newShop(t, s)
	// The times of events can be set, as replicas do.
	for i := range 6 {
		s.SQL(t, fmt.Sprintf("SET timestamp = %d; INSERT INTO shop.t VALUES (%d)", 2_100_000_000+100*i, i))
		if i == 3 {
			s.SQL(t, "SET timestamp = 2100000301; FLUSH BINARY LOGS")
		}
	}
	out := sourcetest.NewWriter()
	d := archive(t, &Archive{Config: configOf(s)}, out)
	d.AsOf, d.Ends = time.Unix(2_100_001_000, 0), time.Unix(2_100_001_000, 0)
	for until, want := range map[int64]int{2_100_000_000: 0, 2_100_000_001: 1, 2_100_000_300: 3, 2_100_000_301: 4, 2_100_000_450: 5, 2_100_000_500: 5} {
		r, err := PrepareReplay(t.Context(), d, from, Until{Time: time.Unix(until, 0)}, files(out, d.Root))
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
		"later than the archive":  {from, Until{Time: time.Unix(1<<33, 0)}},
		"no such transaction":     {from, Until{GTID: &g}},
		"from another log":        {Coordinates{File: "binlog.000009", Position: 4}, Until{Time: time.Unix(2_100_000_001, 0)}},
		"from inside an event":    {Coordinates{File: from.File, Position: from.Position + 1, GTID: from.GTID}, Until{Time: time.Unix(2_100_000_001, 0)}},
		"from before its end":     {Coordinates{File: from.File, Position: from.Position - 1, GTID: from.GTID}, Until{Time: time.Unix(2_100_000_001, 0)}},
		"from other transactions": {Coordinates{File: from.File, Position: from.Position, GTID: "0-1-1"}, Until{Time: time.Unix(2_100_000_001, 0)}},
		"from another domain":     {Coordinates{File: from.File, Position: from.Position, GTID: from.GTID + ",1-1-1"}, Until{GTID: &binlog.GTID{Server: 1, Number: 4}}},
		"from no GTID":            {Coordinates{File: from.File, Position: from.Position}, Until{GTID: &binlog.GTID{Server: 1, Number: 4}}},
		"in the backup":           {from, Until{GTID: &binlog.GTID{Server: 1, Number: 2}}},
		"from behind its end":     {Coordinates{File: d.At.File, Position: d.At.Position + 1}, Until{Time: time.Unix(2_100_000_001, 0)}},
		"before the backup":       {from, Until{Time: time.Unix(1_700_000_001, 0)}},
		"from nowhere":            {Coordinates{}, Until{Time: time.Unix(2_100_000_001, 0)}},
	} {
		if _, err := PrepareReplay(t.Context(), d, c.from, c.until, files(out, d.Root)); !errors.Is(err, ErrReach) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

const insert = "INSERT INTO shop.t SELECT COALESCE(MAX(id), 0) + 1 FROM shop.t"

// stamped inserts numbers at times that it sets, which are in seconds from now on.
func stamped(t *testing.T, s *testserver.MariaDB, now int64, times ...int64) {
	t.Helper()
	var sql strings.Builder
	for _, at := range times {
		fmt.Fprintf(&sql, "SET timestamp = %d; %s;", now+at, insert)
	}
	s.SQL(t, sql.String())
}

// shop is a server with a table whose times are of a while ago, and where that is.
func shop(t *testing.T) (s *testserver.MariaDB, from Coordinates, now int64) {
	t.Helper()
	s = testserver.SharedMariaDB(t)
	t.Cleanup(func() { wipe(t, s) })
	from, now = newShop(t, s)
	return s, from, now
}

// newShop lets a server begin anew.
func newShop(t *testing.T, s *testserver.MariaDB) (from Coordinates, now int64) {
	t.Helper()
	now = time.Now().Unix() - 3600
	s.SQL(t, fmt.Sprintf("RESET MASTER; SET timestamp = %d; CREATE OR REPLACE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY)", now-100))
	return at(t, s), now
}

func at(t *testing.T, s *testserver.MariaDB) Coordinates {
	t.Helper()
	c, err := Open(t.Context(), configOf(s))
	if err != nil {
		t.Fatal(err)
	}
	at, err := c.coordinates(t.Context())
	if err := errors.Join(err, c.Close()); err != nil {
		t.Fatal(err)
	}
	return at
}

// A log of the same name, with an event that ends at the same place, is not enough.
func TestPrepareReplay_LogsOfAnotherServer_Refused(t *testing.T) {
	a, from, now := shop(t)
	b := testserver.NewMariaDB(t)
	other, _ := newShop(t, b)
	if from != other {
		t.Fatalf("%+v, %+v", from, other)
	}
	// Both have the same history up to here.
	out := sourcetest.NewWriter()
	stamped(t, b, now, 0, 1, 2)
	d := archive(t, &Archive{Config: configOf(b)}, out)
	if r, err := PrepareReplay(t.Context(), d, from, Until{Time: time.Unix(now+10, 0)}, files(out, d.Root)); err != nil || r.Transactions != 3 {
		t.Fatalf("%+v, %v", r, err)
	}
	// Now one has a transaction of the same length, of another server.
	a.SQL(t, fmt.Sprintf("SET SESSION server_id = 2; SET timestamp = %d; %s;", now, insert))
	from = at(t, a)
	if d.index(from.File) != 0 || int64(from.Position) >= d.Logs[0].size() {
		t.Fatalf("%+v, %+v", from, d)
	}
	for _, until := range []Until{{Time: time.Unix(now+10, 0)}, {GTID: &binlog.GTID{Server: 1, Number: 5}}} {
		if r, err := PrepareReplay(t.Context(), d, from, until, files(out, d.Root)); !errors.Is(err, ErrReach) {
			t.Errorf("until %v: %+v, %v", until, r, err)
		}
	}
}

// The log was changed between the last transaction of the backup and the backup.
func TestPrepareReplay_RotatedBeforeTheBackup_MomentBeforeItRefused(t *testing.T) {
	s, early, now := shop(t)
	stamped(t, s, now, 0, 50)
	s.SQL(t, "FLUSH BINARY LOGS; FLUSH BINARY LOGS")
	from := at(t, s)
	s.SQL(t, fmt.Sprintf("SET timestamp = %d; INSERT INTO shop.t VALUES (9)", now+100))
	out := sourcetest.NewWriter()
	d := archive(t, &Archive{Config: configOf(s)}, out)
	prepare := func(d *ArchiveDetails, out *sourcetest.Writer, from Coordinates, until int64) (int, error) {
		r, err := PrepareReplay(t.Context(), d, from, Until{Time: time.Unix(now+until, 0)}, files(out, d.Root))
		if err != nil {
			return -1, err
		}
		return r.Transactions, nil
	}
	for until, want := range map[int64]int{-50: -1, 0: -1, 50: -1, 51: 0, 100: 0, 101: 1} {
		if n, err := prepare(d, out, from, until); n != want || (err != nil) != errors.Is(err, ErrReach) {
			t.Errorf("until %d: %d transactions, %v", until, n, err)
		}
	}
	if n, err := prepare(d, out, early, 1); n != 1 || err != nil {
		t.Errorf("from an earlier backup: %d transactions, %v", n, err)
	}
	// Where the archive does not go back to that transaction.
	purge(t, s, "binlog.000002")
	short := sourcetest.NewWriter()
	d = archive(t, &Archive{Config: configOf(s)}, short)
	for until, want := range map[int64]int{-50: -1, 0: -1, 101: -1, 3600 + 100: -1} {
		d.AsOf, d.Ends = time.Unix(now+3600+200, 0), time.Unix(now+3600+200, 0)
		n, err := prepare(d, short, from, until)
		if until > 3600 {
			want = 1
		}
		if n != want || (err != nil) != errors.Is(err, ErrReach) {
			t.Errorf("shorter archive, until %d: %d transactions, %v", until, n, err)
		}
	}
}

// logOf is a log that begins at a time, with a transaction at each of others, by which the number of transactions goes on.
func logOf(number int, begin int64, times ...int64) []byte {
	b := []byte("\xfebin")
	add := func(at int64, kind byte, body []byte) {
		start := len(b)
		b = binary.LittleEndian.AppendUint32(b, uint32(at))
		b = binary.LittleEndian.AppendUint32(append(b, kind), 1)
		b = binary.LittleEndian.AppendUint32(b, uint32(19+len(body)+4))
		b = binary.LittleEndian.AppendUint32(b, uint32(start+19+len(body)+4))
		b = append(append(b, 0, 0), body...)
		b = binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b[start:]))
	}
	add(begin, 15, append(make([]byte, 60), 1)) // its format: with checksums
	add(begin, 163, binary.LittleEndian.AppendUint64([]byte{1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0}, uint64(number)))
	for i, at := range times {
		add(at, 162, append(binary.LittleEndian.AppendUint64(nil, uint64(number+1+i)), 0, 0, 0, 0, 0))
		add(at, 16, make([]byte, 8)) // is committed
	}
	add(begin, 4, []byte("\x04\x00\x00\x00\x00\x00\x00\x00next"))
	return b
}

// Clients may set the time of a transaction, and long ones are noted when they end.
func TestPrepareReplay_TimesNotInOrder_NotLeftOutSilently(t *testing.T) {
	const now, decade, until = 1_700_000_000, 10 * 365 * 86400, 150
	for name, c := range map[string]struct {
		times []int64
		want  int // -1: refused
	}{
		"in order":                         {[]int64{0, 100, 200}, 2},
		"none":                             {[]int64{200, 300}, 0},
		"all":                              {[]int64{0, 100, 149}, 3},
		"ten years ahead":                  {[]int64{0, decade, 100, 200}, 3},
		"ten years ahead, at the end":      {[]int64{0, 100, decade}, 3},
		"an hour ahead":                    {[]int64{0, 3500, 100, 200}, -1},
		"an hour ahead, behind the moment": {[]int64{0, 100, 200, 3500, 300}, 2},
		"at the same moment":               {[]int64{0, 100, 155, 148, 160}, 2},
		"a long one":                       {[]int64{0, 100, 155, 20, 160}, -1},
		"long ago":                         {[]int64{0, 100, -86400, 120, 200}, 4},
		"long ago, behind the moment":      {[]int64{0, 100, 200, -86400}, -1},
	} {
		for split := 1; split <= len(c.times); split++ { // into logs
			d := &ArchiveDetails{Prefix: "binlog.", Digits: 6, First: 1, AsOf: time.Unix(now+3600, 0), Ends: time.Unix(now+3600, 0)}
			logs := map[string][]byte{}
			for begin := 0; begin < len(c.times); begin += split {
				var times []int64
				earliest := int64(math.MaxInt64)
				for _, at := range c.times[begin:min(begin+split, len(c.times))] {
					times, earliest = append(times, now+at), min(earliest, now+at)
				}
				log := logOf(7+begin, now, times...)
				logs[d.name(len(d.Logs))] = log
				d.Logs = append(d.Logs, Log{int64(len(log)), now, earliest})
			}
			from := Coordinates{File: "binlog.000001", Position: 4 + 84 + 43, GTID: "0-1-7"}
			r, err := PrepareReplay(t.Context(), d, from, Until{Time: time.Unix(now+until, 0)}, func(name string) (io.ReadCloser, error) {
				return io.NopCloser(bytes.NewReader(logs[name])), nil
			})
			switch {
			case c.want >= 0 && (err != nil || r.Transactions != c.want):
				t.Errorf("%s, %d in a log: %+v, %v", name, split, r, err)
			case c.want < 0 && !errors.Is(err, ErrOrder):
				t.Errorf("%s, %d in a log: %+v, %v", name, split, r, err)
			case err != nil && split == 1:
				t.Logf("%s: %v", name, err)
			}
		}
	}
}

// Numbers of transactions may go down, several servers may write to a domain, and temporary tables outlive a log.
func TestReplay_UnusualLogs_AreReplayed(t *testing.T) {
	s, from, now := shop(t)
	s.SQL(t, fmt.Sprintf("SET timestamp = %d;", now)+`SET gtid_seq_no = 100; INSERT INTO shop.t VALUES (1); SET gtid_seq_no = 50; INSERT INTO shop.t VALUES (2); FLUSH BINARY LOGS;
		SET SESSION server_id = 7; INSERT INTO shop.t VALUES (3); SET gtid_domain_id = 4; INSERT INTO shop.t VALUES (4); FLUSH BINARY LOGS;
		SET SESSION binlog_format = STATEMENT; CREATE TEMPORARY TABLE shop.x (id INT); INSERT INTO shop.x VALUES (5), (6)`+
		"; FLUSH BINARY LOGS; INSERT INTO shop.t SELECT id FROM shop.x")
	out := sourcetest.NewWriter()
	d := archive(t, &Archive{Config: configOf(s)}, out)
	r, err := PrepareReplay(t.Context(), d, from, Until{Time: d.AsOf}, files(out, d.Root))
	if err != nil {
		t.Fatal(err)
	}
	target := testserver.NewMariaDB(t)
	target.SQL(t, "CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY)")
	if err := r.Run(t.Context(), open(t, configOf(target))); err != nil {
		t.Fatal(err)
	}
	if got := target.SQL(t, "SELECT GROUP_CONCAT(id ORDER BY id) FROM shop.t"); got != "1,2,3,4,5,6" {
		t.Errorf("%s", got)
	}
	// What the archive can not deliver is not replayed.
	target.SQL(t, "DELETE FROM shop.t")
	log, gtids := out.Bytes(d.Root+"/"+r.To.File), []int64{}
	err = binlog.Scan(bytes.NewReader(log), func(e *binlog.Event) error {
		if e.GTID != nil {
			gtids = append(gtids, e.Start)
		}
		return nil
	})
	if err != nil || len(gtids) != 2 { // the temporary table is dropped
		t.Fatalf("%v, %v", gtids, err)
	}
	r.open = func(name string) (io.ReadCloser, error) {
		if name == r.To.File {
			return io.NopCloser(bytes.NewReader(log[:gtids[1]-5])), nil
		}
		return files(out, d.Root)(name)
	}
	if err := r.Run(t.Context(), open(t, configOf(target))); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v", err)
	}
	if n := target.Number(t, "SELECT COUNT(*) FROM shop.t WHERE id > 4"); n != 0 {
		t.Errorf("%d rows of a transaction that is not complete", n)
	}
}

// Events whose work the logs have would do it once more.
func TestReplay_ServerRunsEvents_Refused(t *testing.T) {
	s, from, now := shop(t)
	stamped(t, s, now, 0)
	out := sourcetest.NewWriter()
	d := archive(t, &Archive{Config: configOf(s)}, out)
	r, err := PrepareReplay(t.Context(), d, from, Until{Time: d.AsOf}, files(out, d.Root))
	if err != nil {
		t.Fatal(err)
	}
	s.SQL(t, "DELETE FROM shop.t")
	for _, set := range []string{"event_scheduler = ON", "slave_run_triggers_for_rbr = YES"} {
		s.SQL(t, "SET GLOBAL event_scheduler = OFF, slave_run_triggers_for_rbr = NO; SET GLOBAL "+set)
		if err := r.Ready(t.Context(), open(t, configOf(s))); !errors.Is(err, ErrTarget) {
			t.Errorf("%s: %v", set, err)
		}
		if err := r.Run(t.Context(), open(t, configOf(s))); !errors.Is(err, ErrTarget) || s.Number(t, "SELECT COUNT(*) FROM shop.t") != 0 {
			t.Errorf("%s: %v", set, err)
		}
	}
	s.SQL(t, "SET GLOBAL event_scheduler = OFF, slave_run_triggers_for_rbr = NO")
	if err := r.Run(t.Context(), open(t, configOf(s))); err != nil {
		t.Error(err)
	}
}

// killedShop is a shop whose server lost its power after two transactions, with so many bytes of its log, and is there again.
func killedShop(t *testing.T, cut int64) (s *testserver.MariaDB, from Coordinates, now int64) {
	t.Helper()
	s = testserver.NewMariaDB(t, "--sync-binlog=1", "--innodb-flush-log-at-trx-commit=1")
	from, now = newShop(t, s)
	stamped(t, s, now, 0, 10)
	s.Kill()
	log := filepath.Join(s.Data, "binlog.000001")
	info, err := os.Stat(log)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(log, info.Size()-cut); err != nil {
		t.Fatal(err)
	}
	s.Start(t)
	return s, from, now
}

// What was cut off is taken back once: logs behind the moment are only looked at.
func TestReplay_ServerWasKilledBeforeTheMoment_TakesBackOnce(t *testing.T) {
	s, from, now := killedShop(t, 10)
	insert := func(id, after int64) {
		s.SQL(t, fmt.Sprintf("SET timestamp = %d; INSERT INTO shop.t VALUES (%d)", now+after, id))
	}
	insert(3, 15)
	insert(4, 20)
	s.SQL(t, "FLUSH BINARY LOGS")
	insert(5, 18)
	out := sourcetest.NewWriter()
	d := archive(t, &Archive{Config: configOf(s)}, out)
	s.SQL(t, "DELETE FROM shop.t")
	r, err := PrepareReplay(t.Context(), d, from, Until{Time: time.Unix(now+19, 0)}, files(out, d.Root))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Run(t.Context(), open(t, configOf(s))); err != nil {
		t.Fatal(err)
	}
	if got := s.SQL(t, "SELECT GROUP_CONCAT(id ORDER BY id) FROM shop.t"); got != "1,3" || r.Transactions != 2 {
		t.Errorf("%s was there, of 1,3; %+v", got, r)
	}
}

// A log that ends in the middle of a transaction, because the machine has lost its power, is archived as far as it goes, and what was
// not committed is not replayed.
func TestReplay_ServerWasKilled_TransactionAtWorkLeftOut(t *testing.T) {
	for _, cut := range []int64{0, 10} {
		t.Run(fmt.Sprintf("%d bytes lost", cut), func(t *testing.T) {
			s, from, now := killedShop(t, cut)
			s.SQL(t, fmt.Sprintf("SET timestamp = %d; INSERT INTO shop.t VALUES (3)", now+20))
			out := sourcetest.NewWriter()
			d := archive(t, &Archive{Config: configOf(s)}, out)
			if d.At.GTID != s.SQL(t, "SELECT @@gtid_binlog_pos") || len(d.Logs) != 2 {
				t.Errorf("%+v", d)
			}
			// What was cut off is not in the log. The table may have it: the engine has sometimes written more than the log.
			end, second := "1,2,3", "1,2"
			if cut > 0 {
				end, second = "1,3", "1,3" // the number was used once more
			}
			for _, c := range []struct {
				until Until
				want  string
			}{
				{Until{Time: time.Unix(now+100, 0)}, end},
				{Until{GTID: &binlog.GTID{Server: 1, Number: 3}}, "1"},
				{Until{GTID: &binlog.GTID{Server: 1, Number: 4}}, second},
			} {
				until, want := c.until, c.want
				s.SQL(t, "DELETE FROM shop.t")
				r, err := PrepareReplay(t.Context(), d, from, until, files(out, d.Root))
				if err != nil {
					t.Fatalf("%v: %v", until, err)
				}
				if err := r.Run(t.Context(), open(t, configOf(s))); err != nil {
					t.Fatal(err)
				}
				if got := s.SQL(t, "SELECT GROUP_CONCAT(id ORDER BY id) FROM shop.t"); got != want || r.Transactions != len(strings.Split(want, ",")) {
					t.Errorf("until %v: %s, and %s was there; %+v", until, got, want, r)
				}
			}
		})
	}
}
