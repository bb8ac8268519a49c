package seal

import (
	"errors"
	"fmt"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
)

var (
	// ErrWrongKey is returned when a key or credential is not the one an object was sealed
	// with. Nothing was decrypted.
	ErrWrongKey = errors.New("seal: wrong key")

	// ErrDamaged is returned for bytes that do not authenticate or break the format.
	ErrDamaged = errors.New("seal: damaged")

	// ErrFormat is returned, in a [FormatError], for bytes that are not an object of this
	// repository format: not kura's, or a newer program's.
	ErrFormat = errors.New("seal: unknown format")

	// ErrNoKey is returned when the keyring is whole but lacks the key that is needed: its
	// role does not have it, or its epoch is newer than the keyring.
	ErrNoKey = errors.New("seal: keyring lacks the key")

	// ErrLender is returned when whoever lent a keyring does not answer: nothing is known of what was to be opened.
	ErrLender = errors.New("seal: the lender of the keys does not answer")

	// ErrUnknownSigner is returned for a signed body whose signer is not known.
	ErrUnknownSigner = errors.New("seal: unknown signer")
)

// FormatError says what was not understood. It wraps [ErrFormat].
type FormatError struct {
	What   string // "magic", "class", "format", "suite", "header byte" or "key": which field is unknown
	Number int64  // its value; 0 for the magic
}

func (e *FormatError) Error() string {
	if e.What == "magic" {
		return fmt.Sprintf("%v: not a kura object", ErrFormat)
	}
	return fmt.Sprintf("%v: %s %d is not known to this program", ErrFormat, e.What, e.Number)
}

// Unwrap returns [ErrFormat], and [wire.ErrNewer] for a key, which is found behind the authentication.
func (e *FormatError) Unwrap() []error {
	if e.What == "key" {
		return []error{ErrFormat, wire.ErrNewer}
	}
	return []error{ErrFormat}
}

// newer reports whether a later version may have the number.
func (e *FormatError) newer() bool {
	switch e.What {
	case "format":
		return e.Number > FormatNumber
	case "class":
		return e.Number > int64(object.Record)
	case "suite":
		return e.Number > int64(ChaCha20Poly1305)
	}
	return e.What == "key" || e.What == "header byte"
}

// AsWritten returns an error about bytes that are as they were written: it wraps [wire.ErrNewer] where a newer program wrote them. Nobody
// knows that of a header before the hash of the object, or what it was taken from, is known to be right.
func AsWritten(err error) error {
	if f, ok := errors.AsType[*FormatError](err); ok && f.newer() && !errors.Is(err, wire.ErrNewer) {
		return fmt.Errorf("%w: %w", wire.ErrNewer, err)
	}
	return err
}

func damaged(class object.Class, format string, args ...any) error {
	return fmt.Errorf("%w: %s object: %s", ErrDamaged, class, fmt.Sprintf(format, args...))
}
