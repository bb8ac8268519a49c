package device

import (
	"errors"
	"fmt"
)

// What can be wrong with a device.
var (
	ErrKind    = errors.New("device: neither a block device nor a file")
	ErrEmpty   = errors.New("device: has no bytes")
	ErrResized = errors.New("device: its size changed while it was read")
	ErrEnded   = errors.New("device: ended before its size")
)

// What can be wrong with a map.
var (
	ErrMap   = errors.New("device: not a map")
	ErrSince = errors.New("device: the map is not about what changed since the parent snapshot")
)

// What can be wrong with what is to be written.
var (
	ErrInUse  = errors.New("device: is in use")
	ErrSmall  = errors.New("device: is too small")
	ErrSize   = errors.New("device: has another size")
	ErrVerify = errors.New("device: reads otherwise than it was written")
)

// ReadError is a part of a device that could not be read.
type ReadError struct {
	Path   string
	Offset int64
	Err    error
}

func (e *ReadError) Error() string {
	return fmt.Sprintf("device: %s can not be read at byte %d: %v", e.Path, e.Offset, e.Err)
}

func (e *ReadError) Unwrap() error { return e.Err }

// UseError says who uses a device that nobody else may use.
type UseError struct {
	Path string
	By   string
}

func (e *UseError) Error() string { return fmt.Sprintf("device: %s is in use: %s", e.Path, e.By) }

// Is reports whether target is ErrInUse.
func (e *UseError) Is(target error) bool { return target == ErrInUse }
