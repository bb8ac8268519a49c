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
	Tables    NonTransactional
	Limits    Limits // of the lock
	// Warn is told what the dump program says though it does not fail. It may be nil.
	Warn func(string)
	// Looked is told what there is before the dump begins. It may be nil.
	Looked func(*Facts)

	details Details
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
	if n := len(f.NonTransactional); n > 0 && b.Tables != Lock {
		return nil, nil, nil, fmt.Errorf("%w: %d of %d can change while they are dumped: %s", ErrNonTransactional, n, f.Tables, some(f.NonTransactional))
	}
	g, err := s.grants(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	if err := g.missing(f.Databases, s.needs(f, !b.NoUsers)); err != nil {
		return nil, nil, nil, err
	}
	t, err = findTool(ctx, s.MariaDB, "mariadb-dump", "mysqldump")
	return s, f, t, err
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
	m := &Manifest{Format: manifestFormat, Vendor: s.Vendor(), Version: s.Version, Program: program.name(), Users: !b.NoUsers}
	b.details = Details{
		Kind: "logical", Root: rootOf(&b.Config), Vendor: s.Vendor(), Version: s.Version, Program: program.String(), Databases: len(facts.Databases),
		Baseline: "rows and digests are of the dump itself; no CHECKSUM TABLE",
	}
	run := func(ctx context.Context) error { return b.dump(ctx, s, facts, program, out, m) }
	if len(facts.NonTransactional) > 0 {
		held, lerr := holdTables(ctx, &b.Config, facts.NonTransactional, b.Limits, run)
		b.details.LockMS, b.details.Locked, err = held.Milliseconds(), len(facts.NonTransactional), lerr
	} else {
		err = run(ctx)
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
	return out.Describe(map[string]any{"mysql": b.details})
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
		b.Warn(text)
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
