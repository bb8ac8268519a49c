package check

import (
	"strings"
)

// Problem is one piece of damage.
type Problem struct {
	Object   string // name in the store, if the damage is in one object
	Snapshot string // short id of a snapshot that is affected, if one is
	Path     string // path in it
	Err      error
	// Hint is set for what is odd but costs nobody anything: a leftover, an entry that changes
	// nothing. It is no damage.
	Hint bool
	// Mendable is set for damage that costs nothing yet: the object can still be read as it was written,
	// from its parity or another copy, and kura repair writes it anew.
	Mendable bool
}

func (p Problem) String() string {
	var where []string
	if p.Snapshot != "" {
		where = append(where, "snapshot "+p.Snapshot)
	}
	if p.Path != "" {
		where = append(where, p.Path)
	}
	if p.Object != "" {
		where = append(where, p.Object)
	}
	return strings.Join(where, ": ") + ": " + p.Err.Error()
}

// Report is what a check found.
type Report struct {
	Problems  []Problem
	Snapshots int
	Packs     int
	Blobs     uint64 // places of blobs that directories list

	PacksRead int   // whole ones, as Options.Read asked for
	BytesRead int64 // of them
	// Objects of parity across packs that were read, which is with Options.Read.All.
	Groups     int
	GroupBytes int64
	Seed       uint64 // of the choice of packs, where it was drawn

	Garbage     int // objects that the next prune deletes
	Adoptable   int // packs and index segments of sessions that have not finished
	Quarantined int // damaged bytes that repair has set aside

	// What damage costs. Problems lists the first of the files, for each snapshot and in all.
	SnapshotsDamaged int
	FilesDamaged     int // counted once for each snapshot that has them
	Unlisted         int // of FilesDamaged, those that are not in Problems

	// RecordErr says why it could not be noted which packs were read.
	RecordErr error
}

// Damaged counts the problems that are damage.
func (r *Report) Damaged() (n int) {
	for _, p := range r.Problems {
		if !p.Hint {
			n++
		}
	}
	return n
}

// Mendable counts the damage that costs nothing yet.
func (r *Report) Mendable() (n int) {
	for _, p := range r.Problems {
		if p.Mendable && !p.Hint {
			n++
		}
	}
	return n
}
