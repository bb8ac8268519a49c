package ui

import (
	"fmt"

	"github.com/kura-backup/kura/repo/stats"
)

// statsMessage has restic's fields first.
type statsMessage struct {
	TotalSize              uint64  `json:"total_size"`
	TotalUncompressedSize  uint64  `json:"total_uncompressed_size,omitempty"`
	CompressionRatio       float64 `json:"compression_ratio,omitempty"`
	CompressionSpaceSaving float64 `json:"compression_space_saving,omitempty"`
	TotalFileCount         uint64  `json:"total_file_count,omitempty"`
	TotalBlobCount         uint64  `json:"total_blob_count,omitempty"`
	SnapshotsCount         int     `json:"snapshots_count"`

	EntryCount   uint64   `json:"total_entry_count,omitempty"`
	Packs        int      `json:"packs,omitempty"`
	RawSize      int64    `json:"raw_size,omitempty"`
	Verified     *float64 `json:"verified_share,omitempty"`
	EverVerified *float64 `json:"ever_verified_share,omitempty"`
	VerifiedDays int      `json:"verified_days,omitempty"`
	Groups       int      `json:"parity_groups,omitempty"`
	GroupsSize   int64    `json:"parity_groups_size,omitempty"`
	Deltas       uint64   `json:"deltas,omitempty"`
	DeltasSize   uint64   `json:"deltas_size,omitempty"`
	DeltasStored uint64   `json:"deltas_raw_size,omitempty"`
}

// Stats prints what a repository holds. Of restored and raw one may be nil. snapshots is how many there are, days
// how far back a verification counts.
func (t *Terminal) Stats(restored *stats.Restored, raw *stats.Raw, snapshots, days int) {
	if t.JSON {
		t.Message(statsJSON(restored, raw, snapshots, days))
		return
	}
	t.Print(fmt.Sprintf("snapshots:      %d", snapshots))
	if restored != nil {
		t.Print(fmt.Sprintf("restore size:   %s in %s", Bytes(restored.Bytes), Count(restored.Files, "file")))
	}
	if raw == nil {
		return
	}
	stored := fmt.Sprintf("stored:         %s in %s", Bytes(uint64(max(0, raw.Total()))), Count(uint64(raw.Packs), "pack"))
	if raw.Groups > 0 {
		stored += " and " + groupsOfParity(raw.Groups)
	}
	t.Print(stored)
	if raw.Groups > 0 {
		t.Print(fmt.Sprintf("parity groups:  %s of that, in %s", Bytes(uint64(max(0, raw.GroupBytes))), Count(uint64(raw.Groups), "object")))
	}
	t.Print(fmt.Sprintf("content:        %s in %s, each stored once (%.2f times what is stored)", Bytes(raw.Plain), Count(raw.Blobs, "blob"), raw.Ratio()))
	if raw.Deltas > 0 {
		t.Print(fmt.Sprintf("differences:    %s of that in %s, stored as differences to others in %s", Bytes(raw.DeltaPlain), Count(raw.Deltas, "blob"), Bytes(raw.DeltaStored)))
	}
	t.Print(fmt.Sprintf("proven:         %s was read and found whole in the last %d days, %s at any time",
		percent(raw.Verified, raw.Stored), days, percent(raw.EverVerified, raw.Stored)))
	if raw.Verified < raw.Stored {
		t.Info("hint: kura check --rolling SIZE, run regularly, reads what was verified longest ago")
	}
}

func statsJSON(restored *stats.Restored, raw *stats.Raw, snapshots, days int) statsMessage {
	m := statsMessage{SnapshotsCount: snapshots}
	if raw != nil {
		m.TotalSize, m.TotalUncompressedSize = uint64(max(0, raw.Total())), raw.Plain
		m.CompressionRatio = raw.Ratio()
		if m.CompressionRatio > 0 {
			m.CompressionSpaceSaving = 100 * (1 - 1/m.CompressionRatio)
		}
		m.TotalBlobCount, m.Packs, m.RawSize, m.VerifiedDays = raw.Blobs, raw.Packs, raw.Total(), days
		m.Groups, m.GroupsSize = raw.Groups, raw.GroupBytes
		m.Deltas, m.DeltasSize, m.DeltasStored = raw.Deltas, raw.DeltaPlain, raw.DeltaStored
		verified, ever := share(raw.Verified, raw.Stored), share(raw.EverVerified, raw.Stored)
		m.Verified, m.EverVerified = &verified, &ever
	}
	if restored != nil {
		m.TotalSize, m.TotalFileCount, m.EntryCount = restored.Bytes, restored.Files, restored.Entries
	}
	return m
}

func share(part, total int64) float64 {
	if total == 0 {
		return 0
	}
	return float64(part) / float64(total)
}

// percent is rounded down: what is not all is not called so.
func percent(part, total int64) string {
	return fmt.Sprintf("%d %%", int(100*share(part, total)))
}
