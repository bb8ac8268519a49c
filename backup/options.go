package backup

import (
	"sync/atomic"
	"time"

	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/retain"
	"github.com/kura-backup/kura/source"
	"github.com/kura-backup/kura/tree"
)

// Options say what to back up and how.
type Options struct {
	// Paths are files and folders, absolute or relative to the working directory. Symlinks among
	// them are backed up as links, but for those with a slash behind them: see AbsPath. Not used with a Source.
	Paths []string
	// NoMatch are patterns of paths that nothing matches: each is reported, and counted, as a path that is not there.
	NoMatch []string
	// Excludes and IExcludes are patterns as package pattern describes them, the latter of those that make no
	// difference between upper and lower case.
	Excludes, IExcludes []string
	// Own are patterns of what the backup itself changes, such as its repository, and nothing takes back what they leave
	// out. A given path that one of them matches is passed over; if there is no other, that is an error.
	Own []string
	// IgnoreFiles are the names of files that say, as package ignore describes, what is left out of the folders that
	// they are in. Of several in a folder the later names' come last. Those above the given paths are not read.
	IgnoreFiles []string
	// IfPresent are the markers of folders that are left out, but for the folder itself and its markers.
	IfPresent []Marker
	// LargerThan leaves out files of more bytes; 0: none.
	LargerThan int64
	// OneFileSystem leaves out what is on another file system than the given path that it is below; the folders where
	// file systems are mounted stay, without what is in them.
	OneFileSystem bool

	Tags    []string
	Host    string    // empty: this machine's name
	Time    time.Time // what the snapshot says of itself; zero: the start of the run
	Program string    // name and version, for the snapshot

	// Parent is the snapshot that says what did not change. Nil: the newest one that has the host, paths or tags in
	// common that ParentBy says, but none that is newer than Time. ParentBy nil: host and paths.
	Parent   *repo.Snapshot
	ParentBy *retain.GroupBy
	// Force reads all files, with no parent.
	Force bool

	// SkipIfUnchanged makes no snapshot if it would say of the files what the parent says.
	SkipIfUnchanged bool
	// IgnoreCtime and IgnoreInode let a file count as unchanged though its ctime, or inode and ctime, have changed.
	// Its metadata is read all the same.
	IgnoreCtime, IgnoreInode bool
	// WithAtime records the times of access.
	WithAtime bool

	DryRun      bool // do everything but write
	Compression repo.Compression
	Packing     repo.Packing
	Similar     repo.Similar // where bases of deltas may come from

	// ReadConcurrency is how many files and folders are read at once; 0: one for each CPU, at
	// least two.
	ReadConcurrency int
	// PartialEvery is the time between partial snapshots; 0: ten minutes.
	PartialEvery time.Duration
	// Scan counts files and bytes beside the backup, for Progress.
	Scan bool

	// Require are patterns each of which something that is backed up and could be read must match: otherwise there
	// is no snapshot, and the error is ErrMissing.
	Require []string

	Source source.Source // instead of Paths
}

// Events are told what happens. Nil fields are allowed. The functions are called by one goroutine
// at a time.
type Events struct {
	Progress *Progress
	// Error is called for every source entry that could not be read, or not in full. All but
	// those that wrap a repo.DamageError are counted in the summary.
	Error func(path string, err error)
	// Item is called for every entry that is in the snapshot, folders after what is in them.
	Item func(Item)
}

// Progress is where a run stands. Everything may be read at any time.
type Progress struct {
	FilesTotal, BytesTotal atomic.Uint64 // found by the scan so far
	ScanDone               atomic.Bool

	FilesDone   atomic.Uint64 // files and everything else that is not a folder
	DirsDone    atomic.Uint64
	BytesDone   atomic.Uint64
	BytesNew    atomic.Uint64 // plaintext that the repository did not have
	BytesStored atomic.Uint64 // what it takes there
	Errors      atomic.Uint64
	Current     atomic.Pointer[string] // a path that is being read; nil at first
}

// Action says what a backup did with an entry.
type Action uint8

// What a backup did with an entry.
const (
	New        Action = 1 // not in the parent
	Changed    Action = 2 // in the parent, with another state
	Unmodified Action = 3 // as in the parent; a file of this machine was not read
)

func (a Action) String() string {
	switch a {
	case New:
		return "new"
	case Changed:
		return "changed"
	case Unmodified:
		return "unmodified"
	}
	return "unknown"
}

// Item is an entry that was backed up.
type Item struct {
	Path   string
	Type   tree.Type
	Action Action
	Size   int64 // of a file
	Added  int64 // bytes of a file that the repository did not have
}

// Result is what a run did.
type Result struct {
	Snapshot   *repo.Snapshot // nil after a dry run, and if it was skipped
	Unchanged  bool           // no snapshot was made because it would say what the parent says
	Parent     *repo.Snapshot // nil if there was none
	Summary    repo.Summary
	Start, End time.Time

	Conflicts uint64 // how often another client's entry was first
	Repeats   int    // how often the run was begun again, since others had collected what it relied on
}
