package tree

import (
	"errors"
	"fmt"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
)

var (
	// ErrInvalid is returned for pages and nodes that break the format, whether decoded or to be encoded.
	ErrInvalid = errors.New("tree: invalid")
	// ErrTooDeep is returned where folders are nested, or pages of one folder stacked, deeper than is allowed.
	ErrTooDeep = errors.New("tree: too deep")
)

// PageError says which stored page is damaged. It wraps the reason.
type PageError struct {
	ID  object.BlobID
	Err error
}

func (e *PageError) Error() string { return fmt.Sprintf("tree page %s: %v", e.ID.Short(), e.Err) }

// Unwrap returns the reason.
func (e *PageError) Unwrap() error { return e.Err }

// newer is the error for what no page of this version has, and a later one's may: it wraps [ErrInvalid] and [wire.ErrNewer].
func newer(format string, args ...any) error {
	return fmt.Errorf("%w: %w: %s", ErrInvalid, wire.ErrNewer, fmt.Sprintf(format, args...))
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}
