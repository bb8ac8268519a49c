package mysql

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/kura-backup/kura/source/mysql/dump"
)

const (
	fromDump = "rows and digests are of the dump itself"
	// viewWait is for how many seconds a view waits for a table that somebody alters.
	viewWait = 60
)

// view is a connection that sees a server as it was at one moment.
type view struct {
	*Server
	at    Coordinates // without GTID
	keeps bool        // tables that were read can not be altered before the view is closed
}

// openView opens one.
func openView(ctx context.Context, c Config) (_ *view, err error) {
	s, err := Open(ctx, c)
	if err != nil {
		return nil, err
	}
	v := &view{Server: s}
	// Who may write to the log lets go of no table that he has read, even if he has not written anything.
	err = s.exec(ctx, "SET SESSION sql_log_bin = 0")
	if v.keeps = number(err) == 1227; err != nil && !v.keeps {
		return nil, errors.Join(err, s.Close())
	}
	settings := fmt.Sprintf("SET SESSION max_statement_time = 0, SESSION lock_wait_timeout = %d", viewWait)
	if s.MariaDB && s.since(10, 3, 0) { // which may end transactions that are idle, as this one is for as long as a dump takes
		settings += ", SESSION idle_transaction_timeout = 0, SESSION idle_readonly_transaction_timeout = 0"
	}
	for _, q := range []string{settings, "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ", "START TRANSACTION WITH CONSISTENT SNAPSHOT"} {
		if err := s.exec(ctx, q); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	rows, err := s.query(ctx, "SHOW STATUS LIKE 'binlog_snapshot_%'")
	for _, r := range rows {
		switch r["variable_name"] {
		case "Binlog_snapshot_file":
			v.at.File = r["value"]
		case "Binlog_snapshot_position":
			_, err = fmt.Sscan(r["value"], &v.at.Position)
		}
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return v, nil
}

// checksum asks for the checksum of a table. It returns "" if the view can not see the table any more, because it was altered since, or
// if somebody has been at that for long. Unless the view keeps it, the table can be altered as soon as it has been read: otherwise who does
// that would wait until all tables are, and everybody who uses it for him.
func (v *view) checksum(ctx context.Context, database, table string) (sum string, err error) {
	defer func() {
		if hasEnded(err) {
			err = fmt.Errorf("%w, at %s.%s: %w", ErrViewLost, database, table, err)
		}
	}()
	if err := v.exec(ctx, "SAVEPOINT before_it"); err != nil {
		return "", err
	}
	rows, err := v.query(ctx, "CHECKSUM TABLE "+quote(database)+"."+quote(table))
	switch {
	case number(err) == 1412 || number(err) == 1205: // altered; no lock
	case err != nil:
		return "", err
	case len(rows) == 1:
		sum = rows[0]["checksum"]
	}
	return sum, v.exec(ctx, "ROLLBACK TO SAVEPOINT before_it")
}

// withChecksums runs a dump, and then CHECKSUM TABLE for its tables on a connection whose view was opened together with the dump's: under a
// lock under which nothing is committed, which is released as soon as the dump prints what it reads. If that is not soon enough for those who
// wait, there are no checksums: the dump needs the lock for nothing else.
func (b *Logical) withChecksums(ctx context.Context, f *Facts, m *Manifest, run func(context.Context) error) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var v *view
	defer func() {
		if v != nil {
			err = errors.Join(err, v.Close())
		}
	}()
	opened, done, running := make(chan struct{}), make(chan error, 1), false
	b.reads = sync.OnceFunc(func() { close(opened) })
	limits := b.Limits.orDefaults()
	limits.Hold = min(limits.Hold, limits.View)
	held, err := Hold(ctx, b.Config, limits, func(holding context.Context, _ *Held) (err error) {
		if v, err = openView(holding, b.Config); err != nil {
			return err
		}
		running = true
		go func() { done <- run(ctx); b.reads() }() // it goes on without the lock
		select {
		case <-opened:
			return nil
		case <-holding.Done():
			return context.Cause(holding)
		}
	})
	var without error // why there are no checksums
	if ctx.Err() == nil && (errors.Is(err, ErrHeldTooLong) || errors.Is(err, ErrLockLost)) {
		without, err = err, nil
		if v != nil { // it would be idle for as long as the dump takes, which some end
			_ = v.Close()
			v = nil
		}
	}
	if err != nil {
		cancel()
	}
	if !running && err == nil { // not even this view was there in time
		err = run(ctx)
	}
	if running {
		if derr := <-done; err == nil {
			err = derr
		}
	}
	if err != nil {
		return err
	}
	b.details.ViewLockMS = held.Time.Milliseconds()
	if without != nil {
		b.details.Baseline = fmt.Sprintf("%s; no CHECKSUM TABLE: %v", fromDump, without)
		if b.Warn != nil {
			b.Warn(fmt.Sprintf("there are no checksums of tables, though nothing was committed for %v: %v", held.Time.Round(time.Millisecond), without))
		}
		return nil
	}
	if v.keeps && f.Binlog && b.Warn != nil {
		b.Warn("tables can not be altered until the checksums of all are there: without the privilege BINLOG ADMIN (SUPER before MariaDB 10.5) the server does not let go of them")
	}
	if at := b.details.At; f.Binlog && (at.File != v.at.File || at.Position != v.at.Position) {
		b.details.Baseline = fmt.Sprintf("%s; no CHECKSUM TABLE: the dump is of %s:%d, and the other view of %s:%d", fromDump, at.File, at.Position, v.at.File, v.at.Position)
		return nil
	}
	return b.addChecksums(ctx, v, f, m)
}

// checksumNeeds are the privileges for the lock.
func (b *Logical) checksumNeeds() []need {
	if !b.Checksums {
		return nil
	}
	return []need{{any: []string{"RELOAD"}, global: true}}
}

// addChecksums notes the checksums of the tables that were dumped. Those without transactions are not of the view, and others come back
// otherwise: those that keep their history have other times, and a FLOAT has six digits in a dump.
func (b *Logical) addChecksums(ctx context.Context, v *view, f *Facts, m *Manifest) error {
	not := map[tableName]bool{}
	for _, n := range slices.Concat(f.NonTransactional, f.Versioned, f.Floats) {
		not[tableName{n.Database, n.Table}] = true
	}
	n := 0
	for i := range m.Tables {
		t := &m.Tables[i]
		if not[tableName{t.Database, t.Table}] {
			continue
		}
		var err error
		if t.Checksum, err = v.checksum(ctx, t.Database, t.Table); err != nil {
			return err
		}
		if t.Checksum != "" {
			n++
		}
	}
	b.details.Baseline = fmt.Sprintf("%s; CHECKSUM TABLE of %d tables is of a view that was opened under one lock with the dump's", fromDump, n)
	return nil
}

// compareChecksums compares checksums with those of the backup. Servers of another series compute others.
func (p *Plan) compareChecksums(ctx context.Context, c Config) (differ []Difference, err error) {
	if !slices.ContainsFunc(p.Tables, func(t dump.Summary) bool { return t.Checksum != "" }) {
		return nil, nil
	}
	v, err := openView(ctx, c)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	if was := versionNumber.FindStringSubmatch(p.version); was == nil || was[1]+"."+was[2] != v.Series() {
		return nil, nil
	}
	for _, t := range p.Tables {
		if t.Checksum == "" {
			continue
		}
		got, err := v.checksum(ctx, t.Database, t.Table)
		if err != nil {
			return nil, err
		}
		if got != t.Checksum {
			differ = append(differ, Difference{t, fmt.Sprintf("its CHECKSUM TABLE is %q instead of %q", got, t.Checksum)})
		}
	}
	return differ, nil
}
