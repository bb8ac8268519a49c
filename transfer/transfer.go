package transfer

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
)

var (
	// ErrSame is returned where source and destination are one repository.
	ErrSame = errors.New("transfer: source and destination are the same repository")

	// ErrCanNotRead is wrapped where the source's key does not open everything that is to be copied.
	ErrCanNotRead = errors.New("transfer: the source can not be read with this key")
)

// Options say what is copied and how.
type Options struct {
	Snapshots []*repo.Snapshot // of the source, in the order in which they are copied
	// DryRun reads folders and looks up blobs, but neither fetches nor stores anything.
	DryRun      bool
	Host        string // in the signs of life of the destination's sessions
	Compression repo.Compression
	Packing     repo.Packing
	Similar     repo.Similar
}

// Events are told what happens. Each may be nil. They are called by one goroutine.
type Events struct {
	Progress *Progress
	// Snapshot is called for every snapshot that is done.
	Snapshot func(Item)
}

// Progress counts while a copy runs. It may be read at any time.
type Progress struct {
	SnapshotsTotal, SnapshotsDone atomic.Uint64
	BytesDone                     atomic.Uint64 // of blobs that the destination lacked
	Current                       atomic.Pointer[string]
}

// Fate is what became of a snapshot.
type Fate uint8

// The fates.
const (
	Copied    Fate = 1 // or would be, in a dry run
	There     Fate = 2 // the destination has it already
	Damaged   Fate = 3 // the source has lost a part of it; Item.Err says which
	Forgotten Fate = 4 // while it was copied, and collected
)

// Item is a snapshot that is done.
type Item struct {
	Fate     Fate
	Snapshot *repo.Snapshot
	ID       object.SessionID // in the destination; zero if it has none there
	Blobs    uint64           // that the destination lacked
	Bytes    uint64           // of these
	Err      error
}

// Result is what a copy did.
type Result struct {
	Copied, There, Damaged, Forgotten int

	Blobs  uint64 // that the destination lacked
	Bytes  uint64 // of these
	Stored uint64 // what they take there
	Same   bool   // whether both repositories name blobs alike
}

// Run copies snapshots. One that the source can not read in full is reported, and the others are copied all the same;
// the error is for what ends the run. The Result is never nil, and says what was done until then. When ctx is
// cancelled Run ends soon.
func Run(ctx context.Context, from, to *repo.Repository, o Options, ev Events) (*Result, error) {
	c := newCopier(from, to, o, ev)
	err := c.run(ctx)
	return &c.result, err
}
