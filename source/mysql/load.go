package mysql

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"

	"github.com/kura-backup/kura/source/mysql/dump"
)

// Conflicts returns what of a plan there is on the server already: databases that have tables, and tables.
func (p *Plan) Conflicts(ctx context.Context, s *Server) (out []string, err error) {
	for _, t := range p.Databases {
		rows, err := s.query(ctx, "SELECT TABLE_NAME AS name FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? ORDER BY 1", t.Name)
		if err != nil {
			return nil, err
		}
		if t.Whole && len(rows) > 0 {
			out = append(out, fmt.Sprintf("database %s with %d tables and views", t.Name, len(rows)))
			continue
		}
		for _, r := range rows {
			if slices.Contains(t.Names, r["name"]) {
				out = append(out, "table "+t.Name+"."+r["name"])
			}
		}
	}
	return out, nil
}

// Client runs the vendor's client, which executes the SQL that fn writes. It returns nil only if all of that was executed. When fn
// fails the client is ended without executing what it has not read yet.
func (s *Server) Client(ctx context.Context, fn func(io.Writer) error) error {
	t, err := findTool(ctx, s.MariaDB, "mariadb", "mysql")
	if err != nil {
		return err
	}
	parent := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// In binary mode the client follows no commands of its own in what it reads, such as one that runs a program, and leaves bytes as they are.
	cmd, release, err := t.command(ctx, &s.Config, "--batch", "--binary-mode", "--default-character-set=utf8mb4", maxPacket)
	if err != nil {
		return err
	}
	defer release()
	cmd.Cancel = func() error { return cmd.Process.Kill() } // see below
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%w: %w", ErrFailed, err)
	}
	werr := fn(stdin)
	if werr != nil {
		// At the end of its input the client executes what it has of a statement.
		cancel()
		_ = cmd.Process.Kill() // and be sure, before the input ends
	}
	cerr := stdin.Close()
	err = cmd.Wait()
	if cause := context.Cause(parent); cause != nil {
		return cause
	}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.Exited() {
		return failure(cmd, err) // its own reason, of which a broken pipe is a consequence
	}
	return errors.Join(werr, err, cerr)
}

// Load loads a plan. It returns parts that go on naming a database that was renamed.
func (p *Plan) Load(ctx context.Context, s *Server, open Opener) (mention []dump.Part, err error) {
	err = s.Client(ctx, func(w io.Writer) (err error) {
		mention, err = p.WriteTo(ctx, w, open)
		return err
	})
	return mention, err
}

// Difference is a table that is not as it was.
type Difference struct {
	dump.Summary
	What string
}

func (d Difference) String() string { return d.Database + "." + d.Table + ": " + d.What }

// Count compares how many rows each table has with how many were backed up. It returns an error wrapping ErrDiffers if they differ.
func (p *Plan) Count(ctx context.Context, s *Server) error {
	var differ []Difference
	for _, t := range p.Tables {
		var n int64
		if err := s.conn.QueryRowContext(ctx, "SELECT COUNT(*) FROM "+quote(t.Database)+"."+quote(t.Table)).Scan(&n); err != nil {
			return fmt.Errorf("mysql: counting %s.%s: %w", t.Database, t.Table, err)
		}
		if n != t.Rows {
			differ = append(differ, Difference{t, fmt.Sprintf("%d rows instead of %d", n, t.Rows)})
		}
	}
	return differing(differ)
}

func differing(list []Difference) error {
	if len(list) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrDiffers, some(list))
}

// Compare dumps the databases of a plan, and compares each table's rows with the digests of the backup, and with sameNames also its
// structure. It returns an error wrapping ErrDiffers if they differ.
func (p *Plan) Compare(ctx context.Context, c Config, sameNames bool) error {
	b := &Logical{Config: c, NoUsers: true, Tables: Lock}
	for _, t := range p.Databases {
		b.Databases = append(b.Databases, t.Name)
	}
	s, f, t, err := b.begin(ctx)
	if err != nil {
		return err
	}
	split := dump.NewSplitter(func(dump.Part) (io.WriteCloser, error) { return nowhere{io.Discard}, nil })
	err = b.pipe(ctx, t, split, b.arguments(s, f, t))
	if err = errors.Join(err, s.Close()); err != nil {
		_ = split.Close() // the reason is known
		return err
	}
	if err := split.Close(); err != nil {
		return err
	}
	now := &Manifest{Tables: split.Tables()}
	var differ []Difference
	for _, want := range p.Tables {
		got := now.table(want.Database, want.Table)
		switch {
		case got == nil:
			differ = append(differ, Difference{want, "it is not there"})
		case got.Rows != want.Rows:
			differ = append(differ, Difference{want, fmt.Sprintf("%d rows instead of %d", got.Rows, want.Rows)})
		case got.Digest != want.Digest:
			differ = append(differ, Difference{want, "other rows"})
		case sameNames && got.DDL != want.DDL:
			differ = append(differ, Difference{want, "another structure"})
		}
	}
	return differing(differ)
}

type nowhere struct{ io.Writer }

func (nowhere) Close() error { return nil }

// MissingDefiners returns accounts that views, routines, triggers and events of the loaded databases run as, and that the server does
// not have: what they belong to fails when it is used.
func (p *Plan) MissingDefiners(ctx context.Context, s *Server) (out []string, err error) {
	if len(p.Databases) == 0 {
		return nil, nil
	}
	names := make([]string, len(p.Databases))
	for i, t := range p.Databases {
		names[i] = t.Name
	}
	marks, args := in(names)
	var queries []string
	var all []any
	for _, from := range []string{"VIEWS WHERE TABLE_SCHEMA", "ROUTINES WHERE ROUTINE_SCHEMA", "TRIGGERS WHERE TRIGGER_SCHEMA", "EVENTS WHERE EVENT_SCHEMA"} {
		queries = append(queries, "SELECT DEFINER AS definer FROM information_schema."+from+" IN "+marks)
		all = append(all, args...)
	}
	rows, err := s.query(ctx, "SELECT definer FROM ("+strings.Join(queries, " UNION ")+") d WHERE definer <> '' AND definer NOT IN (SELECT CONCAT(User, '@', Host) FROM mysql.user)", all...)
	if n := number(err); n == 1142 || n == 1143 || n == 1044 {
		return nil, nil // an account that may not see who else there is
	}
	for _, r := range rows {
		out = append(out, r["definer"])
	}
	slices.Sort(out)
	return out, err
}
