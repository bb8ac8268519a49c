package backends

import (
	"errors"
	"fmt"
)

var (
	// ErrExist is returned by Put when the name is taken.
	ErrExist = errors.New("backends: object exists already")

	// ErrNotExist is returned by Get when there is no such object, and by Delete
	// of stores that can tell.
	ErrNotExist = errors.New("backends: no such object")

	// ErrName is returned for a name that [ValidName] refuses.
	ErrName = errors.New("backends: invalid object name")

	// ErrEmpty is returned by Put for an object without bytes: none of kura's
	// objects is empty, so that an empty one is always damage.
	ErrEmpty = errors.New("backends: refusing to put an object without bytes")

	// ErrTooLarge is returned by a Get of a whole object that is larger than
	// [MaxObject]: it is none of kura's, and reading it could take all memory.
	ErrTooLarge = errors.New("backends: object is larger than any of a repository")

	// ErrNoStore is returned when a store is opened where there is none.
	ErrNoStore = errors.New("backends: no store at this place")

	// ErrUnsettled is returned by [Settle] when an object may have been created, and it can not be found out.
	ErrUnsettled = errors.New("backends: whether the object was created is unknown")

	// ErrRange is wrapped by every [*RangeError].
	ErrRange = errors.New("backends: range outside of the object")
)

// MaxObject is the most bytes that are read of an object whose size the caller
// does not know.
const MaxObject = 1 << 30

// Kind says what the caller of a failed operation may do. It belongs to the
// error, since only the backend knows what its failures mean.
type Kind uint8

const (
	// Permanent: trying again would fail again. The kind of every error that
	// does not say otherwise.
	Permanent Kind = iota

	// Transient: nothing was done; the same call may succeed later.
	Transient

	// Unclear: the operation may have been done, or may still be done. Look
	// at the name first; then, if need be, try again.
	Unclear
)

func (k Kind) String() string {
	switch k {
	case Permanent:
		return "permanent"
	case Transient:
		return "transient"
	case Unclear:
		return "unclear"
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Error is an operation that failed on an object. Values are immutable.
type Error struct {
	Op   string // "put", "get", "list", "delete"
	Name string // of the object; of a List, the prefix
	Kind Kind
	Err  error

	// Answered says that the store has failed the operation itself, so that it is there, busy as it may be.
	Answered bool
}

func (e *Error) Error() string {
	if e.Name == "" {
		return e.Op + ": " + e.Err.Error()
	}
	return e.Op + " " + e.Name + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of the outermost [*Error] in err's tree, and
// Permanent if there is none.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Permanent
}

// IsTransient says whether nothing was done and trying again may help.
func IsTransient(err error) bool { return KindOf(err) == Transient }

// IsUnclear says whether the operation may have been done all the same.
func IsUnclear(err error) bool { return KindOf(err) == Unclear }

// RangeError is a Get of bytes that the object does not have. It wraps
// [ErrRange]. An object shorter than the caller has reason to expect is damage;
// the error carries its identity.
type RangeError struct {
	Name           string
	Offset, Length int64 // as asked for
	Size           int64 // of the object
}

func (e *RangeError) Error() string {
	if e.Length < 0 {
		return fmt.Sprintf("%v: %s: bytes from %d on of %d", ErrRange, e.Name, e.Offset, e.Size)
	}
	return fmt.Sprintf("%v: %s: %d bytes from %d of %d", ErrRange, e.Name, e.Length, e.Offset, e.Size)
}

func (e *RangeError) Unwrap() error { return ErrRange }
