package mysql

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/kura-backup/kura/source"
	"github.com/kura-backup/kura/source/mysql/binlog"
)

// binlogFolder is where an archive is, under the server's folder. No folder of a database begins so.
const binlogFolder = "+binlog"

// ErrReach is a moment that an archive does not have.
var ErrReach = errors.New("mysql: the archive of the logs does not reach there")

// ArchiveDetails are what the snapshot's manifest says of an archive, under the key mysql_binlog.
type ArchiveDetails struct {
	Format  int    `json:"format"` // 1
	Root    string `json:"root"`
	Version string `json:"version"`
	// Began is when the archive was begun that this one continues. Archives of which it is the same have the same logs.
	Began time.Time `json:"began"`
	// Prefix is what names of logs begin with, Digits how many digits follow, and First the first number.
	Prefix string `json:"prefix"`
	Digits int    `json:"digits"`
	First  int    `json:"first"`
	Logs   []Log  `json:"logs"`
	// At is the end of the last one, and AtTime the time of the event that ends there.
	At     Coordinates `json:"at"`
	AtTime time.Time   `json:"at_time"`
	// AsOf is when the server was asked which logs it has: what was committed before is here. Ends is when they were read: what is of a
	// later time has a wrong one, since clients may set it. All of it is by the server's clock.
	AsOf time.Time `json:"as_of"`
	Ends time.Time `json:"ends"`
	// Last is the latest time of an event that is not wrong in this way.
	Last time.Time `json:"last"`
}

// Log is, of a log: its bytes, the latest time of an event up to its end, also in logs before, and the earliest time of a transaction
// in it, or 0 if it has none. Times are in seconds since 1970.
type Log [3]int64

func (l Log) size() int64         { return l[0] }
func (l Log) latest() time.Time   { return time.Unix(l[1], 0) }
func (l Log) earliest() time.Time { return time.Unix(l[2], 0) }

// transactions reports whether there are any.
func (l Log) transactions() bool { return l[2] != 0 }

// ReadArchiveDetails reads the details of a snapshot. It returns nil if they are not of an archive, and source.ErrNewer if this version
// does not know how to read them.
func ReadArchiveDetails(text []byte) (*ArchiveDetails, error) {
	d := new(ArchiveDetails)
	ok, err := source.ReadDetails(text, archiveKey, detailsFormat, d)
	if err != nil || !ok || d.Root == "" || d.Digits < 1 || d.Digits > 20 || len(d.Logs) == 0 {
		return nil, err
	}
	return d, nil
}

func (d *ArchiveDetails) name(i int) string {
	return fmt.Sprintf("%s%0*d", d.Prefix, d.Digits, d.First+i)
}

// index returns which of the logs has this name, or -1.
func (d *ArchiveDetails) index(name string) int {
	for i := range d.Logs {
		if d.name(i) == name {
			return i
		}
	}
	return -1
}

// Reaches says by an error wrapping ErrReach if the logs can not lead from a backup to a moment, as far as that is seen without reading
// them.
func (d *ArchiveDetails) Reaches(from Coordinates, until Until) error {
	first := d.index(from.File)
	switch {
	case from.File == "":
		return fmt.Errorf("%w: the server kept no binary log when it was backed up", ErrReach)
	case first < 0:
		return fmt.Errorf("%w: the backup is of %s:%d, and the archive has %s to %s", ErrReach, from.File, from.Position, d.name(0), d.name(len(d.Logs)-1))
	case int64(from.Position) > d.Logs[first].size():
		return fmt.Errorf("%w: the backup is of %s:%d, which the archive has up to %d", ErrReach, from.File, from.Position, d.Logs[first].size())
	case until.GTID == nil && d.AsOf.Before(until.Time):
		return fmt.Errorf("%w: the archive is of %s, up to GTID %s, its last event is of %s, and %v was asked for",
			ErrReach, d.AsOf.UTC().Format(time.RFC3339), d.At.GTID, d.Last.UTC().Format(time.RFC3339), until)
	}
	return nil
}

// ArchiveOf returns the folder of the archive of the logs of the server of which a backup is.
func ArchiveOf(d *Details) string {
	return strings.TrimSuffix(d.Root, "/"+physicalFolder) + "/" + binlogFolder
}

// Has reports whether a backup has a transaction, as far as numbers say: those of a domain ascend.
func (d *Details) Has(g binlog.GTID) bool {
	s, err := binlog.ParseState(d.At.GTID)
	if err != nil {
		return false // of MySQL
	}
	last, ok := s.Last(g.Domain)
	return ok && last.Number >= g.Number
}
