package device

import (
	"time"

	"github.com/kura-backup/kura/source"
)

// Kind is of source.Source, and the key of Details.
const Kind = "device"

// detailsFormat is the only format of Details that there is.
const detailsFormat = 1

// Details are what a snapshot says of devices beside their content, under the key device.
type Details struct {
	Format  int      `json:"format"`
	Devices []Detail `json:"devices"`
}

// Detail is about one device.
type Detail struct {
	Path     string `json:"path"`               // in the snapshot
	Resolved string `json:"resolved,omitempty"` // where the device was, without symlinks
	Type     string `json:"type"`               // "block" or "file"
	Size     int64  `json:"size"`
	Root     string `json:"root,omitempty"` // see the package's documentation; empty if not all was read
	Read     int64  `json:"read"`           // bytes
	State    string `json:"state,omitempty"`
	Since    string `json:"since,omitempty"` // the state that the map began with, of which what is the same was taken
	// Live says that the device was in use and that there was no snapshot of it: what was read may never have been there at one time.
	Live     bool            `json:"live,omitempty"`
	Snapshot *SnapshotDetail `json:"snapshot,omitempty"`
}

// SnapshotDetail is about the snapshot from which a device was read.
type SnapshotDetail struct {
	Kind     string            `json:"kind"`
	Name     string            `json:"name"`
	Made     time.Time         `json:"made"`
	FrozenMS float64           `json:"frozen_ms,omitempty"`
	LockedMS float64           `json:"locked_ms,omitempty"`
	Lock     map[string]string `json:"lock,omitempty"` // what the lock's command says of itself, such as coordinates
}

// ReadDetails reads the details of a snapshot. Those of another kind of snapshot say of no device; if this version does not know how to read
// them the error is source.ErrNewer.
func ReadDetails(text []byte) (*Details, error) {
	d := new(Details)
	if ok, err := source.ReadDetails(text, Kind, detailsFormat, d); err != nil || !ok {
		return new(Details), err
	}
	return d, nil
}

// Find returns what is said of a path, or nil.
func (d *Details) Find(path string) *Detail {
	for i := range d.Devices {
		if d.Devices[i].Path == path {
			return &d.Devices[i]
		}
	}
	return nil
}
