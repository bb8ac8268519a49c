package ui

import (
	"fmt"
	"time"

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
	SizeAdded           int64  `json:"size_added"`
	SizeUnused          int64  `json:"size_unused"`
	ObjectsDeleted      int    `json:"objects_deleted"`
	SizeDeleted         int64  `json:"size_deleted"`
	Groups              int    `json:"parity_groups"`
	GroupsAdded         int    `json:"parity_groups_added"`
	GroupsDeleted       int    `json:"parity_groups_deleted"`
	SizeGroups          int64  `json:"size_parity_groups"`

	Entries       int           `json:"entries,omitempty"`
	HeldUntil     *time.Time    `json:"held_until,omitempty"`
	OutOfTime     bool          `json:"out_of_time,omitempty"`
	Open          []openMessage `json:"open_sessions,omitempty"`
	ObjectsLocked int           `json:"objects_locked,omitempty"`
	SizeLocked    int64         `json:"size_locked,omitempty"`
	LockedUntil   *time.Time    `json:"locked_until,omitempty"`
	ObjectsHidden int           `json:"objects_hidden,omitempty"`
	HiddenWhy     string        `json:"hidden_why,omitempty"`
	LocksExtended int           `json:"locks_extended,omitempty"`
}

type openMessage struct {
	ID          string    `json:"id"`
	Host        string    `json:"host,omitempty"`
	LastSeen    time.Time `json:"last_seen"`
	SecondsIdle uint64    `json:"seconds_idle"`
}

// timeOrNone leaves out a time that is not known.
func timeOrNone(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// Prune prints what a collection did, or for a dry run would do.
func (t *Terminal) Prune(r *gc.Result, dryRun bool) {
	if t.JSON {
		t.Message(pruneJSON(r, dryRun))
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
	freed := fmt.Sprintf("%s (%s deleted in %s)", size(r.BytesDeleted-r.BytesAdded), size(r.BytesDeleted), Count(uint64(r.ObjectsDeleted), "object"))
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
	t.pruneWaits(r)
}

// pruneWaits prints what a collection left alone, and what that waits for.
func (t *Terminal) pruneWaits(r *gc.Result) {
	if r.Held > 0 {
		text := "held:      " + Count(uint64(r.Held), "snapshot") + ", forgotten lately"
		if !r.HeldUntil.IsZero() {
			text += "; the first can go after " + Time(r.HeldUntil)
		}
		t.Print(text)
	}
	if n := r.Locked.Objects; n > 0 {
		text := fmt.Sprintf("locked:    %s, %s, by the store", Count(uint64(n), "object"), Bytes(uint64(max(0, r.Locked.Bytes))))
		if !r.Locked.Until.IsZero() {
			text += "; the first can be deleted after " + Time(r.Locked.Until)
		}
		t.Print(text)
	}
	if n := r.Kept.Objects; n > 0 {
		t.Print(fmt.Sprintf("hidden:    %s, taking up room still: %s", Count(uint64(n), "object"), PrintableMessage(r.Kept.Why)))
	}
	if n := r.LocksExtended; n > 0 {
		t.Print("extended:  " + Count(uint64(n), "lock") + " of what is needed")
	}
	if r.Late {
		t.Info("there was no time to write again all packs that are partly unused; the next prune goes on")
	}
	if n := len(r.Unreadable); n > 0 {
		t.Info(fmt.Sprintf("%s can not be read and was passed over; kura snapshots shows it, kura forget ID removes it", Count(uint64(n), "snapshot")))
	}
	for i, s := range r.Open {
		if i == openShown {
			t.Info(fmt.Sprintf("and %d more", len(r.Open)-i))
			break
		}
		who := "session " + s.ID.Short()
		if s.Host != "" {
			who += " of " + PrintableMessage(s.Host)
		}
		t.Info(fmt.Sprintf("%s may be at work, last seen %s ago; what it uploaded is left alone until it ends or is idle for 30 minutes", who, Duration(s.Idle)))
	}
}

// openShown is how many sessions are named.
const openShown = 8

func pruneJSON(r *gc.Result, dryRun bool) pruneMessage {
	m := pruneMessage{
		MessageType: "summary", DryRun: dryRun, Snapshots: r.Snapshots, SnapshotsGone: len(r.Gone), SnapshotsHeld: r.Held, SnapshotsUnreadable: len(r.Unreadable),
		SessionsRevoked: len(r.Revoked), SessionsOpen: len(r.Open),
		PacksBefore: r.PacksBefore, PacksAfter: r.PacksAfter, PacksDropped: r.PacksDropped, PacksRepacked: r.PacksRepacked,
		SizeBefore: r.BytesBefore, SizeAfter: r.BytesAfter, SizeRepacked: r.BytesRepacked, SizeAdded: r.BytesAdded, SizeUnused: r.BytesUnused,
		ObjectsDeleted: r.ObjectsDeleted, SizeDeleted: r.BytesDeleted,
		Groups: r.Groups, GroupsAdded: r.GroupsAdded, GroupsDeleted: r.GroupsDeleted, SizeGroups: r.GroupBytes,
		Entries: r.Entries, HeldUntil: timeOrNone(r.HeldUntil), OutOfTime: r.Late,
		ObjectsLocked: r.Locked.Objects, SizeLocked: r.Locked.Bytes, LockedUntil: timeOrNone(r.Locked.Until),
		ObjectsHidden: r.Kept.Objects, HiddenWhy: r.Kept.Why, LocksExtended: r.LocksExtended,
	}
	for _, s := range r.Open {
		m.Open = append(m.Open, openMessage{ID: s.ID.String(), Host: s.Host, LastSeen: s.Last, SecondsIdle: seconds(s.Idle)})
	}
	return m
}
