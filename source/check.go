package source

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/kura-backup/kura/tree"
)

// maxFolders bounds how deep a path may be.
const maxFolders = 4096

// ErrNewer is what ReadDetails says of details that this version does not know.
var ErrNewer = errors.New("source: it was written by a newer kura, and its files can still be restored with kura restore")

// Mistakes of sources, which Writers report.
var (
	ErrPath    = errors.New("source: not a path of a snapshot")
	ErrTwice   = errors.New("source: written twice")
	ErrOpen    = errors.New("source: a file was not closed")
	ErrNode    = errors.New("source: not a node of this kind of entry")
	ErrRange   = errors.New("source: ranges do not follow one another")
	ErrDetails = errors.New("source: details are not a JSON object of at most 64 KiB")
)

// CheckPath returns ErrPath unless p is an absolute and clean path of something below the root.
func CheckPath(p string) error {
	if len(p) < 2 || p[0] != '/' || path.Clean(p) != p || strings.IndexByte(p, 0) >= 0 || strings.Count(p, "/") > maxFolders {
		return fmt.Errorf("%w: %q", ErrPath, p)
	}
	for name := range strings.SplitSeq(p[1:], "/") {
		if len(name) > tree.MaxName {
			return fmt.Errorf("%w: a name of %d bytes", ErrPath, len(name))
		}
	}
	return nil
}

// CheckRanges returns ErrRange unless ranges follow one another from start on and are of known kinds.
func CheckRanges(start int64, ranges []Range) error {
	for _, r := range ranges {
		if r.Start != start || r.Length < 0 || start+r.Length < start || r.Kind < Data || r.Kind > Same {
			return fmt.Errorf("%w: %d bytes of %v at %d, where %d was next", ErrRange, r.Length, r.Kind, r.Start, start)
		}
		start += r.Length
	}
	return nil
}
