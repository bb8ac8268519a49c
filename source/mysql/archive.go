package mysql

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/kura-backup/kura/internal/clock"
	"github.com/kura-backup/kura/source"
	"github.com/kura-backup/kura/source/mysql/binlog"
)

const (
	// maxLogs bounds how many logs an archive has, so that what the details say of them fits.
	maxLogs = 1700
	// clockSlack is by how much clocks may go wrong while logs are read.
	clockSlack = time.Minute
)

// ErrGap is a log that the server has no longer, though it was not archived.
var ErrGap = errors.New("mysql: logs are missing between the archive and the server")

// Archive is a backup of a MariaDB server's binary logs. Each has the logs of the one before, without reading them again, and what
// is new. It is a source.Source.
type Archive struct {
	Config Config
	// AfterGap begins a new archive where logs are missing, in place of failing.
	AfterGap bool
	// Keep leaves out logs whose last event is older; 0 keeps all.
	Keep time.Duration

	details ArchiveDetails
	asked   time.Time
	anew    bool
}

var _ source.Source = (*Archive)(nil)

// Kind is of source.Source.
func (b *Archive) Kind() string { return "mysql" }

// Paths is of source.Source.
func (b *Archive) Paths() []string { return []string{rootOf(&b.Config) + "/" + binlogFolder} }

// Details returns what Write has told the snapshot.
func (b *Archive) Details() *ArchiveDetails { return &b.details }

// Anew reports whether what Write has written continues no other archive.
func (b *Archive) Anew() bool { return b.anew }

// Asked returns when Write has asked the server which logs it has, by the clock of this machine: what was committed later is not all here.
func (b *Archive) Asked() time.Time { return b.asked }

// serverLogs are the logs that a server has.
type serverLogs struct {
	logs    []serverLog
	at      time.Time // by the server's clock, before it was asked
	asked   time.Time // by ours
	gtid    *binlog.State
	version string
	tool    *tool // that can read them
}

type serverLog struct {
	name string
	size int64
}

// now is the latest that the server's clock can be.
func (l *serverLogs) now() time.Time { return l.at.Add(clock.Since(l.asked) + clockSlack) }

// begin looks at the server. The connection is not needed any more then: while logs are read it would only time out.
func (b *Archive) begin(ctx context.Context) (_ *serverLogs, err error) {
	s, err := Open(ctx, b.Config)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if !s.MariaDB {
		return nil, fmt.Errorf("%w: the server is MySQL, whose logs kura does not know", ErrProgram)
	}
	g, err := s.grants(ctx)
	if err != nil {
		return nil, err
	}
	needs := []need{{any: []string{"REPLICATION SLAVE"}, global: true}}
	if s.since(10, 5, 2) {
		needs = append(needs, need{any: []string{"BINLOG MONITOR", "SUPER"}, global: true})
	} else {
		needs = append(needs, need{any: []string{"REPLICATION CLIENT", "SUPER"}, global: true})
	}
	if err := g.missing(nil, needs); err != nil {
		return nil, err
	}
	if on, err := s.variable(ctx, "log_bin"); err != nil || on != "ON" {
		return nil, errors.Join(err, errors.New("mysql: the server keeps no binary log: set log_bin in its configuration"))
	}
	out := &serverLogs{version: s.Version}
	if out.tool, err = findTool(ctx, true, "mariadb-binlog", "mysqlbinlog"); err != nil {
		return nil, err
	}
	return out, out.ask(ctx, s)
}

// ask asks which logs the server has.
func (l *serverLogs) ask(ctx context.Context, s *Server) error {
	// NOW() can be what somebody has set who used the thread before, and local time is not one time when clocks are put back.
	var now int64
	if err := s.exec(ctx, "SET SESSION time_zone = '+00:00'"); err != nil {
		return err
	}
	if err := s.conn.QueryRowContext(ctx, "SELECT UNIX_TIMESTAMP(SYSDATE())").Scan(&now); err != nil {
		return fmt.Errorf("mysql: %w", err)
	}
	l.at, l.asked = time.Unix(now, 0), clock.Now()
	rows, err := s.query(ctx, "SHOW BINARY LOGS")
	if err != nil {
		return err
	}
	for _, r := range rows {
		size, err := strconv.ParseInt(r["file_size"], 10, 64)
		if err != nil {
			return fmt.Errorf("mysql: SHOW BINARY LOGS: %w", err)
		}
		l.logs = append(l.logs, serverLog{r["log_name"], size})
	}
	if len(l.logs) == 0 {
		return errors.New("mysql: the server keeps no binary log")
	}
	gtid, err := s.variable(ctx, "gtid_binlog_pos")
	if err != nil {
		return err
	}
	l.gtid, err = binlog.ParseState(gtid)
	return err
}

// after returns which of the server's logs is the archive's last one, which may have grown. It fails if the server has it no longer, or
// not as it was.
func (l *serverLogs) after(d *ArchiveDetails) (int, error) {
	last := len(d.Logs) - 1
	at := slices.IndexFunc(l.logs, func(l serverLog) bool { return l.name == d.name(last) })
	switch {
	case at < 0:
		return 0, fmt.Errorf("%w: the archive ends with %s, and the server has %s to %s", ErrGap, d.name(last), l.logs[0].name, l.logs[len(l.logs)-1].name)
	case l.logs[at].size < d.Logs[last].size():
		return 0, fmt.Errorf("%w: %s was longer when it was archived: the server has begun with other logs", ErrGap, d.name(last))
	}
	return at, nil
}

// Due reports whether it is time for another archive after this one: the server has something that it has not, or it is so old, by the
// server's clock, that it ought to be said anew that there is nothing. Where the server lacks logs that the archive ends with, the error
// wraps ErrGap.
func (b *Archive) Due(ctx context.Context, d *ArchiveDetails, idle time.Duration) (bool, error) {
	l, err := b.begin(ctx)
	if err != nil {
		return false, err
	}
	all, err := l.has(d)
	return err == nil && (!all || l.at.Sub(d.AsOf) >= idle), err
}

// has reports whether an archive has all of the logs.
func (l *serverLogs) has(d *ArchiveDetails) (bool, error) {
	from, err := l.after(d)
	if err != nil {
		return false, err
	}
	if rest := l.logs[from:]; len(rest) > 1 || rest[0].size != d.Logs[len(d.Logs)-1].size() {
		return false, nil
	}
	was, err := binlog.ParseState(d.At.GTID) // other logs can be as long as these
	return err == nil && was.Equal(l.gtid), nil
}

// Write is of source.Source.
func (b *Archive) Write(ctx context.Context, out source.Writer) error {
	l, err := b.begin(ctx)
	if err != nil {
		return err
	}
	before, err := ReadArchiveDetails(out.Before())
	if err != nil {
		return fmt.Errorf("mysql: the archive that is there: %w", err)
	}
	from, err := b.continued(ctx, l, before)
	if errors.Is(err, ErrGap) && b.AfterGap {
		before, from, err = nil, 0, b.beginsAnew(ctx, l)
	}
	if err != nil {
		return err
	}
	b.anew, b.asked = before == nil, l.asked
	d := &b.details
	d.Root, d.Version, d.AsOf = b.Paths()[0], l.version, l.at
	if err := b.carry(out); err != nil {
		return err
	}
	f := follower{before: before}
	if n := len(d.Logs); n > 0 {
		f.latest = d.Logs[n-1].latest()
	}
	for _, log := range l.logs[from:] {
		if err := b.fetch(ctx, l, log.name, func(r io.Reader) error { return b.take(r, l, out, log.name, &f) }); err != nil {
			return fmt.Errorf("%s: %w", log.name, err)
		}
	}
	d.At.GTID, d.Last, d.Ends = f.state.String(), f.latest, l.now()
	return out.Describe(map[string]any{archiveKey: d})
}

// Names become names of files, and arguments.
var logName = regexp.MustCompile(`^([^-/\x00-\x1f][^/\x00-\x1f]*\.)(\d+)$`)

// begins begins a new archive.
func (b *Archive) begins(l *serverLogs) error {
	m := logName.FindStringSubmatch(l.logs[0].name)
	if m == nil {
		return fmt.Errorf("mysql: a log is called %q", l.logs[0].name)
	}
	b.details = ArchiveDetails{Format: detailsFormat, Prefix: m[1], Digits: len(m[2]), Began: l.at}
	var err error
	if b.details.First, err = strconv.Atoi(m[2]); err != nil {
		return fmt.Errorf("mysql: a log is called %q", l.logs[0].name)
	}
	for i, log := range l.logs {
		if log.name != b.details.name(i) {
			return fmt.Errorf("%w: the server has %s where %s should be", ErrGap, log.name, b.details.name(i))
		}
	}
	return nil
}

// beginsAnew begins a new archive with those of the server's logs that follow one another up to the last.
func (b *Archive) beginsAnew(ctx context.Context, l *serverLogs) error {
	var state binlog.State
	first := 0
	for i, log := range l.logs {
		err := b.fetch(ctx, l, log.name, func(r io.Reader) error {
			return binlog.Scan(r, func(e *binlog.Event) error {
				err := state.Follow(e)
				if errors.Is(err, binlog.ErrGap) {
					state, first = binlog.State{}, i
					err = state.Follow(e)
				}
				return err
			})
		})
		if err != nil {
			return fmt.Errorf("%s: %w", log.name, err)
		}
	}
	l.logs = l.logs[first:]
	return b.begins(l)
}

// continued finds out from which of the server's logs on they have to be read: the last one that was archived, which may have grown. It
// fails if the server lacks that one.
func (b *Archive) continued(ctx context.Context, l *serverLogs, before *ArchiveDetails) (from int, err error) {
	if err := b.begins(l); err != nil || before == nil {
		return 0, err
	}
	from, err = l.after(before)
	if err != nil {
		return 0, err
	}
	if b.AfterGap {
		// Nothing is written yet: this is the moment to see whether there is one.
		f := follower{before: before}
		for _, log := range l.logs[from:] {
			if err := b.fetch(ctx, l, log.name, func(r io.Reader) error { return errors.Join(binlog.Scan(r, f.follow), f.ended()) }); err != nil {
				return 0, fmt.Errorf("%s: %w", log.name, err)
			}
		}
	}
	last, drop := len(before.Logs)-1, 0
	for drop < last && (b.Keep > 0 && l.at.Sub(before.Logs[drop].latest()) > b.Keep || len(before.Logs)-drop+len(l.logs)-from > maxLogs) {
		drop++
	}
	b.details.Began, b.details.First, b.details.Logs = before.Began, before.First+drop, slices.Clone(before.Logs[drop:last])
	return from, nil
}

// carry takes over the logs of the snapshot before, without reading them.
func (b *Archive) carry(out source.Writer) error {
	for i, l := range b.details.Logs {
		f, err := out.Create(b.details.Root+"/"+b.details.name(i), source.FileNode(0o600))
		if err != nil {
			return err
		}
		if _, err := f.ReadMap(gone{b.details.name(i)}, []source.Range{{Start: 0, Length: l.size(), Kind: source.Same}}); err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

// gone is a log that can not be read again.
type gone struct{ name string }

func (g gone) ReadAt([]byte, int64) (int, error) {
	return 0, fmt.Errorf("mysql: %s is only in the snapshot before", g.name)
}
