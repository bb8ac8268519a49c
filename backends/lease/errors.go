package lease

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/kura-backup/kura/backends"
)

var (
	// ErrHeld is wrapped by every [*HeldError].
	ErrHeld = errors.New("lease: another client is writing")

	// ErrLost is returned when the lease was found to have expired, or to have been
	// taken away, while a change was under way.
	ErrLost = errors.New("lease: the lease was lost")

	// ErrNotListed is returned when the store does not list what it has just
	// stored: no lease can work there.
	ErrNotListed = errors.New("lease: the store does not list what was just put")
)

// HeldError is a change that was refused because another client holds the lease.
// It wraps [ErrHeld].
type HeldError struct {
	Holder Holder

	young bool // so much so that the other may only be trying, as this client is
}

func (e *HeldError) Error() string {
	return fmt.Sprintf("%v: %v", ErrHeld, e.Holder)
}

func (e *HeldError) Unwrap() error { return ErrHeld }

// UnsettledError is returned by Close when the lease was not given back. It
// wraps [backends.ErrUnsettled].
type UnsettledError struct {
	Names []string // that were put without a clear answer
}

func (e *UnsettledError) Error() string {
	return fmt.Sprintf("%v (%s): the lease stays for %v, so that nobody else uses the name before",
		backends.ErrUnsettled, strings.Join(e.Names, ", "), Expiry)
}

func (e *UnsettledError) Unwrap() error { return backends.ErrUnsettled }

// Holder is a client that has a lease. What it says of itself is not to be
// trusted, only to be shown.
type Holder struct {
	ID      string    // 16 hexadecimal digits
	Host    string    // empty if the lease can not be read
	PID     int       // of the process on the host
	Renewed time.Time // by the store's clock
	Said    time.Time // the same by the holder's clock; zero if the lease can not be read

	last  uint64   // its newest lease; 0 if it has ended
	ended uint64   // the newest that has
	size  int64    // of the newest lease
	all   []string // the names of all its objects
}

func (h Holder) String() string {
	if h.Host == "" {
		return fmt.Sprintf("an unknown client (%s%s), since %s", class, h.ID, h.Renewed.UTC().Format(time.RFC3339))
	}
	return fmt.Sprintf("process %d on host %q, seen %s", h.PID, h.Host, h.Renewed.UTC().Format(time.RFC3339))
}
