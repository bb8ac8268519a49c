package mysql

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"slices"
	"strings"

	"github.com/kura-backup/kura/source/mysql/dump"
)

// Conflicts returns what of a plan there is on the server already: databases that have tables, routines or events, and tables. It
// returns an error wrapping ErrExists if the server, which may take capital letters for small ones, can not have all of it at once.
func (p *Plan) Conflicts(ctx context.Context, s *Server) (out []string, err error) {
	folds, err := s.foldsNames(ctx)
	if err != nil {
		return nil, err
	}
	if folds {
		if err := p.distinctFolded(); err != nil {
			return nil, err
		}
	}
	for _, t := range p.Databases {
		rows, err := s.objects(ctx, t.Name, folds)
		if err != nil {
			return nil, err
		}
		if t.Whole && len(rows) > 0 {
			out = append(out, fmt.Sprintf("database %s with %s", t.Name, countObjects(rows)))
			continue
		}
		for _, r := range rows {
			if r["kind"] == "table" && slices.ContainsFunc(t.Names, func(name string) bool {
				return name == r["name"] || folds && strings.EqualFold(name, r["name"])
			}) {
				out = append(out, "table "+t.Name+"."+r["name"])
			}
		}
	}
	return out, nil
}

// Others returns tables and views of the server that a plan has not. Logs that are replayed after it act on them, too: those that an earlier
// replay has made get their rows a second time.
func (p *Plan) Others(ctx context.Context, s *Server) (out []string, err error) {
	folds, err := s.foldsNames(ctx)
	if err != nil {
		return nil, err
	}
	key := func(database, table string) tableName {
		if folds {
			database, table = strings.ToLower(database), strings.ToLower(table)
		}
		return tableName{database, table}
	}
	has := map[tableName]bool{}
	for _, t := range p.Databases {
		for _, name := range t.Names {
			has[key(t.Name, name)] = true
		}
	}
	marks, args := in(system)
	rows, err := s.query(ctx, "SELECT TABLE_SCHEMA AS db, TABLE_NAME AS name FROM information_schema.TABLES WHERE TABLE_SCHEMA NOT IN "+marks+" ORDER BY 1, 2", args...)
	for _, r := range rows {
		if !has[key(r["db"], r["name"])] {
			out = append(out, r["db"]+"."+r["name"])
		}
	}
	return out, err
}

// foldsNames reports whether names of databases and tables that differ in capital letters alone are the same for the server.
func (s *Server) foldsNames(ctx context.Context) (bool, error) {
	v, err := s.variable(ctx, "lower_case_table_names")
	return v != "0", err
}

// objects returns the tables and views, routines and events of a database.
func (s *Server) objects(ctx context.Context, database string, folds bool) ([]row, error) {
	column := "%s"
	if folds {
		column, database = "LOWER(%s)", strings.ToLower(database)
	}
	var queries []string
	for _, from := range []struct{ kind, name, table, schema string }{
		{"table", "TABLE_NAME", "TABLES", "TABLE_SCHEMA"},
		{"routine", "ROUTINE_NAME", "ROUTINES", "ROUTINE_SCHEMA"},
		{"event", "EVENT_NAME", "EVENTS", "EVENT_SCHEMA"},
	} {
		queries = append(queries, fmt.Sprintf("SELECT '%s' AS kind, %s AS name FROM information_schema.%s WHERE "+column+" = ?", from.kind, from.name, from.table, from.schema))
	}
	return s.query(ctx, strings.Join(queries, " UNION ALL ")+" ORDER BY 1, 2", database, database, database)
}

func countObjects(rows []row) string {
	n := map[string]int{}
	for _, r := range rows {
		n[r["kind"]]++
	}
	var parts []string
	for _, kind := range []struct{ key, name string }{{"table", "tables and views"}, {"routine", "routines"}, {"event", "events"}} {
		if n[kind.key] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n[kind.key], kind.name))
		}
	}
	return strings.Join(parts, ", ")
}

// Client runs the vendor's client, which executes the SQL that fn writes. It returns nil only if all of that was executed. When fn
// fails the client is ended without executing what it has not read yet.
func (s *Server) Client(ctx context.Context, fn func(io.Writer) error) error {
	t, err := findTool(ctx, s.MariaDB, "mariadb", "mysql")
	if err != nil {
		return err
	}
	first, err := s.prologue(ctx)
	if err != nil {
		return err
	}
	parent := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// In binary mode the client follows no commands of its own in what it reads, such as one that runs a program, and leaves bytes as they are.
	cmd, release, err := t.command(ctx, &s.Config, "--batch", "--binary-mode", "--loose-skip-reconnect", "--default-character-set=utf8mb4", maxPacket)
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
	_, werr := io.WriteString(stdin, first)
	if werr == nil {
		werr = fn(stdin)
	}
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
		if otherServer.MatchString(said(cmd)) {
			return fmt.Errorf("%w; it was to be the one at %s", ErrOtherServer, s.Config.Address())
		}
		return failure(cmd, err) // its own reason, of which a broken pipe is a consequence
	}
	return errors.Join(werr, err, cerr)
}

// otherServer is what the client says when the first line of its input fails.
var otherServer = regexp.MustCompile(`(?m)^ERROR 1242 .* at line 1\b`)

// prologue returns what the client executes first, on a line: it fails on every server but this one, and lets the connection be silent for
// as long as the repository needs. How a client finds its server has many sources, and what follows drops tables.
func (s *Server) prologue(ctx context.Context) (string, error) {
	const which = "HEX(CONCAT_WS('|', @@GLOBAL.hostname, @@GLOBAL.port, @@GLOBAL.socket, @@GLOBAL.datadir, @@GLOBAL.pid_file))"
	var is string
	if err := s.conn.QueryRowContext(ctx, "SELECT "+which).Scan(&is); err != nil {
		return "", fmt.Errorf("mysql: %w", err)
	}
	return fmt.Sprintf("SELECT IF(%s = '%s', 1, (SELECT 1 UNION SELECT 2)); SET SESSION wait_timeout = %d;\n", which, is, int(idleFor.Seconds())), nil
}

// Load loads a plan, and says what became of databases that were renamed.
func (p *Plan) Load(ctx context.Context, s *Server, open Opener) (renamed Renamed, err error) {
	err = s.Client(ctx, func(w io.Writer) (err error) {
		renamed, err = p.WriteTo(ctx, w, open)
		return err
	})
	return renamed, err
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
	versioned, err := p.versioned(ctx, s)
	if err != nil {
		return err
	}
	for _, t := range p.Tables {
		var n int64
		all := ""
		if versioned[tableName{t.Database, t.Table}] {
			all = " FOR SYSTEM_TIME ALL"
		}
		if err := s.conn.QueryRowContext(ctx, "SELECT COUNT(*) FROM "+quote(t.Database)+"."+quote(t.Table)+all).Scan(&n); err != nil {
			return fmt.Errorf("mysql: counting %s.%s: %w", t.Database, t.Table, err)
		}
		if n != t.Rows {
			differ = append(differ, Difference{t, fmt.Sprintf("%d rows instead of %d", n, t.Rows)})
		}
	}
	return differing(differ)
}

// versioned returns tables whose history was loaded, too.
func (p *Plan) versioned(ctx context.Context, s *Server) (map[tableName]bool, error) {
	if !p.history || len(p.Databases) == 0 {
		return nil, nil
	}
	marks, args := in(p.names())
	rows, err := s.query(ctx, "SELECT TABLE_SCHEMA AS db, TABLE_NAME AS name FROM information_schema.TABLES WHERE TABLE_TYPE = 'SYSTEM VERSIONED' AND TABLE_SCHEMA IN "+marks, args...)
	out := map[tableName]bool{}
	for _, r := range rows {
		out[tableName{r["db"], r["name"]}] = true
	}
	return out, err
}

// names are those of the databases that are loaded into.
func (p *Plan) names() []string {
	names := make([]string, len(p.Databases))
	for i, t := range p.Databases {
		names[i] = t.Name
	}
	return names
}

func differing(list []Difference) error {
	if len(list) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrDiffers, some(list))
}

// Compare dumps the databases of a plan, and compares each table's rows and structure with the digests of the backup. It returns an error
// wrapping ErrDiffers if they differ.
func (p *Plan) Compare(ctx context.Context, c Config) error {
	b := &Logical{Config: c, Databases: p.names(), NoUsers: true, NoHistory: !p.history, Tables: Lock}
	s, f, t, err := b.begin(ctx)
	if err != nil {
		return err
	}
	split := dump.NewSplitter(func(dump.Part) (io.WriteCloser, error) { return nowhere{io.Discard}, nil })
	split.Rename(p.was)
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
		case got.DDL != want.DDL:
			differ = append(differ, Difference{want, "another structure"})
		}
	}
	more, err := p.compareChecksums(ctx, c)
	if err != nil {
		return err
	}
	return differing(append(differ, more...))
}

type nowhere struct{ io.Writer }

func (nowhere) Close() error { return nil }

// MissingDefiners returns accounts that views, routines, triggers and events of the loaded databases run as, and that the server does
// not have: what they belong to fails when it is used.
func (p *Plan) MissingDefiners(ctx context.Context, s *Server) (out []string, err error) {
	if len(p.Databases) == 0 {
		return nil, nil
	}
	marks, args := in(p.names())
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
