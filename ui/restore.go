package ui

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/kura-backup/kura/restore"
)

type restoreStatus struct {
	MessageType    string  `json:"message_type"` // "status"
	SecondsElapsed uint64  `json:"seconds_elapsed,omitempty"`
	PercentDone    float64 `json:"percent_done"`
	TotalFiles     uint64  `json:"total_files,omitempty"`
	FilesRestored  uint64  `json:"files_restored,omitempty"`
	TotalBytes     uint64  `json:"total_bytes,omitempty"`
	FilesSkipped   uint64  `json:"files_skipped,omitempty"`
	FilesDeleted   uint64  `json:"files_deleted,omitempty"`
	BytesRestored  uint64  `json:"bytes_restored,omitempty"`
	BytesSkipped   uint64  `json:"bytes_skipped,omitempty"`
	ErrorCount     uint64  `json:"error_count,omitempty"`
}

type restoreItem struct {
	MessageType string `json:"message_type"` // "verbose_status"
	Action      string `json:"action"`       // "restored", "updated", "unchanged" or "deleted"
	Item        string `json:"item"`
	ItemRaw     []byte `json:"item_raw,omitempty"`
	Size        int64  `json:"size"`
}

type restoreSummary struct {
	MessageType    string            `json:"message_type"` // "summary"
	DryRun         bool              `json:"dry_run,omitempty"`
	SecondsElapsed uint64            `json:"seconds_elapsed,omitempty"`
	SnapshotID     string            `json:"snapshot_id"`
	TotalFiles     uint64            `json:"total_files"`
	FilesRestored  uint64            `json:"files_restored"`
	FilesSkipped   uint64            `json:"files_skipped,omitempty"`
	FilesDeleted   uint64            `json:"files_deleted,omitempty"`
	DirsRestored   uint64            `json:"dirs_restored"`
	OthersRestored uint64            `json:"others_restored"`
	TotalBytes     uint64            `json:"total_bytes"`
	BytesRestored  uint64            `json:"bytes_restored"`
	BytesSkipped   uint64            `json:"bytes_skipped,omitempty"`
	FilesVerified  uint64            `json:"files_verified,omitempty"`
	Errors         uint64            `json:"errors"`
	Damaged        uint64            `json:"damaged"`
	Omitted        []restoreOmission `json:"omitted,omitempty"`
}

type restoreOmission struct {
	What  string `json:"what"`
	Count uint64 `json:"count"`
	Item  string `json:"item,omitempty"`
	Error string `json:"error,omitempty"`
}

// RestoreStatus returns the source of a restore's progress.
func RestoreStatus(p *restore.Progress) func() Status {
	return func() Status {
		s := Status{
			Noun: "file", Done: p.FilesDone.Load(), Total: p.FilesTotal.Load(),
			Bytes: p.BytesDone.Load(), BytesTotal: p.BytesTotal.Load(),
			Complete: p.ScanDone.Load(), Errors: p.Errors.Load(),
			Skipped: p.FilesSkipped.Load(), BytesSkipped: p.BytesSkipped.Load(), Deleted: p.Deleted.Load(),
		}
		if c := p.Current.Load(); c != nil {
			s.Current = *c
		}
		return s
	}
}

// RestoreMessage is the status message of a restore. What was skipped is read a little later than what was done, and may be more.
func RestoreMessage(s Status, t Timing) any {
	return restoreStatus{
		MessageType: "status", SecondsElapsed: seconds(t.Elapsed), PercentDone: max(0, s.percent()),
		TotalFiles: s.Total, FilesRestored: s.Done - min(s.Done, s.Skipped), FilesSkipped: s.Skipped, FilesDeleted: s.Deleted,
		TotalBytes: s.BytesTotal, BytesRestored: s.Bytes - min(s.Bytes, s.BytesSkipped), BytesSkipped: s.BytesSkipped, ErrorCount: s.Errors,
	}
}

// RestoreItems is RestoreItem, or nil where nobody asked for entries: then their paths need not be put together.
func (t *Terminal) RestoreItems() func(restore.Item) {
	if t.Verbose < 2 {
		return nil
	}
	return t.RestoreItem
}

// RestoreItem reports an entry that was restored, to those who asked for it.
func (t *Terminal) RestoreItem(i restore.Item) {
	switch {
	case t.Verbose < 2:
	case t.JSON:
		m := restoreItem{MessageType: "verbose_status", Action: i.Action.String(), Size: i.Size}
		m.Item, m.ItemRaw = jsonText(i.Path)
		t.Message(m)
	default:
		t.Print(fmt.Sprintf("%-9s %s", i.Action, t.Printable(i.Path)))
	}
}

// RestoreResult is all that is said at the end of a restore.
type RestoreResult struct {
	*restore.Result
	SnapshotID string
	Target     string
	DryRun     bool
	Verify     bool
	Elapsed    time.Duration
	Progress   *restore.Progress
}

// Restored reports what a restore did.
func (t *Terminal) Restored(r RestoreResult) {
	if t.JSON {
		m := restoreSummary{
			MessageType: "summary", DryRun: r.DryRun, SecondsElapsed: seconds(r.Elapsed), SnapshotID: r.SnapshotID,
			TotalFiles: r.Progress.FilesTotal.Load(), FilesRestored: r.Files, DirsRestored: r.Dirs, OthersRestored: r.Others,
			TotalBytes: r.Progress.BytesTotal.Load(), BytesRestored: r.Bytes, FilesVerified: r.Verified,
			FilesSkipped: r.Skipped, BytesSkipped: r.SkippedBytes, FilesDeleted: r.Deleted,
			Errors: r.Errors, Damaged: r.Damaged,
		}
		for _, o := range r.Omitted {
			om := restoreOmission{What: o.What, Count: o.Count}
			om.Item, _ = jsonText(o.Path)
			if o.Err != nil {
				om.Error = o.Err.Error()
			}
			m.Omitted = append(m.Omitted, om)
		}
		t.Message(m)
		return
	}
	for _, o := range r.Omitted {
		t.omitted(o)
	}
	if t.Quiet {
		return
	}
	did := "restored"
	if r.DryRun {
		did = "would restore"
	}
	parts := []string{Count(r.Files, "file"), Count(r.Dirs, "folder")}
	if r.Others > 0 {
		parts = append(parts, Count(r.Others, "link or special file"))
	}
	line := fmt.Sprintf("%s %s, %s to %s in %s", did, strings.Join(parts, ", "), Bytes(r.Bytes), t.Printable(r.Target), Duration(r.Elapsed))
	if s := r.Elapsed.Seconds(); s >= 1 && !r.DryRun {
		line += fmt.Sprintf(" (%s/s)", Bytes(uint64(float64(r.Bytes)/s)))
	}
	t.Print(line)
	t.leftAlone(r)
	if r.Verify && !r.DryRun {
		t.Print(fmt.Sprintf("read %s again: they are as they were backed up", Count(r.Verified, "file")))
	}
}

// leftAlone says what a restore into an existing folder did not write, and what it deleted.
func (t *Terminal) leftAlone(r RestoreResult) {
	if r.Skipped > 0 {
		were := "they were"
		if r.Skipped == 1 {
			were = "it was"
		}
		t.Print(fmt.Sprintf("left %s as %s, %s", entries(r.Skipped), were, Bytes(r.SkippedBytes)))
	}
	if r.Deleted > 0 {
		did := "deleted"
		if r.DryRun {
			did = "would delete"
		}
		t.Print(fmt.Sprintf("%s %s", did, entries(r.Deleted)))
	}
}

func (t *Terminal) omitted(o restore.Omission) {
	line := fmt.Sprintf("could not restore %s of %s", o.What, entries(o.Count))
	switch {
	case o.What == restore.Unread:
		line = fmt.Sprintf("could not read %s again", entries(o.Count))
	case o.Whole:
		line = fmt.Sprintf("could not restore %s (%d)", o.What, o.Count)
	}
	line += ", the first of them " + Printable(o.Path)
	if o.Err != nil {
		line += ": " + PrintableMessage(o.Err.Error())
	}
	switch {
	case o.Fault:
		t.Error("kura: error: " + line)
	case errors.Is(o.Err, fs.ErrPermission):
		t.Info("warning: " + line + "; run as root for that")
	default:
		t.Info("warning: " + line)
	}
}

func entries(n uint64) string {
	if n == 1 {
		return "1 entry"
	}
	return fmt.Sprintf("%d entries", n)
}
