package remote

import (
	"errors"
	"fmt"

	"github.com/kura-backup/kura/remote/frames"
)

var (
	// ErrCut is wrapped by every error that comes of a connection that ended before the command had.
	ErrCut = frames.ErrCut

	// ErrProtocol is wrapped by the errors of a connection whose other side does not keep to the protocol.
	ErrProtocol = frames.ErrProtocol

	// ErrVersion is wrapped by the error of a Dial or Serve whose other side is another version of the program.
	ErrVersion = errors.New("remote: the other side is another version of kura")

	// ErrDenied is wrapped by the errors of requests that the far side may not make.
	ErrDenied = errors.New("remote: the command may not do this")

	// ErrClosed is returned by calls on a Peer that was closed, or has finished.
	ErrClosed = errors.New("remote: the connection is closed")
)

func unexpected(f frames.Frame) error {
	return fmt.Errorf("%w: frame of type %d with id %d", ErrProtocol, f.Type, f.ID)
}

func otherVersion(there, here string) error {
	return fmt.Errorf("%w: %.40q, and this one is %q", ErrVersion, there, here)
}

// readRow reads a row of id 0, when nothing else is under way.
func readRow(c *frames.Conn, size, most uint32) ([]byte, error) {
	if size == 0 || size > most {
		return nil, fmt.Errorf("%w: greeting of %d bytes", ErrProtocol, size)
	}
	var row []byte
	for uint32(len(row)) < size {
		f, err := c.Read()
		if err != nil {
			return nil, err
		}
		if f.Type != frames.Data || f.ID != 0 || len(f.Payload) == 0 || uint32(len(row)+len(f.Payload)) > size {
			return nil, unexpected(f)
		}
		row = append(row, f.Payload...)
	}
	return row, nil
}

// NoPeerError says that what answered is not this program. It wraps ErrProtocol.
type NoPeerError struct{ Said []byte } // the first bytes that came

func (e *NoPeerError) Error() string {
	return fmt.Sprintf("remote: what answered is not kura: it said %q", e.Said)
}

func (e *NoPeerError) Unwrap() error { return ErrProtocol }
