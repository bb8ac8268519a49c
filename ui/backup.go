package ui

import (
	"fmt"
	"time"

	"github.com/kura-backup/kura/backup"
	"github.com/kura-backup/kura/tree"
)

type backupStatus struct {
	MessageType      string   `json:"message_type"` // "status"
	SecondsElapsed   uint64   `json:"seconds_elapsed,omitempty"`
	SecondsRemaining uint64   `json:"seconds_remaining,omitempty"`
	PercentDone      float64  `json:"percent_done"`
	TotalFiles       uint64   `json:"total_files,omitempty"`
	FilesDone        uint64   `json:"files_done,omitempty"`
	TotalBytes       uint64   `json:"total_bytes,omitempty"`
	BytesDone        uint64   `json:"bytes_done,omitempty"`
	DataAdded        uint64   `json:"data_added,omitempty"`
	ErrorCount       uint64   `json:"error_count,omitempty"`
	CurrentFiles     []string `json:"current_files,omitempty"`
}

type backupItem struct {
	MessageType string `json:"message_type"` // "verbose_status"
	Action      string `json:"action"`       // "new", "modified" or "unchanged"
	Item        string `json:"item"`
	ItemRaw     []byte `json:"item_raw,omitempty"`
	DataSize    int64  `json:"data_size"` // what is new of it
	Size        int64  `json:"size"`
}

type backupSummary struct {
	MessageType         string    `json:"message_type"` // "summary"
	DryRun              bool      `json:"dry_run,omitempty"`
	FilesNew            uint64    `json:"files_new"`
	FilesChanged        uint64    `json:"files_changed"`
	FilesUnmodified     uint64    `json:"files_unmodified"`
	DataAdded           uint64    `json:"data_added"`
	DataAddedPacked     uint64    `json:"data_added_packed"`
	TotalFilesProcessed uint64    `json:"total_files_processed"`
	TotalDirsProcessed  uint64    `json:"total_dirs_processed"`
	TotalBytesProcessed uint64    `json:"total_bytes_processed"`
	BackupStart         time.Time `json:"backup_start"`
	BackupEnd           time.Time `json:"backup_end"`
	TotalDuration       float64   `json:"total_duration"`
	Errors              uint64    `json:"errors,omitempty"`
	ParentID            string    `json:"parent,omitempty"`
	SnapshotID          string    `json:"snapshot_id,omitempty"`
	Conflicts           uint64    `json:"conflicts,omitempty"`
	Repeats             int       `json:"repeats,omitempty"`
}

// BackupStatus returns the source of a backup's progress.
func BackupStatus(p *backup.Progress) func() Status {
	return func() Status {
		s := Status{
			Noun: "file", Done: p.FilesDone.Load(), Total: p.FilesTotal.Load(),
			Bytes: p.BytesDone.Load(), BytesTotal: p.BytesTotal.Load(), Complete: p.ScanDone.Load(),
			New: p.BytesNew.Load(), HasNew: true, Errors: p.Errors.Load(),
		}
		if c := p.Current.Load(); c != nil {
			s.Current = *c
		}
		return s
	}
}

// BackupMessage is the status message of a backup.
func BackupMessage(s Status, t Timing) any {
	m := backupStatus{
		MessageType: "status", SecondsElapsed: seconds(t.Elapsed), SecondsRemaining: seconds(t.Remaining),
		PercentDone: max(0, s.percent()), TotalFiles: s.Total, FilesDone: s.Done, TotalBytes: s.BytesTotal,
		BytesDone: s.Bytes, DataAdded: s.New, ErrorCount: s.Errors,
	}
	if s.Current != "" {
		text, _ := jsonText(s.Current)
		m.CurrentFiles = []string{text}
	}
	return m
}

// BackupItems is BackupItem, or nil where nobody asked for entries: then their paths need not be put together, which took
// a tenth of the time of a backup of tiny files that had not changed.
func (t *Terminal) BackupItems() func(backup.Item) {
	if t.Verbose < 1 {
		return nil
	}
	return t.BackupItem
}

// BackupItem reports an entry that was backed up, to those who asked for it: what is new or changed
// to the verbose, everything to the very verbose.
func (t *Terminal) BackupItem(i backup.Item) {
	if t.Verbose < 1 || t.Verbose < 2 && i.Action == backup.Unmodified {
		return
	}
	word := map[backup.Action]string{backup.New: "new", backup.Changed: "modified", backup.Unmodified: "unchanged"}[i.Action]
	if t.JSON {
		m := backupItem{MessageType: "verbose_status", Action: word, DataSize: i.Added, Size: i.Size}
		m.Item, m.ItemRaw = jsonText(i.Path)
		t.Message(m)
		return
	}
	line := fmt.Sprintf("%-9s  %s", word, t.Printable(i.Path))
	if i.Type == tree.File && i.Action != backup.Unmodified {
		line += fmt.Sprintf(" (%s, %s new)", Bytes(uint64(max(0, i.Size))), Bytes(uint64(max(0, i.Added))))
	}
	t.Print(line)
}

// BackedUp reports what a backup did.
func (t *Terminal) BackedUp(r *backup.Result, dryRun bool) {
	s := r.Summary
	elapsed := r.End.Sub(r.Start)
	if t.JSON {
		m := backupSummary{
			MessageType: "summary", DryRun: dryRun,
			FilesNew: s.FilesNew, FilesChanged: s.FilesChanged, FilesUnmodified: s.FilesUnmodified,
			DataAdded: s.BytesAdded, DataAddedPacked: s.BytesStored,
			TotalFilesProcessed: s.Files, TotalDirsProcessed: s.Dirs, TotalBytesProcessed: s.Bytes,
			BackupStart: r.Start, BackupEnd: r.End, TotalDuration: elapsed.Seconds(), Errors: s.Errors,
			Conflicts: r.Conflicts, Repeats: r.Repeats,
		}
		if r.Parent != nil {
			m.ParentID = r.Parent.ID.String()
		}
		if r.Snapshot != nil {
			m.SnapshotID = r.Snapshot.ID.String()
		}
		t.Message(m)
		return
	}
	if t.Quiet {
		return
	}
	parent := "no parent snapshot: every file was read"
	if r.Parent != nil {
		parent = "parent:    snapshot " + r.Parent.ID.Short() + " of " + Time(r.Parent.When())
	}
	t.Print(parent)
	t.Print(fmt.Sprintf("files:     %d new, %d changed, %d unmodified", s.FilesNew, s.FilesChanged, s.FilesUnmodified))
	added := "added:    "
	if dryRun {
		added = "would add:"
	}
	t.Print(fmt.Sprintf("%s %s (%s stored)", added, Bytes(s.BytesAdded), Bytes(s.BytesStored)))
	line := fmt.Sprintf("processed: %s, %s, %s in %s", Count(s.Files, "file"), Count(s.Dirs, "folder"), Bytes(s.Bytes), Duration(elapsed))
	if s := elapsed.Seconds(); s >= 1 {
		line += fmt.Sprintf(" (%s/s)", Bytes(uint64(float64(r.Summary.Bytes)/s)))
	}
	t.Print(line)
	switch {
	case r.Snapshot != nil:
		t.Print("snapshot " + r.Snapshot.ID.Short() + " saved")
	case r.Unchanged:
		t.Print("nothing has changed since the parent: no snapshot was made")
	}
}
