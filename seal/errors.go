package seal

import (
	"errors"
	"fmt"

	"github.com/kura-backup/kura/internal/object"
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

	// ErrUnknownSigner is returned for a signed body whose signer is not known.
	ErrUnknownSigner = errors.New("seal: unknown signer")
)

// FormatError says what was not understood. It wraps [ErrFormat].
type FormatError struct {
	What   string // "magic", "class", "format", "suite" or "key": which field is unknown
	Number int64  // its value; 0 for the magic
}

func (e *FormatError) Error() string {
	if e.What == "magic" {
		return fmt.Sprintf("%v: not a kura object", ErrFormat)
	}
	return fmt.Sprintf("%v: %s %d is not known to this program", ErrFormat, e.What, e.Number)
}

// Unwrap returns [ErrFormat].
func (e *FormatError) Unwrap() error { return ErrFormat }

func damaged(class object.Class, format string, args ...any) error {
	return fmt.Errorf("%w: %s object: %s", ErrDamaged, class, fmt.Sprintf(format, args...))
}
