package sftp

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"

	"github.com/pkg/sftp"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/sshrun"
)

var (
	// ErrConnection is wrapped by every [*ConnectionError].
	ErrConnection = errors.New("sftp: the connection is lost")

	errClosed = errors.New("sftp: the store is closed")
)

// ConnectionError is a connection that was not established, or broke. It wraps [ErrConnection].
type ConnectionError struct {
	Err    error
	Said   string // what ssh printed last
	denied bool   // the same again would be in vain
}

func (e *ConnectionError) Error() string {
	if e.Said != "" {
		return fmt.Sprintf("%v: ssh says: %s", ErrConnection, e.Said)
	}
	return fmt.Sprintf("%v: %v", ErrConnection, e.Err)
}

// Unwrap keeps the cause to itself: that ssh was not found is not that an object was not.
func (e *ConnectionError) Unwrap() error { return ErrConnection }

// failure is what there is to say about a connection that failed with err, after its process has ended.
func failure(p *sshrun.Process, err error) *ConnectionError {
	said, err := p.Failure(err)
	return &ConnectionError{Err: err, Said: said, denied: sshrun.IsInVain(said)}
}

// kind is that of an error which is not about a Put or Delete that may have been done.
func (e *ConnectionError) kind() backends.Kind {
	if e.denied {
		return backends.Permanent
	}
	return backends.Transient
}

// The codes of answers that package sftp does not translate.
const (
	codeFailure        = 4
	codeNoConnection   = 6
	codeConnectionLost = 7
	codeUnsupported    = 8
)

// answered says whether an error is the server's answer to a request. Otherwise the connection is of no use
// any more.
func answered(err error) bool {
	for _, answer := range []error{fs.ErrNotExist, fs.ErrPermission, io.EOF, errors.ErrUnsupported} {
		if errors.Is(err, answer) {
			return true
		}
	}
	status, ok := errors.AsType[*sftp.StatusError](err)
	return ok && status.Code != codeNoConnection && status.Code != codeConnectionLost
}

func hasCode(err error, code uint32) bool {
	status, ok := errors.AsType[*sftp.StatusError](err)
	return ok && status.Code == code
}

// translated says in the words of package durable what a server has answered.
func translated(err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: the server says: %w", backends.ErrDenied, syscall.EPERM)
	case hasCode(err, codeUnsupported):
		return fmt.Errorf("%w (%w)", errors.ErrUnsupported, err)
	}
	return err
}
