package redis

import (
	"strings"
	"time"

	"github.com/kura-backup/kura/source"
	"github.com/kura-backup/kura/source/redis/rdb"
)

// detailsFormat is the only format of Details that there is.
const detailsFormat = 1

// Details is what the manifest of a snapshot says about it, under the key redis. Restoring reads it.
type Details struct {
	Format int `json:"format"`

	Name string `json:"name"` // of the folder below /redis
	Via  Via    `json:"via"`

	Server string `json:"server,omitempty"` // "redis 7.0.15"
	Role   string `json:"role,omitempty"`   // master or slave
	// The state is that of the replication's id at this offset. It is exact if the file or the server says so; otherwise the offset
	// was read just before the save, which may have a little more.
	ReplicationID     string `json:"replication_id,omitempty"`
	ReplicationOffset int64  `json:"replication_offset,omitempty"`
	OffsetExact       bool   `json:"offset_exact,omitempty"`
	MasterLink        string `json:"master_link,omitempty"` // of a replica that has none to its master: what it says of it
	Cluster           bool   `json:"cluster,omitempty"`     // the server holds some of a cluster's slots
	AppendOnly        bool   `json:"append_only,omitempty"` // and starts from its append-only files

	File    string     `json:"file,omitempty"`     // that was read
	SavedAt *time.Time `json:"saved_at,omitempty"` // when the file was begun
	RDB     *RDBFile   `json:"rdb,omitempty"`
	AOF     *AOFFolder `json:"aof,omitempty"`
}

// RDBFile is an RDB file in a snapshot.
type RDBFile struct {
	Form   Form      `json:"form"`
	Reason string    `json:"reason,omitempty"` // why it is as it was
	Size   int64     `json:"size"`             // of the original
	Keys   uint64    `json:"keys"`
	Info   *rdb.Info `json:"info,omitempty"` // nil if the file is not known
}

// Form says how an RDB file is stored.
type Form string

// Forms of RDB files.
const (
	Sorted   Form = "sorted"   // the canonical form
	Exact    Form = "exact"    // the same, with what is needed to make the original
	Original Form = "original" // as it was
)

// AOFFolder is an append-only folder in a snapshot.
type AOFFolder struct {
	Manifest string    `json:"manifest"` // its name
	Files    []AOFFile `json:"files"`    // in the order in which they are loaded
}

// AOFFile is a file of an append-only folder.
type AOFFile struct {
	Name     string     `json:"name"`
	Type     string     `json:"type"`              // b: base, i: commands since then
	Size     int64      `json:"size"`              // up to where it was read
	Commands uint64     `json:"commands"`          // of a file of commands
	Dropped  int64      `json:"dropped,omitempty"` // bytes of a command at the end that was being written
	Until    *time.Time `json:"until,omitempty"`   // the last time that the file says
	RDB      *RDBFile   `json:"rdb,omitempty"`     // of a base
	// Preamble is how many bytes of RDB are in front of the commands: the base of a server that was upgraded from before Redis 7.
	Preamble int64 `json:"preamble,omitempty"`
}

// ReadDetails reads what the manifest of a snapshot says. It returns ErrNotSaved if that is nothing of a server's, and source.ErrNewer if this
// version does not know how to read it.
func ReadDetails(text []byte) (*Details, error) {
	d := new(Details)
	ok, err := source.ReadDetails(text, Kind, detailsFormat, d)
	if err != nil {
		return nil, err
	}
	if !ok || source.CheckPath(root+"/"+d.Name) != nil || strings.Contains(d.Name, "/") || d.RDB == nil && d.AOF == nil {
		return nil, ErrNotSaved
	}
	if d.AOF == nil {
		return d, nil
	}
	for _, f := range d.AOF.Files {
		if !isName(f.Name) || f.Type != aofBase && f.Type != aofIncr || f.Preamble < 0 || f.Preamble > 0 && f.RDB == nil {
			return nil, ErrNotSaved
		}
	}
	if !isName(d.AOF.Manifest) {
		return nil, ErrNotSaved
	}
	return d, nil
}

// isName reports whether a text is the name of a file in a folder.
func isName(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsAny(name, "/\x00")
}

// Folder is where the files are in the snapshot.
func (d *Details) Folder() string { return root + "/" + d.Name }
