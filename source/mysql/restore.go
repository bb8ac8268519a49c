package mysql

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/kura-backup/kura/source/mysql/dump"
)

// Selection says what of a logical backup is loaded.
type Selection struct {
	// Only are databases, or tables, views and sequences of them; empty is all.
	Only []Wanted
	// Rename are new names of databases.
	Rename map[string]string
}

// Wanted is a database, or with a name one thing in it.
type Wanted struct{ Database, Name string }

func (w Wanted) String() string {
	if w.Name == "" {
		return w.Database
	}
	return w.Database + "." + w.Name
}

// ParseWanted reads database or database.name. A name may be quoted as SQL does, if it has a dot.
func ParseWanted(text string) (Wanted, error) {
	var w Wanted
	rest := text
	for _, to := range []*string{&w.Database, &w.Name} {
		if strings.HasPrefix(rest, "`") {
			end := 1
			for end < len(rest) && (rest[end] != '`' || end+1 < len(rest) && rest[end+1] == '`') {
				if rest[end] == '`' {
					end++
				}
				end++
			}
			if end >= len(rest) {
				return w, fmt.Errorf("%w: %s: a quote is not closed", ErrNoDatabase, text)
			}
			*to, rest = strings.ReplaceAll(rest[1:end], "``", "`"), rest[end+1:]
		} else {
			end := strings.IndexByte(rest+".", '.')
			*to, rest = rest[:end], rest[end:]
		}
		if rest == "" {
			break
		}
		if rest[0] != '.' || len(rest) == 1 {
			return w, fmt.Errorf("%w: %s", ErrNoDatabase, text)
		}
		rest = rest[1:]
	}
	if w.Database == "" || rest != "" {
		return w, fmt.Errorf("%w: %q", ErrNoDatabase, text)
	}
	return w, nil
}

// Plan is what is to be loaded, in order.
type Plan struct {
	Steps []Step
	// Tables are those that get rows, under the names that they get.
	Tables []dump.Summary
	// Databases are those that are loaded into, and whether as a whole.
	Databases []Target
	Bytes     int64

	history bool              // rows of tables that keep their history are all that they ever were
	version string            // of the server that was backed up
	was     map[string]string // by new names of databases those that they were backed up with
}

// Step is a part of the dump that is loaded.
type Step struct {
	dump.Piece
	Rename string // the database's new name, or empty
}

// Target is a database that is loaded into.
type Target struct {
	Name  string
	Whole bool     // otherwise only Names
	Names []string // of tables and views
}

// Plan chooses what is to be loaded.
func (m *Manifest) Plan(sel Selection) (*Plan, error) {
	p := &Plan{history: m.History, version: m.Version, was: map[string]string{}}
	found := map[Wanted]bool{}
	for _, piece := range m.Parts {
		if piece.Kind == dump.Coordinates || !sel.takes(piece.Part, found) {
			continue
		}
		p.Steps = append(p.Steps, Step{Piece: piece, Rename: sel.Rename[piece.Database]})
		p.Bytes += piece.Bytes
		p.aim(&sel, piece.Part)
		if piece.Kind == dump.Table {
			t := m.table(piece.Database, piece.Name)
			if t == nil {
				return nil, fmt.Errorf("%w: it has a part but no count of %v", ErrManifest, piece.Part)
			}
			loaded := *t
			loaded.Database = sel.renamed(t.Database)
			p.Tables = append(p.Tables, loaded)
		}
	}
	for _, w := range sel.Only {
		if !found[w] {
			return nil, fmt.Errorf("%w in the backup: %v; it has: %s", ErrNoDatabase, w, strings.Join(m.databases(), ", "))
		}
	}
	for from, to := range sel.Rename {
		if !slices.ContainsFunc(p.Steps, func(s Step) bool { return s.Database == from }) {
			return nil, fmt.Errorf("%w to rename: %s", ErrNoDatabase, from)
		}
		p.was[to] = from
	}
	return p, p.distinct()
}

// databases are those that the backup has.
func (m *Manifest) databases() (names []string) {
	for _, p := range m.Parts {
		if p.Kind == dump.Database {
			names = append(names, p.Database)
		}
	}
	return names
}

// takes reports whether a part is loaded, and notes what of the wanted it is.
func (sel *Selection) takes(p dump.Part, found map[Wanted]bool) bool {
	if len(sel.Only) == 0 || p.Kind == dump.Header || p.Kind == dump.Footer {
		return true
	}
	takes := false
	for _, w := range sel.Only {
		if w.Database != p.Database {
			continue
		}
		switch {
		case w.Name == "" || p.Kind != dump.ViewStub && p.Name == w.Name:
			found[w], takes = true, true
		case p.Kind == dump.Database || p.Kind == dump.Use: // for USE
			takes = true
		}
	}
	return takes
}

func (sel *Selection) renamed(database string) string {
	if to := sel.Rename[database]; to != "" {
		return to
	}
	return database
}

// aim notes what a part is loaded into.
func (p *Plan) aim(sel *Selection, part dump.Part) {
	if part.Database == "" {
		return
	}
	name := sel.renamed(part.Database)
	i := len(p.Databases) - 1 // which it mostly is: there may be many of both
	for i >= 0 && p.Databases[i].Name != name {
		i--
	}
	if i < 0 {
		i = len(p.Databases)
		whole := len(sel.Only) == 0 || slices.Contains(sel.Only, Wanted{Database: part.Database})
		p.Databases = append(p.Databases, Target{Name: name, Whole: whole})
	}
	if part.Name != "" && part.Kind != dump.ViewStub {
		p.Databases[i].Names = append(p.Databases[i].Names, part.Name)
	}
}

// distinct refuses two databases that would become one, and the server's own.
func (p *Plan) distinct() error {
	seen := map[string]string{}
	for _, s := range p.Steps {
		if s.Database == "" {
			continue
		}
		to := s.Database
		if s.Rename != "" {
			to = s.Rename
		}
		if from, ok := seen[to]; ok && from != s.Database {
			return fmt.Errorf("%w: %s and %s would both become %s", ErrExists, from, s.Database, to)
		}
		if slices.Contains(system, strings.ToLower(to)) {
			return fmt.Errorf("%w: %s is the server's own", ErrExists, to)
		}
		seen[to] = s.Database
	}
	return nil
}

// distinctFolded refuses databases and tables that would become one on a server that does not tell capital letters from small ones.
func (p *Plan) distinctFolded() error {
	seen := map[tableName]string{}
	check := func(key tableName, name string) error {
		key = tableName{strings.ToLower(key.database), strings.ToLower(key.table)}
		if other, ok := seen[key]; ok {
			return fmt.Errorf("%w: for this server %s and %s are the same (lower_case_table_names)", ErrExists, other, name)
		}
		seen[key] = name
		return nil
	}
	for _, t := range p.Databases {
		if err := check(tableName{database: t.Name}, t.Name); err != nil {
			return err
		}
		for _, name := range t.Names {
			if err := check(tableName{t.Name, name}, t.Name+"."+name); err != nil {
				return err
			}
		}
	}
	return nil
}

// Renamed says what became of databases that were renamed, beyond their names.
type Renamed struct {
	Mention  []dump.Part // views, triggers, routines and events that go on naming the old one
	Disabled []dump.Part // events that were switched off: the old database has them, too
}

// Opener opens a file of the backup, by its path below the backup's folder.
type Opener func(path string) (io.ReadCloser, error)

// WriteTo writes the SQL of the plan, and says what became of databases that were renamed.
func (p *Plan) WriteTo(ctx context.Context, out io.Writer, open Opener) (renamed Renamed, err error) {
	for _, s := range p.Steps {
		if err := ctx.Err(); err != nil {
			return renamed, context.Cause(ctx)
		}
		if err := s.writeTo(out, open, &renamed); err != nil {
			return renamed, fmt.Errorf("%v: %w", s.Part, err)
		}
	}
	return renamed, nil
}

func (s *Step) writeTo(out io.Writer, open Opener, renamed *Renamed) (err error) {
	r, err := open(s.Path())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if s.Kind == dump.Header {
		return dump.Copy(out, r)
	}
	if s.Rename == "" {
		n, err := io.CopyBuffer(struct{ io.Writer }{out}, struct{ io.Reader }{r}, make([]byte, readSize))
		if err == nil && n != s.Bytes {
			err = fmt.Errorf("%w: it has %d bytes, and the dump had %d", ErrManifest, n, s.Bytes)
		}
		return err
	}
	renamer := dump.NewRenamer(out, s.Database, s.Rename)
	if _, err := io.CopyBuffer(struct{ io.Writer }{renamer}, struct{ io.Reader }{r}, make([]byte, readSize)); err != nil {
		return err
	}
	if renamer.Mentions() {
		renamed.Mention = append(renamed.Mention, s.Part)
	}
	if renamer.Disabled() {
		renamed.Disabled = append(renamed.Disabled, s.Part)
	}
	return renamer.Flush()
}

// WriteExact writes the dump as the dump program has printed it.
func (m *Manifest) WriteExact(ctx context.Context, out io.Writer, coordinates []string, open Opener) error {
	for _, p := range m.Parts {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if p.Kind == dump.Coordinates {
			if len(coordinates) == 0 {
				return fmt.Errorf("%w: the snapshot's details have no coordinates", ErrManifest)
			}
			if _, err := io.WriteString(out, coordinates[0]); err != nil {
				return err
			}
			coordinates = coordinates[1:]
			continue
		}
		r, err := open(p.Path())
		if err != nil {
			return err
		}
		_, err = io.Copy(out, r)
		if err := errors.Join(err, r.Close()); err != nil {
			return fmt.Errorf("%v: %w", p.Part, err)
		}
	}
	return nil
}
