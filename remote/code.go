package remote

import (
	"context"
	"errors"
	"syscall"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/index/local"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/seal"
)

// code says which error it was, for those that somebody tells from others.
type code uint8

// codes are the errors by their codes. Numbers stay, more are added at the end. The first that fits counts.
var codes = []error{
	1: errors.New("remote: failed"), // any other
	backends.ErrExist, backends.ErrNotExist, backends.ErrName, backends.ErrEmpty, backends.ErrTooLarge, backends.ErrNoStore,
	backends.ErrDenied, backends.ErrNoCreateOnly, backends.ErrLocked, backends.ErrRange,
	ErrDenied, repo.ErrMoved, local.ErrDamaged, seal.ErrDamaged, seal.ErrNoKey, log.ErrRotated, log.ErrWithdrawn,
	syscall.EIO, syscall.ENOSPC, context.Canceled, wire.ErrNewer,
}

// farError is an error as the other side has put it.
type farError struct {
	text string
	is   error
}

func (e *farError) Error() string { return e.text }
func (e *farError) Unwrap() error { return e.is }

// maxText bounds the text of an error.
const maxText = 4 << 10

// refuse is the reply of an error.
func refuse(err error) reply {
	r := reply{Code: 1, Kind: backends.KindOf(err), Text: err.Error()}
	var e *backends.Error
	if errors.As(err, &e) { // the rest is said where it is made an error again
		r.Text = e.Err.Error()
	}
	r.Text = valid(r.Text[:min(len(r.Text), maxText)])
	for i := 2; i < len(codes); i++ {
		if errors.Is(err, codes[i]) {
			r.Code = code(i)
			break
		}
	}
	if short := (*backends.RangeError)(nil); errors.As(err, &short) {
		r.Size = short.Size
	}
	return r
}

// failure is the error in a reply to a request, or nil.
func (r *reply) failure(q *request) error {
	if r.Code == 0 {
		return nil
	}
	is := codes[1]
	if int(r.Code) < len(codes) {
		is = codes[r.Code]
	}
	var err error = &farError{r.Text, is}
	if is == backends.ErrRange {
		err = &backends.RangeError{Name: q.Name, Offset: q.Offset, Length: q.Length, Size: r.Size}
	}
	if q.Op > opDelete {
		return err
	}
	return &backends.Error{Op: q.Op.String(), Name: q.Name, Kind: r.Kind, Err: err}
}
