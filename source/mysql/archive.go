package mysql

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kura-backup/kura/source"
	"github.com/kura-backup/kura/source/mysql/binlog"
)

const (
	binlogFolder = "binlog"
	// maxLogs bounds how many logs an archive has, so that what the details say of them fits.
	maxLogs = 2500
)

// ErrGap is a log that the server has no longer, though it was not archived.
var ErrGap = errors.New("mysql: logs are missing between the archive and the server")

// ErrReach is a moment that an archive does not have.
var ErrReach = errors.New("mysql: the archive of the logs does not reach there")

// Archive is a backup of a MariaDB server's binary logs. Each has the logs of the one before, without reading them again, and what
// is new. It is a source.Source.
type Archive struct {
	Config Config
	// AfterGap begins a new archive where logs are missing, in place of failing.
	AfterGap bool
	// Keep leaves out logs whose last event is older; 0 keeps all. Now is the time for that.
	Keep time.Duration
	Now  time.Time

	details ArchiveDetails
}

var _ source.Source = (*Archive)(nil)

// ArchiveDetails are what the snapshot's manifest says of an archive, under the key mysql_binlog.
type ArchiveDetails struct {
	Root    string `json:"root"`
	Version string `json:"version"`
	// Prefix is what names of logs begin with, Digits how many digits follow, and First the first number.
	Prefix string `json:"prefix"`
	Digits int    `json:"digits"`
	First  int    `json:"first"`
	// Logs are, for each log, its bytes and the time of its last event, in seconds since 1970.
	Logs [][2]int64 `json:"logs"`
	// At is the end of the last one, and Last the latest time of an event.
	At   Coordinates `json:"at"`
	Last time.Time   `json:"last"`
}

// ReadArchiveDetails reads the details of a snapshot. It returns nil if they are not of an archive.
func ReadArchiveDetails(text []byte) *ArchiveDetails {
	var d struct {
		Archive *ArchiveDetails `json:"mysql_binlog"`
	}
	if json.Unmarshal(text, &d) != nil || d.Archive == nil || d.Archive.Root == "" || d.Archive.Digits < 1 || d.Archive.Digits > 20 || len(d.Archive.Logs) == 0 {
		return nil
	}
	return d.Archive
}

func (d *ArchiveDetails) name(i int) string {
	return fmt.Sprintf("%s%0*d", d.Prefix, d.Digits, d.First+i)
}

// index returns which of the logs has this name, or -1.
func (d *ArchiveDetails) index(name string) int {
	for i := range d.Logs {
		if d.name(i) == name {
			return i
		}
	}
	return -1
}

// ArchiveOf returns the folder of the archive of the logs of the server of which a backup is.
func ArchiveOf(d *Details) string {
	return strings.TrimSuffix(d.Root, "/"+physicalFolder) + "/" + binlogFolder
}

// Kind is of source.Source.
func (b *Archive) Kind() string { return "mysql" }

// Paths is of source.Source.
func (b *Archive) Paths() []string { return []string{rootOf(&b.Config) + "/" + binlogFolder} }

// Details returns what Write has told the snapshot.
func (b *Archive) Details() *ArchiveDetails { return &b.details }

// serverLog is a log that the server has.
type serverLog struct {
	name string
	size int64
}

// logs asks which logs the server has.
func (s *Server) logs(ctx context.Context) (out []serverLog, err error) {
	rows, err := s.query(ctx, "SHOW BINARY LOGS")
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		size, err := strconv.ParseInt(r["file_size"], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("mysql: SHOW BINARY LOGS: %w", err)
		}
		out = append(out, serverLog{r["log_name"], size})
	}
	if len(out) == 0 {
		return nil, errors.New("mysql: the server keeps no binary log")
	}
	return out, nil
}

// begin looks at the server.
func (b *Archive) begin(ctx context.Context) (_ *Server, t *tool, logs []serverLog, err error) {
	s, err := Open(ctx, b.Config)
	if err != nil {
		return nil, nil, nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if !s.MariaDB {
		return nil, nil, nil, fmt.Errorf("%w: the server is MySQL, whose logs kura does not know", ErrProgram)
	}
	g, err := s.grants(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	needs := []need{{any: []string{"REPLICATION SLAVE"}, global: true}}
	if s.since(10, 5, 2) {
		needs = append(needs, need{any: []string{"BINLOG MONITOR", "SUPER"}, global: true})
	} else {
		needs = append(needs, need{any: []string{"REPLICATION CLIENT", "SUPER"}, global: true})
	}
	if err := g.missing(nil, needs); err != nil {
		return nil, nil, nil, err
	}
	if on, err := s.variable(ctx, "log_bin"); err != nil || on != "ON" {
		return nil, nil, nil, errors.Join(err, errors.New("mysql: the server keeps no binary log: set log_bin in its configuration"))
	}
	if t, err = findTool(ctx, true, "mariadb-binlog", "mysqlbinlog"); err != nil {
		return nil, nil, nil, err
	}
	logs, err = s.logs(ctx)
	return s, t, logs, err
}

// Behind returns how many bytes of logs the server has that an archive has not; d may be nil.
func (b *Archive) Behind(ctx context.Context, d *ArchiveDetails) (n int64, err error) {
	s, _, logs, err := b.begin(ctx)
	if err != nil {
		return 0, err
	}
	for _, l := range logs {
		i := -1
		if d != nil {
			i = d.index(l.name)
		}
		switch {
		case i < 0:
			n += l.size
		case l.size > d.Logs[i][0]:
			n += l.size - d.Logs[i][0]
		}
	}
	return n, s.Close()
}

// Write is of source.Source.
func (b *Archive) Write(ctx context.Context, out source.Writer) (err error) {
	s, t, logs, err := b.begin(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	before := ReadArchiveDetails(out.Before())
	from, err := b.continued(before, logs)
	if err != nil {
		return err
	}
	b.details.Root, b.details.Version = b.Paths()[0], s.Version
	if err := b.carry(out); err != nil {
		return err
	}
	f := follower{state: binlog.State{}}
	if before != nil && len(b.details.Logs)+b.details.First-before.First == len(before.Logs)-1 {
		f.known, f.time = &before.At, time.Unix(before.Logs[len(before.Logs)-1][1], 0) // the first log that is read has this
	}
	for _, l := range logs[from:] {
		if err := b.fetch(ctx, t, out, l.name, &f); err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
	}
	b.details.At.GTID = f.state.String()
	return out.Describe(map[string]any{"mysql_binlog": b.details})
}

// follower looks whether logs continue what was archived.
type follower struct {
	state binlog.State
	known *Coordinates // where the archive ended, until that was passed
	time  time.Time    // of the event that ends there
}

func (f *follower) follow(e *binlog.Event) error {
	if err := f.state.Follow(e); err != nil || f.known == nil || e.End < int64(f.known.Position) {
		return err
	}
	if e.End != int64(f.known.Position) || f.state.String() != f.known.GTID || !e.Time.Equal(f.time) {
		return fmt.Errorf("%w: it is not the one that was archived: the server has begun with other logs", ErrGap)
	}
	f.known = nil
	return nil
}

var logName = regexp.MustCompile(`^(.*\.)(\d+)$`)

// continued finds out from which of the server's logs on they have to be read: the last one that was archived, which may have grown. It
// fails if the server lacks that one.
func (b *Archive) continued(before *ArchiveDetails, logs []serverLog) (from int, err error) {
	m := logName.FindStringSubmatch(logs[0].name)
	if m == nil {
		return 0, fmt.Errorf("mysql: a log is called %q", logs[0].name)
	}
	fresh := ArchiveDetails{Prefix: m[1], Digits: len(m[2])}
	if fresh.First, err = strconv.Atoi(m[2]); err != nil {
		return 0, fmt.Errorf("mysql: a log is called %q", logs[0].name)
	}
	b.details = fresh
	for i, l := range logs {
		if l.name != b.details.name(i) {
			return 0, fmt.Errorf("%w: the server has %s where %s should be", ErrGap, l.name, b.details.name(i))
		}
	}
	if before == nil {
		return 0, nil
	}
	last := len(before.Logs) - 1
	at := slices.IndexFunc(logs, func(l serverLog) bool { return l.name == before.name(last) })
	switch {
	case at < 0:
		err = fmt.Errorf("%w: the archive ends with %s, and the server begins with %s", ErrGap, before.name(last), logs[0].name)
	case logs[at].size < before.Logs[last][0]:
		err = fmt.Errorf("%w: %s was longer when it was archived: the server has begun with other logs", ErrGap, logs[at].name)
	}
	if err != nil {
		if b.AfterGap {
			return 0, nil
		}
		return 0, err
	}
	drop := 0
	for drop < last && (b.Keep > 0 && b.Now.Sub(time.Unix(before.Logs[drop][1], 0)) > b.Keep || len(before.Logs)-drop+len(logs)-at > maxLogs) {
		drop++
	}
	b.details.First, b.details.Logs, b.details.Last = before.First+drop, slices.Clone(before.Logs[drop:last]), before.Last
	return at, nil
}

// carry takes over the logs of the snapshot before, without reading them.
func (b *Archive) carry(out source.Writer) error {
	for i, l := range b.details.Logs {
		f, err := out.Create(b.details.Root+"/"+b.details.name(i), source.FileNode(0o600))
		if err != nil {
			return err
		}
		if _, err := f.ReadMap(gone{b.details.name(i)}, []source.Range{{Start: 0, Length: l[0], Kind: source.Same}}); err != nil {
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

// fetch reads a log of the server, as far as it is now.
func (b *Archive) fetch(ctx context.Context, t *tool, out source.Writer, name string, follow *follower) (err error) {
	dir, err := os.MkdirTemp("", "kura-binlog-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	args := []string{"--read-from-remote-server", "--raw", "--result-file=" + dir + "/", "--start-position=4", name}
	if _, err := t.pipe(ctx, &b.Config, args, func(r io.Reader) error {
		_, err := io.Copy(io.Discard, r)
		return err
	}); err != nil {
		return err
	}
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return fmt.Errorf("%w: %s wrote nothing: %w", ErrFailed, t.path, err)
	}
	defer f.Close()
	var last *binlog.Event
	if err := binlog.Scan(f, func(e *binlog.Event) error {
		last = e
		if e.Time.After(b.details.Last) { // the log's own events can be older than what a replica has noted
			b.details.Last = e.Time
		}
		return follow.follow(e)
	}); err != nil {
		return err
	}
	if last == nil {
		return fmt.Errorf("%w: the log has no events", ErrFailed)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	to, err := out.Create(b.details.Root+"/"+name, source.FileNode(0o600))
	if err != nil {
		return err
	}
	n, err := to.ReadFrom(f)
	if err != nil {
		return err
	}
	if n != last.End {
		return fmt.Errorf("%w: the log has %d bytes, and was looked at up to %d", ErrFailed, n, last.End)
	}
	b.details.Logs = append(b.details.Logs, [2]int64{last.End, last.Time.Unix()})
	b.details.At = Coordinates{File: name, Position: uint64(last.End)}
	return to.Close()
}
