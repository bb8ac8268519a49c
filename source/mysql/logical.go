package mysql

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/kura-backup/kura/source"
	"github.com/kura-backup/kura/source/mysql/dump"
)

const (
	readSize = 1 << 20
	// maxPacket is the largest row that the protocol can carry; programs are content with 16 or 24 MiB otherwise.
	maxPacket = "--max-allowed-packet=1073741824"
)

// NonTransactional says what becomes of tables whose engine has no transactions.
type NonTransactional string

// What becomes of them.
const (
	Refuse NonTransactional = "refuse" // no backup
	Lock   NonTransactional = "lock"   // they can not be written while the dump runs
)

// Logical is a backup by the vendor's dump program. It is a source.Source.
type Logical struct {
	Config    Config
	Databases []string // empty: all but the server's own
	NoUsers   bool     // leaves out accounts and what they may do
	NoHistory bool     // leaves out the history of tables that keep it, which not all servers and programs can dump
	Checksums bool     // CHECKSUM TABLE, too, for which nothing is committed for a moment
	Tables    NonTransactional
	Limits    Limits // of the lock
	// Warn is told what does not make the backup fail, such as what the dump program says. It may be nil.
	Warn func(string)
	// Looked is told what there is before the dump begins. It may be nil.
	Looked func(*Facts)

	details Details
	reads   func() // is called when the dump prints what it reads; may be nil
}

var _ source.Source = (*Logical)(nil)

// Kind is of source.Source.
func (b *Logical) Kind() string { return "mysql" }

// Paths is of source.Source. A backup of some databases is of other paths than one of all, so that neither takes the place of the other when
// old snapshots go.
func (b *Logical) Paths() []string {
	root := rootOf(&b.Config)
	if len(b.Databases) == 0 {
		return []string{root}
	}
	var paths []string
	for _, db := range b.Databases {
		paths = append(paths, root+"/"+dump.Folder(db))
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

// rootOf is the folder of a server in snapshots.
func rootOf(c *Config) string { return "/mysql/" + strings.ReplaceAll(c.Name(), "/", "_") }

// Details returns what Write has told the snapshot.
func (b *Logical) Details() *Details { return &b.details }

// Check connects to the server and says whether a backup could be made: it returns an error wrapping ErrPrivileges,
// ErrNonTransactional or ErrProgram with what to do, if not.
func (b *Logical) Check(ctx context.Context) (*Facts, error) {
	s, f, _, err := b.begin(ctx)
	if err != nil {
		return nil, err
	}
	return f, s.Close()
}

func (b *Logical) begin(ctx context.Context) (_ *Server, f *Facts, t *tool, err error) {
	s, err := Open(ctx, b.Config)
	if err != nil {
		return nil, nil, nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if f, err = s.facts(ctx, b.Databases); err != nil {
		return nil, nil, nil, err
	}
	if b.Checksums && !(s.MariaDB && s.since(10, 4, 1)) {
		return nil, nil, nil, fmt.Errorf("%w: CHECKSUM TABLE at the moment of the dump is for MariaDB 10.4 and later", ErrProgram)
	}
	if n := len(f.NonTransactional); n > 0 && b.Tables != Lock {
		return nil, nil, nil, fmt.Errorf("%w: %d of %d can change while they are dumped: %s", ErrNonTransactional, n, f.Tables, some(f.NonTransactional))
	}
	if err := s.columns(ctx, f); err != nil {
		return nil, nil, nil, err
	}
	g, err := s.grants(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	needs := append(s.needs(f, !b.NoUsers), b.checksumNeeds()...)
	if err := g.missing(f.Databases, needs); err != nil {
		return nil, nil, nil, err
	}
	if err := g.unseen(f, needs); err != nil {
		return nil, nil, nil, err
	}
	if t, err = findTool(ctx, s.MariaDB, "mariadb-dump", "mysqldump"); err != nil {
		return nil, nil, nil, err
	}
	if err := b.historyFits(f, t); err != nil {
		return nil, nil, nil, err
	}
	return s, f, t, nil
}

// historyFits refuses tables that would come without their history though it was not to be left out.
func (b *Logical) historyFits(f *Facts, t *tool) error {
	switch {
	case b.NoHistory || len(f.Versioned) == 0:
		return nil
	case len(f.Precise) > 0:
		return fmt.Errorf("%w: it is kept by transactions: %s", ErrHistory, some(f.Precise))
	case !t.since(10, 11, 0):
		return fmt.Errorf("%w: only mariadb-dump 10.11 and later can, not %s: %s", ErrHistory, t, some(f.Versioned))
	}
	return nil
}

// Write is of source.Source.
func (b *Logical) Write(ctx context.Context, out source.Writer) (err error) {
	s, facts, program, err := b.begin(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if b.Looked != nil {
		b.Looked(facts)
	}
	before, err := s.replicas(ctx)
	if err != nil {
		return err
	}
	m := &Manifest{
		Format: manifestFormat, Vendor: s.Vendor(), Version: s.Version, Program: program.name(), Users: !b.NoUsers,
		History: len(facts.Versioned) > 0 && !b.NoHistory,
	}
	b.details = Details{
		Format: detailsFormat, Kind: "logical", Root: rootOf(&b.Config), Vendor: s.Vendor(), Version: s.Version, Program: program.String(), Databases: len(facts.Databases),
		Baseline: fromDump + "; no CHECKSUM TABLE", Versioned: len(facts.Versioned), History: m.History, Floats: len(facts.Floats),
	}
	run := func(ctx context.Context) error { return b.dump(ctx, s, facts, program, out, m) }
	if b.Checksums {
		dump := run
		run = func(ctx context.Context) error { return b.withChecksums(ctx, facts, m, dump) }
	}
	if len(facts.NonTransactional) > 0 {
		held, lerr := holdTables(ctx, &b.Config, facts.NonTransactional, b.Limits, run)
		b.details.LockMS, b.details.Locked, err = held.Milliseconds(), len(facts.NonTransactional), lerr
	} else {
		err = run(ctx)
	}
	if err == nil {
		err = b.madeMeanwhile(ctx, s, facts, m)
	}
	if err != nil {
		return err
	}
	after, err := s.replicas(ctx)
	if err != nil {
		return err
	}
	b.details.Replicas = unmoved(before, after)
	if !b.NoUsers {
		if err := b.users(ctx, s, program, out); err != nil {
			return err
		}
	}
	if err := b.writeManifest(out, m); err != nil {
		return err
	}
	return out.Describe(map[string]any{detailsKey: b.details})
}

// madeMeanwhile refuses tables without transactions that are in the dump and that nobody knew of before it, nor has locked.
func (b *Logical) madeMeanwhile(ctx context.Context, s *Server, before *Facts, m *Manifest) error {
	marks, args := in(before.Databases)
	rows, err := s.query(ctx, `SELECT t.TABLE_SCHEMA AS db, t.TABLE_NAME AS name, t.ENGINE AS engine
		FROM information_schema.TABLES t JOIN information_schema.ENGINES e ON e.ENGINE = t.ENGINE
		WHERE COALESCE(e.TRANSACTIONS, 'NO') <> 'YES' AND t.ENGINE <> 'BLACKHOLE' AND t.TABLE_SCHEMA IN `+marks+` ORDER BY 1, 2`, args...)
	if err != nil {
		return err
	}
	var made []Name
	for _, r := range rows {
		n := Name{r["db"], r["name"], r["engine"]}
		if m.table(n.Database, n.Table) != nil && !slices.Contains(before.NonTransactional, n) {
			made = append(made, n)
		}
	}
	if len(made) > 0 {
		return fmt.Errorf("%w: made while the dump ran: %s", ErrNonTransactional, some(made))
	}
	return nil
}

// arguments are those of the dump program.
func (b *Logical) arguments(s *Server, f *Facts, t *tool) []string {
	args := []string{
		"--single-transaction", "--quick", "--routines", "--events", "--triggers", "--hex-blob", "--skip-dump-date", "--tz-utc",
		"--default-character-set=utf8mb4", maxPacket,
	}
	switch {
	case s.MariaDB:
		args = append(args, "--max-statement-time=0")
		if f.Binlog {
			args = append(args, "--master-data=2", "--gtid")
		}
		if len(f.Versioned) > 0 && !b.NoHistory {
			args = append(args, "--dump-history")
		}
	default:
		newer := t.since(8, 0, 26)
		gtids := "--set-gtid-purged=OFF"
		if newer && f.Binlog {
			gtids = "--set-gtid-purged=COMMENTED"
		}
		args = append(args, "--no-tablespaces", gtids)
		if t.since(8, 0, 0) {
			args = append(args, "--column-statistics=0")
		}
		if f.Binlog && newer {
			args = append(args, "--source-data=2")
		} else if f.Binlog {
			args = append(args, "--master-data=2")
		}
	}
	return append(append(args, "--databases", "--"), f.Databases...)
}

// dump runs the dump program and takes what it prints apart.
func (b *Logical) dump(ctx context.Context, s *Server, f *Facts, t *tool, out source.Writer, m *Manifest) error {
	split := dump.NewSplitter(func(p dump.Part) (io.WriteCloser, error) {
		if b.reads != nil && p.Kind != dump.Header {
			b.reads() // the program has its view
		}
		return out.Create(b.details.Root+"/"+p.Path(), source.FileNode(0o600))
	})
	if err := b.pipe(ctx, t, split, b.arguments(s, f, t)); err != nil {
		_ = split.Close() // the reason is known
		return err
	}
	if err := split.Close(); err != nil {
		return err
	}
	m.Parts, m.Tables = split.Pieces(), split.Tables()
	for i := range m.Parts {
		if b.details.Bytes += m.Parts[i].Bytes; m.Parts[i].Kind == dump.Coordinates {
			m.Parts[i].Bytes = 0
		}
	}
	for _, t := range m.Tables {
		b.details.Rows += t.Rows
	}
	b.details.Tables, b.details.CoordinatesSQL, b.details.At = len(m.Tables), split.Coordinates(), parseCoordinates(split.Coordinates())
	return nil
}

// pipe runs the dump program, whose output goes to w. It returns nil only if the program says that all went well.
func (b *Logical) pipe(ctx context.Context, t *tool, w io.Writer, args []string) error {
	cmd, err := t.pipe(ctx, &b.Config, args, func(out io.Reader) error {
		_, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{out}, make([]byte, readSize))
		return err
	})
	if err != nil {
		return err
	}
	if text := said(cmd); text != "" && b.Warn != nil {
		b.Warn("the dump program says: " + text)
	}
	return nil
}

// writeManifest writes +dump.json.
func (b *Logical) writeManifest(out source.Writer, m *Manifest) error {
	text, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return err
	}
	return writeFile(out, b.details.Root+"/"+manifestName, append(text, '\n'))
}

func writeFile(out source.Writer, path string, text []byte) error {
	f, err := out.Create(path, source.FileNode(0o600))
	if err != nil {
		return err
	}
	if _, err := f.ReadFrom(bytes.NewReader(text)); err != nil {
		return err
	}
	return f.Close()
}

// since reports whether the program is at least of this version.
func (t *tool) since(major, minor, patch int) bool {
	var v [3]int
	_, _ = fmt.Sscanf(t.version, "%d.%d.%d", &v[0], &v[1], &v[2]) // what it does not say is 0
	return slices.Compare(v[:], []int{major, minor, patch}) >= 0
}

// holdTables runs fn while tables can be read but not written.
func holdTables(ctx context.Context, c *Config, tables []Name, limits Limits, fn func(context.Context) error) (time.Duration, error) {
	locks := make([]string, len(tables))
	for i, n := range tables {
		locks[i] = quote(n.Database) + "." + quote(n.Table) + " READ"
	}
	h := holder{
		config: c, limits: limits,
		lock: func(ctx context.Context, s *Server) error {
			return s.exec(ctx, "LOCK TABLES "+strings.Join(locks, ", "))
		},
		unlock: func(ctx context.Context, s *Server) error { return s.exec(ctx, "UNLOCK TABLES") },
	}
	return h.run(ctx, func(ctx context.Context, _ *Server) error { return fn(ctx) })
}
