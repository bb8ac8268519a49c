package ui

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
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
	Details        json.RawMessage  `json:"details,omitempty"` // what the source says beside its files
	Partial        bool             `json:"partial,omitempty"`
	Suspect        bool             `json:"suspect,omitempty"`
	Pinned         bool             `json:"pinned,omitempty"`
	Doubtful       bool             `json:"doubtful,omitempty"`
	Unreadable     string           `json:"unreadable,omitempty"` // why it can not be opened
	CopyOf         string           `json:"copy_of,omitempty"`
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
		Partial: s.Entry.Partial, Suspect: s.Suspect != 0, Pinned: s.Entry.Pinned, Doubtful: s.Doubtful, CopyOf: hex.EncodeToString(s.CopyOf),
		ID: s.ID.String(), ShortID: s.ID.Short(),
		Summary: &SnapshotSummary{
			BackupStart: time.Unix(0, s.Start), BackupEnd: time.Unix(0, s.End),
			FilesNew: sum.FilesNew, FilesChanged: sum.FilesChanged, FilesUnmodified: sum.FilesUnmodified,
			DataAdded: sum.BytesAdded, DataAddedPacked: sum.BytesStored,
			TotalFiles: sum.Files, TotalDirs: sum.Dirs, TotalBytes: sum.Bytes, Errors: sum.Errors,
		},
	}
	if s.Details != "" {
		out.Details = json.RawMessage(s.Details)
	}
	if s.Err != nil {
		out.Unreadable = s.Err.Error()
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
	table := snapshotTable(list, tableOptions{})
	t.Write([]byte(table.String()))
}

// tableOptions say what a table of snapshots has besides them.
type tableOptions struct {
	reasons []string // nil: no such column
	freed   []string // likewise
	compact bool     // one line for each snapshot, without sizes and paths
}

// snapshotTable lists snapshots.
func snapshotTable(list []*repo.Snapshot, o tableOptions) *Table {
	remarks := make([]string, len(list))
	var some bool
	for i, s := range list {
		remarks[i] = remark(s)
		some = some || remarks[i] != ""
	}
	type column struct {
		name  string
		shown bool
		of    func(i int, s *repo.Snapshot) string
	}
	columns := []column{
		{"ID", true, func(_ int, s *repo.Snapshot) string { return s.ID.Short() }},
		{"Time", true, func(_ int, s *repo.Snapshot) string { return Time(s.When()) }},
		{"Host", true, func(_ int, s *repo.Snapshot) string { return Printable(s.Host) }},
		{"Tags", true, func(_ int, s *repo.Snapshot) string { return lines(s.Tags) }},
		{"Size", !o.compact, func(_ int, s *repo.Snapshot) string { return Bytes(s.Summary.Bytes) }},
		{"Frees", o.freed != nil, func(i int, _ *repo.Snapshot) string { return o.freed[i] }},
		{"Reasons", o.reasons != nil, func(i int, _ *repo.Snapshot) string { return o.reasons[i] }},
		{"Remarks", some, func(i int, _ *repo.Snapshot) string { return remarks[i] }},
		{"Paths", !o.compact, func(_ int, s *repo.Snapshot) string { return lines(s.PathStrings()) }},
	}
	columns = slices.DeleteFunc(columns, func(c column) bool { return !c.shown })
	table := &Table{Rows: make([][]string, len(list))}
	for _, c := range columns {
		table.Header = append(table.Header, c.name)
		for i, s := range list {
			cell := c.of(i, s)
			if o.compact {
				cell = strings.ReplaceAll(cell, "\n", ", ")
			}
			table.Rows[i] = append(table.Rows[i], cell)
		}
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

// remark says what is not as with most about a snapshot.
func remark(s *repo.Snapshot) string {
	var out []string
	if s.Entry.Pinned {
		out = append(out, "pinned")
	}
	if unreadable := (*repo.UnreadableError)(nil); errors.As(s.Err, &unreadable) {
		out = append(out, "unreadable, by a "+unreadable.Signer.String()+"'s key")
	} else if s.Err != nil {
		out = append(out, "unreadable")
	}
	if s.Entry.Partial {
		out = append(out, "partial")
	}
	if s.Suspect != 0 {
		out = append(out, "suspect")
	}
	if s.Doubtful {
		out = append(out, "doubtful time")
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
