package backup

import "errors"

var (
	// ErrNothing is returned when none of the given paths can be read.
	ErrNothing = errors.New("backup: none of the given paths can be read")

	// ErrVanished is wrapped when an entry was removed after its folder had been listed. It is not
	// in the snapshot. Entries that are gone by the time their folder is listed are not missed; these
	// are reported only because their folder may have been caught in the middle of a change.
	ErrVanished = errors.New("vanished while the backup was running")

	// ErrChanged is wrapped when a file was written to while it was read. The snapshot has what
	// was read, which may be neither the old state nor the new one.
	ErrChanged = errors.New("changed while it was read")

	errNoMatch = errors.New("nothing matches this pattern")
	errOwn     = errors.New("belongs to kura's own repository or cache, which no backup has in it")
)
