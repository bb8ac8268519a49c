package mysql

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/kura-backup/kura/source/mysql/dump"
)

const (
	manifestFormat = 1
	maxManifest    = 512 << 20
	manifestName   = "+dump.json"
	usersName      = "+users.sql"
)

// Manifest is the file +dump.json of a logical backup.
type Manifest struct {
	Format  int    `json:"format"` // 1
	Vendor  string `json:"vendor"`
	Version string `json:"version"` // of the server
	Program string `json:"program"` // that made the dump
	Users   bool   `json:"users"`   // there is a +users.sql
	// Parts are the parts of the dump, in their order. What Path returns is where they are. The coordinates, whose length may differ from
	// dump to dump, are in the snapshot's details.
	Parts []dump.Piece `json:"parts"`
	// Tables are what each table had, as counted from the dump itself.
	Tables []dump.Summary `json:"tables"`
}

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
	for i := range m.Tables {
		if t := &m.Tables[i]; t.Database == database && t.Table == name {
			return t
		}
	}
	return nil
}

// Details are what the snapshot's manifest says of a backup, under the key mysql.
type Details struct {
	Kind    string `json:"kind"` // logical or physical
	Root    string `json:"root"` // folder in the snapshot
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
	// Baseline says what the numbers of rows and digests in the manifest were computed from.
	Baseline string `json:"baseline,omitempty"`
}

// ReadDetails reads the details of a snapshot. It returns nil if they are not of a backup of this package.
func ReadDetails(text []byte) *Details {
	var d struct {
		MySQL *Details `json:"mysql"`
	}
	if json.Unmarshal(text, &d) != nil || d.MySQL == nil || d.MySQL.Root == "" {
		return nil
	}
	return d.MySQL
}
