package mysql

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/kura-backup/kura/source"
	"github.com/kura-backup/kura/source/mysql/dump"
)

const (
	manifestFormat = 1
	maxManifest    = 512 << 20
	manifestName   = "+dump.json"
	usersName      = "+users.sql"
)

// Manifest is the file +dump.json of a logical backup. It is not safe for concurrent use.
type Manifest struct {
	Format  int    `json:"format"` // 1
	Vendor  string `json:"vendor"`
	Version string `json:"version"` // of the server
	Program string `json:"program"` // that made the dump
	Users   bool   `json:"users"`   // there is a +users.sql
	// History says that rows of tables that keep their history are all that they ever were.
	History bool `json:"history,omitempty"`
	// Parts are the parts of the dump, in their order. What Path returns is where they are. The coordinates, whose length may differ from
	// dump to dump, are in the snapshot's details.
	Parts []dump.Piece `json:"parts"`
	// Tables are what each table had, as counted from the dump itself.
	Tables []dump.Summary `json:"tables"`

	byName map[tableName]*dump.Summary
}

type tableName struct{ database, table string }

// ReadManifest reads the file +dump.json.
func ReadManifest(r io.Reader) (*Manifest, error) {
	m := new(Manifest)
	if err := json.NewDecoder(io.LimitReader(r, maxManifest)).Decode(m); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	switch {
	case m.Format != manifestFormat:
		return nil, fmt.Errorf("%w: its format is %d, which this version of kura does not know", ErrManifest, m.Format)
	case len(m.Parts) < 2 || m.Parts[0].Kind != dump.Header || m.Parts[len(m.Parts)-1].Kind != dump.Footer:
		return nil, fmt.Errorf("%w: the dump has no begin or no end", ErrManifest)
	}
	return m, nil
}

// table returns what a table had.
func (m *Manifest) table(database, name string) *dump.Summary {
	if m.byName == nil {
		m.byName = make(map[tableName]*dump.Summary, len(m.Tables))
		for i, t := range m.Tables {
			m.byName[tableName{t.Database, t.Table}] = &m.Tables[i]
		}
	}
	return m.byName[tableName{database, name}]
}

// Keys of what snapshots' manifests say, and the only format of it that there is.
const (
	detailsKey    = "mysql"
	archiveKey    = "mysql_binlog"
	detailsFormat = 1
)

// Details are what the snapshot's manifest says of a backup, under the key mysql.
type Details struct {
	Format  int    `json:"format"` // 1
	Kind    string `json:"kind"`   // logical or physical
	Root    string `json:"root"`   // folder in the snapshot
	Vendor  string `json:"vendor"`
	Version string `json:"version"`
	Program string `json:"program"`
	// At is the place in the server's log at which all of it was so.
	At       Coordinates `json:"at"`
	Replicas []Replica   `json:"replicas,omitempty"`
	// CoordinatesSQL are the parts of the dump that the files do not have.
	CoordinatesSQL []string `json:"coordinates_sql,omitempty"`
	Databases      int      `json:"databases,omitempty"`
	Tables         int      `json:"tables,omitempty"`
	Rows           int64    `json:"rows,omitempty"`
	Bytes          int64    `json:"bytes"`
	// LockMS is for how long tables were locked, and Locked how many.
	LockMS int64 `json:"lock_ms"`
	Locked int   `json:"locked,omitempty"`
	// ViewLockMS is for how long nothing was committed, for the views of the dump and of CHECKSUM TABLE.
	ViewLockMS int64 `json:"view_lock_ms,omitempty"`
	// Versioned is how many tables keep their history, which History says was dumped; Floats how many have columns of the type FLOAT, whose
	// values a dump has with six digits.
	Versioned int  `json:"versioned,omitempty"`
	History   bool `json:"history,omitempty"`
	Floats    int  `json:"float_tables,omitempty"`
	// Baseline says what the numbers of rows and digests in the manifest were computed from.
	Baseline string `json:"baseline,omitempty"`
}

// ReadDetails reads the details of a snapshot. It returns nil if they are not of a backup of this package, and source.ErrNewer if this version
// does not know how to read them.
func ReadDetails(text []byte) (*Details, error) {
	d := new(Details)
	if ok, err := source.ReadDetails(text, detailsKey, detailsFormat, d); err != nil || !ok || d.Root == "" {
		return nil, err
	}
	return d, nil
}
