package mysql

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/kura-backup/kura/source/mysql/binlog"
)

// Until says up to where logs are replayed: to a time, with what happened before it, or to a transaction, with it.
type Until struct {
	Time time.Time
	GTID *binlog.GTID
}

// ParseGTID reads a GTID as MariaDB writes it: domain-server-number.
func ParseGTID(text string) (*binlog.GTID, error) {
	g, err := binlog.ParseGTID(text)
	return &g, err
}

func (u Until) String() string {
	if u.GTID != nil {
		return "GTID " + u.GTID.String()
	}
	return u.Time.Format(time.RFC3339)
}

// Replay is a stretch of an archive's logs that begins where a backup was and ends with a transaction.
type Replay struct {
	From, To     Coordinates // To.GTID is the last transaction
	Transactions int
	Last         time.Time // when the last of them began

	dir   string
	files []string
	base  time.Time // of the last transaction that the backup has
}

// PrepareReplay copies the logs that are needed to get from a backup to a moment into a folder, which must be there and is the
// caller's to remove, and looks at them. It returns an error wrapping ErrReach if the archive does not reach from the one to the other.
func PrepareReplay(ctx context.Context, d *ArchiveDetails, from Coordinates, until Until, dir string, open Opener) (*Replay, error) {
	first := d.index(from.File)
	switch {
	case from.File == "":
		return nil, fmt.Errorf("%w: the server kept no binary log when it was backed up", ErrReach)
	case first < 0:
		return nil, fmt.Errorf("%w: the backup is of %s:%d, and the archive has %s to %s", ErrReach, from.File, from.Position, d.name(0), d.name(len(d.Logs)-1))
	case int64(from.Position) > d.Logs[first][0]:
		return nil, fmt.Errorf("%w: the backup is of %s:%d, which the archive has up to %d", ErrReach, from.File, from.Position, d.Logs[first][0])
	case until.GTID == nil && d.Last.Before(until.Time):
		return nil, fmt.Errorf("%w: the archive ends at %s, and %v was asked for", ErrReach, d.Last.Format(time.RFC3339), until)
	}
	r := &Replay{From: from, To: from, dir: dir}
	for i := first; i < len(d.Logs); i++ {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		name := d.name(i)
		if err := r.copy(name, open); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		done, err := r.look(name, until)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if until.GTID == nil && !r.base.Before(until.Time) {
			return nil, fmt.Errorf("%w: the backup has what happened at %s, and %v was asked for", ErrReach, r.base.Format(time.RFC3339), until)
		}
		if done {
			return r, nil
		}
	}
	if until.GTID != nil {
		return nil, fmt.Errorf("%w: %v is not between the backup and the end of the archive", ErrReach, until)
	}
	return r, nil
}

func (r *Replay) copy(name string, open Opener) (err error) {
	in, err := open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := os.OpenFile(filepath.Join(r.dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	r.files = append(r.files, filepath.Join(r.dir, name))
	return errors.Join(err, out.Close())
}

var errReached = errors.New("reached")

// look finds the end of the replay in a file, and reports whether it is there. It lies between transactions.
func (r *Replay) look(name string, until Until) (done bool, err error) {
	f, err := os.Open(filepath.Join(r.dir, name))
	if err != nil {
		return false, err
	}
	defer f.Close()
	last := false // the transaction that was asked for is at work
	err = binlog.Scan(f, func(e *binlog.Event) error {
		if name == r.From.File && e.Start < int64(r.From.Position) {
			if e.GTID != nil {
				r.base = e.Time
			}
			return nil
		}
		if e.GTID != nil || e.Next != "" {
			if last || until.GTID == nil && e.GTID != nil && !e.Time.Before(until.Time) {
				return errReached
			}
		}
		if e.GTID != nil {
			r.Transactions++
			r.Last, r.To.GTID = e.Time, e.GTID.String()
			last = until.GTID != nil && *e.GTID == *until.GTID
		}
		r.To.File, r.To.Position = name, uint64(e.End)
		return nil
	})
	if errors.Is(err, errReached) {
		return true, nil
	}
	return last, err // at the end of a file no transaction is at work
}

// Run replays the logs on a server.
func (r *Replay) Run(ctx context.Context, s *Server) error {
	if r.Transactions == 0 {
		return nil
	}
	t, err := findTool(ctx, true, "mariadb-binlog", "mysqlbinlog")
	if err != nil {
		return err
	}
	var files []string
	for _, f := range r.files {
		files = append(files, f)
		if filepath.Base(f) == r.To.File {
			break
		}
	}
	// All of them at once: a temporary table may be made in one and used in the next.
	args := append([]string{
		"--start-position=" + strconv.FormatUint(r.From.Position, 10), "--stop-position=" + strconv.FormatUint(r.To.Position, 10),
	}, files...)
	return s.Client(ctx, func(w io.Writer) error {
		_, err := t.pipe(ctx, &Config{}, args, func(out io.Reader) error {
			_, err := io.Copy(w, out)
			return err
		})
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			return fmt.Errorf("reading the logs: %w", err)
		}
		return err
	})
}
