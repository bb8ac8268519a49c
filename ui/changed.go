package ui

import "github.com/kura-backup/kura/internal/object"

type changedMessage struct {
	MessageType   string `json:"message_type"` // "changed"
	OldSnapshotID string `json:"old_snapshot_id"`
	NewSnapshotID string `json:"new_snapshot_id"`
}

type changedSummary struct {
	MessageType string `json:"message_type"` // "summary"
	Changed     int    `json:"changed_snapshots"`
}

// Changed prints, as JSON, which snapshots a command has changed. A snapshot keeps its id.
func (t *Terminal) Changed(ids []object.SessionID) {
	for _, id := range ids {
		t.Message(changedMessage{"changed", id.String(), id.String()})
	}
	t.Message(changedSummary{"summary", len(ids)})
}
