package dump

import (
	"fmt"
	"strings"
)

// Kind says what a part of a dump is about.
type Kind string

// The kinds of parts.
const (
	Header      Kind = "header"      // settings of the session
	Coordinates Kind = "coordinates" // where the server's log was: it differs from dump to dump
	Database    Kind = "database"    // CREATE DATABASE and USE
	Use         Kind = "use"         // a database that is used once more, for its views
	Table       Kind = "table"       // structure, rows and triggers
	Sequence    Kind = "sequence"
	ViewStub    Kind = "view-stub" // stands in for a view until what it needs is there
	View        Kind = "view"
	Events      Kind = "events"
	Routines    Kind = "routines"
	Footer      Kind = "footer" // settings put back, and the line that says that the dump is complete
)

// Part is a part of a dump.
type Part struct {
	Kind     Kind   `json:"kind"`
	Database string `json:"database,omitempty"`
	Name     string `json:"name,omitempty"`
}

// Path returns where the part belongs, below the folder of the dump. No two parts of a dump have the same one. In names
// of databases and tables, bytes that mean something in paths or patterns, dots and plus signs are written as %2E.
func (p Part) Path() string {
	switch p.Kind {
	case Header, Footer, Coordinates:
		return "+" + string(p.Kind) + ".sql"
	case Table:
		return escape(p.Database) + "/" + escape(p.Name) + ".sql"
	case Sequence, ViewStub, View:
		return escape(p.Database) + "/" + escape(p.Name) + "." + string(p.Kind) + ".sql"
	}
	return escape(p.Database) + "/+" + string(p.Kind) + ".sql"
}

// Folder returns the folder of a database's parts.
func Folder(database string) string { return escape(database) }

func (p Part) String() string {
	switch {
	case p.Name != "":
		return fmt.Sprintf("%s %s.%s", p.Kind, p.Database, p.Name)
	case p.Database != "":
		return fmt.Sprintf("%s of %s", p.Kind, p.Database)
	}
	return string(p.Kind)
}

// escape makes a name that is safe as the name of a file everywhere, and does not collide with kura's own.
func escape(name string) string {
	var b strings.Builder
	for i := range len(name) {
		switch c := name[i]; {
		case c < ' ', c == 0x7f, strings.IndexByte(`%/\.+*?[]{}:"<>|`, c) >= 0:
			fmt.Fprintf(&b, "%%%02X", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// quote writes a name as SQL does.
func quote(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// unquote reads the quoted name that s begins with.
func unquote(s []byte) (name string, rest []byte, ok bool) {
	if len(s) == 0 || s[0] != '`' {
		return "", s, false
	}
	var b []byte
	for i := 1; i < len(s); i++ {
		if s[i] != '`' {
			b = append(b, s[i])
			continue
		}
		if i+1 < len(s) && s[i+1] == '`' {
			b = append(b, '`')
			i++
			continue
		}
		return string(b), s[i+1:], len(b) > 0
	}
	return "", s, false
}
