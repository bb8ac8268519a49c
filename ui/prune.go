package ui

import (
	"fmt"

	"github.com/kura-backup/kura/repo/gc"
)

type pruneMessage struct {
	MessageType         string `json:"message_type"` // "summary"
	DryRun              bool   `json:"dry_run,omitempty"`
	Snapshots           int    `json:"snapshots"`
	SnapshotsGone       int    `json:"snapshots_gone"`
	SnapshotsHeld       int    `json:"snapshots_held,omitempty"`
	SnapshotsUnreadable int    `json:"snapshots_unreadable,omitempty"`
	SessionsRevoked     int    `json:"sessions_revoked"`
	SessionsOpen        int    `json:"sessions_open"`
	PacksBefore         int    `json:"packs_before"`
	PacksAfter          int    `json:"packs_after"`
	PacksDropped        int    `json:"packs_dropped"`
	PacksRepacked       int    `json:"packs_repacked"`
	SizeBefore          int64  `json:"size_before"`
	SizeAfter           int64  `json:"size_after"`
	SizeRepacked        int64  `json:"size_repacked"`
	SizeUnused          int64  `json:"size_unused"`
	ObjectsDeleted      int    `json:"objects_deleted"`
	SizeDeleted         int64  `json:"size_deleted"`
	Groups              int    `json:"parity_groups"`
	GroupsAdded         int    `json:"parity_groups_added"`
	GroupsDeleted       int    `json:"parity_groups_deleted"`
	SizeGroups          int64  `json:"size_parity_groups"`
}

// Prune prints what a collection did, or for a dry run would do.
func (t *Terminal) Prune(r *gc.Result, dryRun bool) {
	if t.JSON {
		t.Message(pruneMessage{
			MessageType: "summary", DryRun: dryRun, Snapshots: r.Snapshots, SnapshotsGone: len(r.Gone), SnapshotsHeld: r.Held, SnapshotsUnreadable: len(r.Unreadable),
			SessionsRevoked: len(r.Revoked), SessionsOpen: r.Open,
			PacksBefore: r.PacksBefore, PacksAfter: r.PacksAfter, PacksDropped: r.PacksDropped, PacksRepacked: r.PacksRepacked,
			SizeBefore: r.BytesBefore, SizeAfter: r.BytesAfter, SizeRepacked: r.BytesRepacked, SizeUnused: r.BytesUnused,
			ObjectsDeleted: r.ObjectsDeleted, SizeDeleted: r.BytesDeleted,
			Groups: r.Groups, GroupsAdded: r.GroupsAdded, GroupsDeleted: r.GroupsDeleted, SizeGroups: r.GroupBytes,
		})
		return
	}
	if t.Quiet {
		return
	}
	size := func(n int64) string { return Bytes(uint64(max(0, n))) }
	packs := func(n int) string { return Count(uint64(n), "pack") }
	t.Print(fmt.Sprintf("kept:      %s in %s, %s (%s of it unused)",
		Count(uint64(r.Snapshots), "snapshot"), packs(r.PacksAfter), size(r.BytesAfter), size(r.BytesUnused)))
	t.Print(fmt.Sprintf("dropped:   %s, %d of them repacked (%s written again)", packs(r.PacksDropped), r.PacksRepacked, size(r.BytesRepacked)))
	freed := fmt.Sprintf("%s (%s deleted in %s)", size(r.BytesDeleted-r.BytesRepacked), size(r.BytesDeleted), Count(uint64(r.ObjectsDeleted), "object"))
	if dryRun {
		t.Print("would free " + freed)
	} else {
		t.Print("freed:     " + freed)
	}
	switch groups := Count(uint64(r.Groups), "group") + " across packs, " + size(r.GroupBytes); {
	case r.GroupsAdded+r.GroupsDeleted > 0:
		t.Print(fmt.Sprintf("parity:    %s (%d added, %d deleted)", groups, r.GroupsAdded, r.GroupsDeleted))
	case r.Groups > 0:
		t.Print("parity:    " + groups)
	}
	if r.Held > 0 {
		t.Print(fmt.Sprintf("held:      %s, forgotten lately", Count(uint64(r.Held), "snapshot")))
	}
	if n := len(r.Unreadable); n > 0 {
		t.Info(fmt.Sprintf("%s can not be read and was passed over; kura snapshots shows it, kura forget ID removes it", Count(uint64(n), "snapshot")))
	}
	if r.Open > 0 {
		t.Info(fmt.Sprintf("%s may be at work or was cut off lately; what it uploaded is left alone for 30 minutes", Count(uint64(r.Open), "session")))
	}
}
