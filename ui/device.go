package ui

import (
	"fmt"
	"strings"
	"time"

	"github.com/kura-backup/kura/source/device"
	"github.com/kura-backup/kura/source/device/snapshot"
)

type deviceRead struct {
	MessageType string `json:"message_type"`
	device.Detail
}

// DeviceRead reports that a device was read.
func (t *Terminal) DeviceRead(d device.Detail) {
	if t.JSON {
		t.Message(deviceRead{"device", d})
		return
	}
	if t.Quiet {
		return
	}
	line := fmt.Sprintf("read %s of %s, which has %s", Bytes(uint64(d.Read)), t.Printable(d.Path), Bytes(uint64(d.Size)))
	if d.Since != "" {
		line += "; the rest is as before"
	}
	if s := d.Snapshot; s != nil {
		line += fmt.Sprintf(" (from the %s snapshot %s", s.Kind, s.Name)
		if s.FrozenMS > 0 {
			line += fmt.Sprintf(", frozen for %.1f ms", s.FrozenMS)
		}
		if s.LockedMS > 0 {
			line += fmt.Sprintf(", locked for %.1f ms", s.LockedMS)
		}
		line += ")"
	}
	t.Print(line)
}

// DeviceResult is all that is said at the end of a restore of a device.
type DeviceResult struct {
	*device.Restored
	SnapshotID, Path, Target string
	Size                     int64
	Root                     bool // that there was a root hash to compare with
	DryRun                   bool
	Elapsed                  time.Duration
}

type deviceRestored struct {
	MessageType    string  `json:"message_type"`
	SnapshotID     string  `json:"snapshot_id"`
	Path           string  `json:"path"`
	Target         string  `json:"target"`
	TotalBytes     int64   `json:"total_bytes"`
	BytesUnchanged int64   `json:"bytes_unchanged"`
	BytesFetched   int64   `json:"bytes_fetched"`
	BytesWritten   int64   `json:"bytes_written"`
	BytesZeroed    int64   `json:"bytes_zeroed"`
	BytesVerified  int64   `json:"bytes_verified"`
	RootVerified   bool    `json:"root_verified"`
	DryRun         bool    `json:"dry_run"`
	SecondsElapsed float64 `json:"total_duration"`
}

// DeviceRestored reports what the restore of a device did.
func (t *Terminal) DeviceRestored(r DeviceResult) {
	if t.JSON {
		t.Message(deviceRestored{
			MessageType: "summary", SnapshotID: r.SnapshotID, Path: r.Path, Target: r.Target, TotalBytes: r.Size,
			BytesUnchanged: r.Same.Load(), BytesFetched: r.Fetched.Load(), BytesWritten: r.Written.Load(), BytesZeroed: r.Zeroed.Load(),
			BytesVerified: r.Checked.Load(), RootVerified: r.Root && !r.DryRun, DryRun: r.DryRun, SecondsElapsed: r.Elapsed.Seconds(),
		})
		return
	}
	if t.Quiet {
		return
	}
	bytes := func(n int64) string { return Bytes(uint64(n)) }
	if r.DryRun {
		t.Print(fmt.Sprintf("would fetch %s for %s, which has %s, and make %s zero", bytes(r.Fetched.Load()), t.Printable(r.Target), bytes(r.Size), bytes(r.Zeroed.Load())))
		return
	}
	parts := []string{"wrote " + bytes(r.Written.Load())}
	if n := r.Zeroed.Load(); n > 0 {
		parts = append(parts, "made "+bytes(n)+" zero")
	}
	if n := r.Same.Load(); n > 0 {
		parts = append(parts, "found "+bytes(n)+" there already")
	}
	t.Print(fmt.Sprintf("restored %s to %s in %s: %s", bytes(r.Size), t.Printable(r.Target), Duration(r.Elapsed), strings.Join(parts, ", ")))
	how := "each chunk is what was backed up"
	if r.Root {
		how = "the hash of all of it is that of what was read for the backup"
	}
	t.Print(fmt.Sprintf("read %s again: %s", bytes(r.Checked.Load()), how))
}

type deviceLeft struct {
	MessageType string `json:"message_type"`
	Kind        string `json:"kind"`
	Name        string `json:"name"`
	Of          string `json:"of"`
}

// SnapshotRemoved reports that a snapshot of a device that a dead run had left was removed.
func (t *Terminal) SnapshotRemoved(c *snapshot.Copy) {
	switch {
	case t.JSON:
		t.Message(deviceLeft{"snapshot_removed", c.Kind, c.Name, c.Of})
	case !t.Quiet:
		t.Print(fmt.Sprintf("removed the %s snapshot %s of %s", c.Kind, c.Name, t.Printable(c.Of)))
	}
}
