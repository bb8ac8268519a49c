package restore

import (
	"errors"
	"fmt"

	"github.com/kura-backup/kura/restore/internal/jail"
	"github.com/kura-backup/kura/tree"
)

// Overwrite says what becomes of a file that exists already. Files that a restore has left unfinished are
// completed whatever it says.
type Overwrite uint8

// The policies.
const (
	OverwriteAlways    Overwrite = iota // compare the content, and write what differs
	OverwriteIfChanged                  // the same, but take a file of the same size and time for unchanged
	OverwriteIfNewer                    // keep files unless that in the snapshot is newer
	OverwriteNever                      // keep files
)

var overwriteNames = [...]string{"always", "if-changed", "if-newer", "never"}

func (o Overwrite) String() string { return overwriteNames[o] }

// ParseOverwrite reads a policy: always, if-changed, if-newer or never.
func ParseOverwrite(s string) (Overwrite, error) {
	for i, name := range overwriteNames {
		if s == name {
			return Overwrite(i), nil
		}
	}
	return 0, fmt.Errorf("%w: overwrite policy %q is none of always, if-changed, if-newer, never", ErrOptions, s)
}

// errKept is returned where something must not be replaced that is in the way of a folder.
var errKept = errors.New("restore: something that is no folder is in the way and is to be kept")

// keeps reports whether an existing entry, which is no folder, stays as it is where one of the given time
// would be restored.
func (o Overwrite) keeps(old *jail.Info, mtime tree.Time) bool {
	if old.IsFile() && old.Mode == jail.Unfinished {
		return false
	}
	switch o {
	case OverwriteNever:
		return true
	case OverwriteIfNewer:
		return mtime.IsZero() || mtime.Sec < old.Sec || mtime.Sec == old.Sec && mtime.Nsec <= old.Nsec
	}
	return false
}

// trusts reports whether a file of the given size and time is taken for unchanged without a look at its content.
func (o Overwrite) trusts(old *jail.Info, f *file) bool {
	return o == OverwriteIfChanged && old.Mode != jail.Unfinished && old.Size == f.size && f.meta.hasTime(old)
}

func (m *meta) hasTime(old *jail.Info) bool {
	return !m.mtime.IsZero() && m.mtime.Sec == old.Sec && m.mtime.Nsec == old.Nsec
}
