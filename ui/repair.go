package ui

import (
	"fmt"

	"github.com/kura-backup/kura/repo/repair"
)

type repairIndexMessage struct {
	MessageType string   `json:"message_type"` // "summary"
	DryRun      bool     `json:"dry_run,omitempty"`
	Damaged     []string `json:"damaged"`
	PacksRead   int      `json:"packs_read"`
	Replaced    int      `json:"index_replaced"`
	Added       int      `json:"index_added"`
	Unlisted    int      `json:"packs_unlisted"`
}

// RepairIndex prints what a repair of the index did, or for a dry run would do.
func (t *Terminal) RepairIndex(r *repair.IndexResult, dryRun bool) {
	if t.JSON {
		m := repairIndexMessage{
			MessageType: "summary", DryRun: dryRun, Damaged: []string{}, PacksRead: r.Read, Replaced: r.Replaced, Added: r.Added, Unlisted: len(r.Unlisted),
		}
		for _, ref := range r.Bad {
			m.Damaged = append(m.Damaged, ref.Name())
		}
		t.Message(m)
		return
	}
	if t.Quiet {
		return
	}
	for _, ref := range r.Bad {
		t.Print("lost or damaged: " + ref.Name())
	}
	switch {
	case r.Replaced+r.Read == 0:
		t.Print("nothing is wrong with the index")
	case dryRun:
		t.Print(fmt.Sprintf("would read the directories of %s and replace %s", Count(uint64(r.Read), "pack"), Count(uint64(r.Replaced), "part")+" of the index"))
	default:
		t.Print(fmt.Sprintf("read the directories of %s; %d parts of the index were replaced by %d", Count(uint64(r.Read), "pack"), r.Replaced, r.Added))
	}
}

// fates are what becomes of a pack, for people and for programs.
var fates = map[repair.Fate][2]string{
	repair.Whole:    {"nothing is wrong with it", "whole"},
	repair.Mended:   {"mended: all of it is in new packs", "mended"},
	repair.Salvaged: {"saved in part", "salvaged"},
	repair.Missing:  {"missing: what was in it is lost until a backup stores it again", "missing"},
	repair.Sealed:   {"can not be mended, and not read with this key: it stays as it is", "sealed"},
	repair.Newer:    {"written by a newer kura, and not understood by this one: it stays as it is", "newer"},
}

type repairPackMessage struct {
	MessageType  string `json:"message_type"` // "pack"
	Pack         string `json:"pack"`
	Fate         string `json:"fate"`
	Segments     int    `json:"segments"`
	SegmentsLost int    `json:"segments_lost"`
	Blobs        int    `json:"blobs"`
	BlobsLost    int    `json:"blobs_lost"`
	Quarantine   string `json:"quarantine,omitempty"`
}

// RepairPack prints what became of a damaged pack.
func (t *Terminal) RepairPack(p repair.PackOutcome) {
	if t.JSON {
		t.Message(repairPackMessage{
			MessageType: "pack", Pack: p.Ref.Name(), Fate: fates[p.Fate][1], Segments: p.Segments, SegmentsLost: p.SegmentsLost,
			Blobs: p.Blobs, BlobsLost: p.BlobsLost, Quarantine: p.Quarantine,
		})
		return
	}
	if t.Quiet {
		return
	}
	text := p.Ref.Name() + ": " + fates[p.Fate][0]
	if p.Fate == repair.Salvaged {
		text += fmt.Sprintf(": %s could be read, %d could not", Count(uint64(p.Blobs), "blob"), p.BlobsLost)
	}
	if p.Quarantine != "" {
		text += "; its bytes are in " + p.Quarantine
	}
	t.Print(text)
}

type repairPacksMessage struct {
	MessageType string `json:"message_type"` // "summary"
	DryRun      bool   `json:"dry_run,omitempty"`
	PacksRead   int    `json:"packs_read"`
	Damaged     int    `json:"packs_damaged"`
	Mended      int    `json:"packs_mended"`
	Salvaged    int    `json:"packs_salvaged"`
	Missing     int    `json:"packs_missing"`
	Sealed      int    `json:"packs_sealed"`
	Newer       int    `json:"packs_newer,omitempty"`
	Added       int    `json:"packs_added"`
}

// RepairPacks prints what a repair of packs did, or for a dry run would do.
func (t *Terminal) RepairPacks(r *repair.PacksResult, dryRun bool) {
	damaged := len(r.Packs) - r.Count(repair.Whole) - r.Count(repair.Newer)
	if t.JSON {
		t.Message(repairPacksMessage{
			MessageType: "summary", DryRun: dryRun, PacksRead: r.Read, Damaged: damaged, Mended: r.Count(repair.Mended),
			Salvaged: r.Count(repair.Salvaged), Missing: r.Count(repair.Missing), Sealed: r.Count(repair.Sealed), Newer: r.Count(repair.Newer), Added: r.Added,
		})
		return
	}
	if t.Quiet {
		return
	}
	lost := r.Count(repair.Salvaged) + r.Count(repair.Missing)
	switch {
	case damaged == 0:
		t.Print("no damaged packs were found")
		return
	case dryRun:
		t.Print(fmt.Sprintf("%s damaged: %d would be mended, of %d something is lost", Count(uint64(damaged), "pack"), r.Count(repair.Mended), lost))
		return
	}
	t.Print(fmt.Sprintf("%s damaged: %d mended, of %d something is lost; %s written", Count(uint64(damaged), "pack"), r.Count(repair.Mended), lost,
		Count(uint64(r.Added), "new pack")))
	if lost > 0 {
		t.Info("hint: run the backups again: what they meet of the lost is stored again; then kura repair snapshots")
	}
}

type repairSnapshotMessage struct {
	MessageType string       `json:"message_type"` // "snapshot"
	Snapshot    string       `json:"snapshot_id"`
	New         string       `json:"new_snapshot_id,omitempty"`
	Lost        []repairLoss `json:"lost"`
	LostCount   int          `json:"lost_count"`
	Gone        string       `json:"gone,omitempty"`
	Newer       string       `json:"newer,omitempty"`
	Forgotten   bool         `json:"forgotten"`
}

type repairLoss struct {
	Item    string `json:"item"`
	ItemRaw []byte `json:"item_raw,omitempty"`
	Message string `json:"message"`
}

// RepairSnapshot prints what became of a damaged snapshot.
func (t *Terminal) RepairSnapshot(s repair.SnapshotOutcome) {
	if t.JSON {
		m := repairSnapshotMessage{MessageType: "snapshot", Snapshot: s.ID.String(), Lost: []repairLoss{}, LostCount: len(s.Lost) + s.More, Forgotten: s.Forgotten}
		if !s.New.IsZero() {
			m.New = s.New.String()
		}
		if s.Gone != nil {
			m.Gone = s.Gone.Error()
		}
		if s.Newer != nil {
			m.Newer = s.Newer.Error()
		}
		for _, l := range s.Lost {
			loss := repairLoss{Message: l.What.Error()}
			loss.Item, loss.ItemRaw = jsonText(l.Path)
			m.Lost = append(m.Lost, loss)
		}
		t.Message(m)
		return
	}
	if t.Quiet {
		return
	}
	for _, l := range s.Lost {
		t.Print(PrintableMessage("snapshot " + s.ID.Short() + ": lost: " + l.Path + ": " + l.What.Error()))
	}
	if s.More > 0 {
		t.Print(fmt.Sprintf("snapshot %s: lost: %d more", s.ID.Short(), s.More))
	}
	text := "snapshot " + s.ID.Short()
	switch {
	case s.Gone != nil:
		text += ": nothing of it can be read: " + PrintableMessage(s.Gone.Error())
	case s.Newer != nil:
		text += ": it stays as it is: " + PrintableMessage(s.Newer.Error())
	case !s.New.IsZero():
		text += ": what is left of it is snapshot " + s.New.Short()
	default:
		return
	}
	if s.Forgotten {
		text += "; it was forgotten"
	}
	t.Print(text)
}

type repairSnapshotsMessage struct {
	MessageType string `json:"message_type"` // "summary"
	DryRun      bool   `json:"dry_run,omitempty"`
	Checked     int    `json:"snapshots_checked"`
	Damaged     int    `json:"snapshots_damaged"`
	Newer       int    `json:"snapshots_newer,omitempty"`
}

// RepairSnapshots prints what a repair of snapshots did, or for a dry run would do.
func (t *Terminal) RepairSnapshots(r *repair.SnapshotsResult, dryRun bool) {
	if t.JSON {
		t.Message(repairSnapshotsMessage{MessageType: "summary", DryRun: dryRun, Checked: r.Checked, Damaged: len(r.Snapshots) - r.Newer(), Newer: r.Newer()})
		return
	}
	if t.Quiet {
		return
	}
	t.Print(fmt.Sprintf("looked through %s: %d have lost something", Count(uint64(r.Checked), "snapshot"), len(r.Snapshots)-r.Newer()))
}
