package ui

import (
	"fmt"

	"github.com/kura-backup/kura/transfer"
)

type copyStatus struct {
	MessageType    string  `json:"message_type"` // "status"
	SecondsElapsed uint64  `json:"seconds_elapsed,omitempty"`
	PercentDone    float64 `json:"percent_done"`
	TotalSnapshots uint64  `json:"total_snapshots,omitempty"`
	SnapshotsDone  uint64  `json:"snapshots_done,omitempty"`
	DataAdded      uint64  `json:"data_added,omitempty"`
}

type copyItem struct {
	MessageType   string `json:"message_type"` // "snapshot"
	Action        string `json:"action"`       // "copied", "present", "damaged" or "forgotten"
	SnapshotID    string `json:"snapshot_id"`
	NewSnapshotID string `json:"new_snapshot_id,omitempty"`
	Blobs         uint64 `json:"blobs_added,omitempty"`
	DataAdded     uint64 `json:"data_added,omitempty"`
}

type copySummary struct {
	MessageType     string `json:"message_type"` // "summary"
	DryRun          bool   `json:"dry_run,omitempty"`
	Copied          int    `json:"snapshots_copied"`
	Present         int    `json:"snapshots_present"`
	Damaged         int    `json:"snapshots_damaged"`
	Forgotten       int    `json:"snapshots_forgotten"`
	Blobs           uint64 `json:"blobs_added"`
	DataAdded       uint64 `json:"data_added"`
	DataAddedPacked uint64 `json:"data_added_packed"`
	SameIDs         bool   `json:"same_ids"`
}

// CopyStatus returns the source of a copy's progress.
func CopyStatus(p *transfer.Progress) func() Status {
	return func() Status {
		s := Status{
			Noun: "snapshot", Done: p.SnapshotsDone.Load(), Total: p.SnapshotsTotal.Load(), Bytes: p.BytesDone.Load(),
		}
		s.Complete = s.Total > 0
		if c := p.Current.Load(); c != nil {
			s.Current = *c
		}
		return s
	}
}

// CopyMessage is the status message of a copy.
func CopyMessage(s Status, t Timing) any {
	return copyStatus{
		MessageType: "status", SecondsElapsed: seconds(t.Elapsed), PercentDone: max(0, s.percent()),
		TotalSnapshots: s.Total, SnapshotsDone: s.Done, DataAdded: s.Bytes,
	}
}

// CopyItem reports what became of a snapshot that was to be copied.
func (t *Terminal) CopyItem(i transfer.Item, dryRun bool) {
	if i.Fate == transfer.Damaged {
		t.ItemError("copy", "snapshot "+i.Snapshot.ID.Short(), i.Err)
	}
	if t.JSON {
		m := copyItem{
			MessageType: "snapshot", SnapshotID: i.Snapshot.ID.String(), Blobs: i.Blobs, DataAdded: i.Bytes,
			Action: map[transfer.Fate]string{
				transfer.Copied: "copied", transfer.There: "present", transfer.Damaged: "damaged", transfer.Forgotten: "forgotten",
			}[i.Fate],
		}
		if !i.ID.IsZero() {
			m.NewSnapshotID = i.ID.String()
		}
		t.Message(m)
		return
	}
	if t.Quiet {
		return
	}
	switch {
	case i.Fate == transfer.Copied && dryRun:
		t.Print(fmt.Sprintf("would copy %s: %s new", Describe(i.Snapshot), Bytes(i.Bytes)))
	case i.Fate == transfer.Copied:
		t.Print(fmt.Sprintf("%s copied as %s: %s new", Describe(i.Snapshot), i.ID.Short(), Bytes(i.Bytes)))
	case i.Fate == transfer.There && t.Verbose > 0:
		t.Print(fmt.Sprintf("%s is there as %s", Describe(i.Snapshot), i.ID.Short()))
	case i.Fate == transfer.Forgotten:
		t.Print(fmt.Sprintf("%s was forgotten and pruned meanwhile", Describe(i.Snapshot)))
	}
}

// Copied reports what a copy did.
func (t *Terminal) Copied(r *transfer.Result, dryRun bool) {
	if t.JSON {
		t.Message(copySummary{
			MessageType: "summary", DryRun: dryRun, Copied: r.Copied, Present: r.There, Damaged: r.Damaged, Forgotten: r.Forgotten,
			Blobs: r.Blobs, DataAdded: r.Bytes, DataAddedPacked: r.Stored, SameIDs: r.Same,
		})
		return
	}
	if t.Quiet {
		return
	}
	if dryRun {
		t.Print(fmt.Sprintf("would copy %s and add %s in %s; there already: %d", Count(uint64(r.Copied), "snapshot"), Bytes(r.Bytes), Count(r.Blobs, "blob"), r.There))
		return
	}
	t.Print(fmt.Sprintf("copied %s; there already: %d", Count(uint64(r.Copied), "snapshot"), r.There))
	if r.Copied == 0 {
		return
	}
	t.Print(fmt.Sprintf("added %s in %s (%s stored)", Bytes(r.Bytes), Count(r.Blobs, "blob"), Bytes(r.Stored)))
}
