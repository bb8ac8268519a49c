package restore

import (
	"context"
	"sync/atomic"

	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/tree"
)

// Options say what to restore and how.
type Options struct {
	Target string // the folder to restore into; made if it does not exist
	// Path is the entry of the snapshot to restore: of a folder its content goes directly into Target,
	// anything else under its own name. Empty means everything, under its full paths.
	Path      string
	Overwrite Overwrite
	Patterns
	// Delete deletes what the snapshot does not have from folders that are restored, and folders that are where
	// it has something else. What the patterns leave out stays. Folders above the paths that were backed up, and
	// such of which the snapshot does not have everything, lose nothing. A snapshot that is not complete is refused with
	// it.
	Delete bool
	// Spare are paths of files and folders that Delete leaves alone, with all in them and whatever name leads there, such as
	// a repository in the target. The repository that is read stays in any case: it is known by its config.
	Spare []string
	// Sparse makes holes of all long runs of zeros. Otherwise what had space on disk gets it.
	Sparse bool
	// OwnersByName sets owners by their names, where somebody has the name here, and not by number.
	OwnersByName bool
	// XAttrInclude and XAttrExclude select extended attributes by patterns for their full names, as path.Match has them.
	XAttrInclude, XAttrExclude []string
	// DryRun reads the tree, compares what is in the target and looks up all blobs, but neither fetches nor writes anything.
	DryRun bool
	Verify bool // read the files again when all are written, and compare them with the snapshot
	Sync   bool // return only when everything is durable
	// Concurrency is how many packs are read and files are written at a time; 0 means a number that suits
	// the store and the machine.
	Concurrency int
}

// Events are told what happens. Each may be nil. They are called from several goroutines but one at a time.
type Events struct {
	Progress *Progress
	// Error is called for every entry that is not restored, or not in full.
	Error func(path string, err error)
	// Item is called for every entry that is complete or was deleted.
	Item func(Item)
	// Spared is called for what the snapshot does not have and Options.Delete leaves alone all the same: what Options.Spare names, the repository, and
	// folders in which a file system is, or was, mounted of which the snapshot has nothing.
	Spared func(path string, why error)
}

// Progress counts while a restore runs. It may be read at any time.
type Progress struct {
	FilesTotal, BytesTotal atomic.Uint64 // grow until ScanDone, unless the snapshot's summary has them
	ScanDone               atomic.Bool
	FilesDone, BytesDone   atomic.Uint64 // files of all types, without folders; bytes of the snapshot's files
	DirsDone               atomic.Uint64
	FilesSkipped           atomic.Uint64 // of FilesDone: left as they were
	BytesSkipped           atomic.Uint64
	Deleted                atomic.Uint64
	Skipped                atomic.Uint64 // what can not be restored here, see Omission
	Errors                 atomic.Uint64
	Current                atomic.Pointer[string] // a path that is being written
}

// Action says what was done about an entry, or would be.
type Action uint8

// The actions.
const (
	Restored  Action = iota // it is new
	Updated                 // it was there and was different
	Unchanged               // its content was there already, or it was to be kept
	Deleted                 // it is not in the snapshot
)

func (a Action) String() string { return [...]string{"restored", "updated", "unchanged", "deleted"}[a] }

// Item is an entry that is complete.
type Item struct {
	Action Action
	Path   string    // in the snapshot, or below Options.Path
	Type   tree.Type // 0 for what was deleted
	Size   int64     // of a file
}

// Result is what a restore did.
type Result struct {
	Files, Dirs, Others uint64 // restored or updated; every hard link counts as a file
	Bytes               uint64 // of the files, holes included
	Skipped             uint64 // files and others that were left as they were
	SkippedBytes        uint64
	Deleted             uint64 // entries
	Errors              uint64 // entries that are not restored, or not in full, but for the damaged ones
	Damaged             uint64 // entries lost, in full or in part, to damage of the repository
	Verified            uint64 // files that were read again and are right
	Omitted             []Omission
}

// Omission is a kind of thing that the user may not restore, or that the target can not hold.
type Omission struct {
	What  string // for people: "owner", "device nodes", …
	Whole bool   // the entries themselves are not there; otherwise something of them
	Count uint64
	Path  string // of the first
	Err   error  // of the first; nil if such a thing is never restored
	// Fault is set where it was not to be expected: the user is root. Faults count in Result.Errors.
	Fault bool
}

// Run restores a snapshot or a part of it. Entries that can not be restored are reported and counted, and the
// run goes on; the error is for what ends it: the store failed, the target is full or can not be
// made, there is no such path (wraps [repo.ErrNotFound]), ctx was cancelled. The Result is never nil and
// says what was done until then.
func Run(ctx context.Context, r *repo.Repository, snap *repo.Snapshot, o Options, ev Events) (*Result, error) {
	run := newRun(r, o, ev)
	err := run.restore(ctx, snap)
	return run.result(), err
}
