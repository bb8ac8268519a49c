package ui

import (
	"encoding/hex"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/kura-backup/kura/repo"
)

// Snapshot is a snapshot as JSON shows it.
type Snapshot struct {
	Time           time.Time        `json:"time"`
	Parent         string           `json:"parent,omitempty"`
	Tree           string           `json:"tree"`
	Paths          []string         `json:"paths"`
	Hostname       string           `json:"hostname,omitempty"`
	Username       string           `json:"username,omitempty"`
	UID            uint32           `json:"uid"`
	GID            uint32           `json:"gid"`
	Excludes       []string         `json:"excludes,omitempty"`
	Tags           []string         `json:"tags,omitempty"`
	ProgramVersion string           `json:"program_version,omitempty"`
	Summary        *SnapshotSummary `json:"summary,omitempty"`
	Source         string           `json:"source,omitempty"`
	Partial        bool             `json:"partial,omitempty"`
	Suspect        bool             `json:"suspect,omitempty"`
	ID             string           `json:"id"`
	ShortID        string           `json:"short_id"`
}

// SnapshotSummary is what the run that made a snapshot did.
type SnapshotSummary struct {
	BackupStart     time.Time `json:"backup_start"`
	BackupEnd       time.Time `json:"backup_end"`
	FilesNew        uint64    `json:"files_new"`
	FilesChanged    uint64    `json:"files_changed"`
	FilesUnmodified uint64    `json:"files_unmodified"`
	DataAdded       uint64    `json:"data_added"`
	DataAddedPacked uint64    `json:"data_added_packed"`
	TotalFiles      uint64    `json:"total_files_processed"`
	TotalDirs       uint64    `json:"total_dirs_processed"`
	TotalBytes      uint64    `json:"total_bytes_processed"`
	Errors          uint64    `json:"errors,omitempty"`
}

// MakeSnapshot returns s as JSON shows it.
func MakeSnapshot(s *repo.Snapshot) Snapshot {
	sum := s.Summary
	out := Snapshot{
		Time: s.When(), Tree: hex.EncodeToString(s.Root), Parent: hex.EncodeToString(s.Parent),
		Paths: make([]string, 0, len(s.Paths)), Hostname: s.Host, Username: s.User, UID: s.UID, GID: s.GID,
		Excludes: s.Excludes, Tags: s.Tags, ProgramVersion: s.Program, Source: s.Source,
		Partial: !s.Complete(), Suspect: s.Suspect != 0,
		ID: s.ID.String(), ShortID: s.ID.Short(),
		Summary: &SnapshotSummary{
			BackupStart: time.Unix(0, s.Start), BackupEnd: time.Unix(0, s.End),
			FilesNew: sum.FilesNew, FilesChanged: sum.FilesChanged, FilesUnmodified: sum.FilesUnmodified,
			DataAdded: sum.BytesAdded, DataAddedPacked: sum.BytesStored,
			TotalFiles: sum.Files, TotalDirs: sum.Dirs, TotalBytes: sum.Bytes, Errors: sum.Errors,
		},
	}
	for _, p := range s.PathStrings() {
		text, _ := jsonText(p)
		out.Paths = append(out.Paths, text)
	}
	return out
}

func makeSnapshots(list []*repo.Snapshot) []Snapshot {
	out := make([]Snapshot, len(list))
	for i, s := range list {
		out[i] = MakeSnapshot(s)
	}
	return out
}

// Snapshots prints a list of snapshots.
func (t *Terminal) Snapshots(list []*repo.Snapshot) {
	if t.JSON {
		t.Message(makeSnapshots(list))
		return
	}
	if len(list) == 0 {
		t.Info("no snapshots")
		return
	}
	table := snapshotTable(list, nil)
	t.Write([]byte(table.String()))
}

// snapshotTable lists snapshots, with a column of reasons unless that is nil.
func snapshotTable(list []*repo.Snapshot, reasons []string) *Table {
	remarks := make([]string, len(list))
	var some bool
	for i, s := range list {
		remarks[i] = remark(s)
		some = some || remarks[i] != ""
	}
	table := &Table{Header: []string{"ID", "Time", "Host", "Tags", "Size"}}
	if reasons != nil {
		table.Header = append(table.Header, "Reasons")
	}
	if some {
		table.Header = append(table.Header, "Remarks")
	}
	table.Header = append(table.Header, "Paths")
	for i, s := range list {
		row := []string{s.ID.Short(), Time(s.When()), Printable(s.Host), lines(s.Tags), Bytes(s.Summary.Bytes)}
		if reasons != nil {
			row = append(row, reasons[i])
		}
		if some {
			row = append(row, remarks[i])
		}
		table.Rows = append(table.Rows, append(row, lines(s.PathStrings())))
	}
	table.Footer = Count(uint64(len(list)), "snapshot")
	return table
}

func lines(list []string) string {
	safe := make([]string, len(list))
	for i, s := range list {
		safe[i] = Printable(s)
	}
	return strings.Join(safe, "\n")
}

// remark says what is not as it should be about a snapshot.
func remark(s *repo.Snapshot) string {
	var out []string
	if !s.Complete() {
		out = append(out, "partial")
	}
	if s.Suspect != 0 {
		out = append(out, "suspect")
	}
	if s.Summary.Errors > 0 {
		out = append(out, Count(s.Summary.Errors, "error"))
	}
	return strings.Join(out, "\n")
}

// Describe writes a snapshot in a few words, as ls and restore name the one they found.
func Describe(s *repo.Snapshot) string {
	paths := make([]string, len(s.Paths))
	for i, p := range s.PathStrings() {
		paths[i] = Printable(p)
	}
	d := fmt.Sprintf("snapshot %s of %s at %s", s.ID.Short(), strings.Join(paths, ", "), Time(s.When()))
	if s.Host != "" {
		d += " by " + Printable(s.User) + "@" + Printable(s.Host)
	}
	if !s.Complete() {
		d += " (partial: its run did not reach the end)"
	}
	return d
}

// jsonText returns s as JSON text, and its bytes if they are not text.
func jsonText(s string) (text string, raw []byte) {
	if utf8.ValidString(s) {
		return s, nil
	}
	return strings.ToValidUTF8(s, "\uFFFD"), []byte(s)
}
