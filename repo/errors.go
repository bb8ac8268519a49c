package repo

import (
	"errors"
	"fmt"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
)

var (
	// ErrNoRepository is returned by Open when there is no repository at the place.
	ErrNoRepository = errors.New("repo: there is no repository here")

	// ErrExists is returned by Init when there is a repository already.
	ErrExists = errors.New("repo: there is a repository here already")

	// ErrSingleWriter is returned by Open for a repository into which only one client at a time may write, when
	// the caller does not see to that.
	ErrSingleWriter = errors.New("repo: only one client at a time may write into this repository")

	// ErrWrongKey is returned by Open when no key slot fits the password or key file.
	ErrWrongKey = errors.New("repo: wrong password or key")

	// ErrStale is returned by Session.Commit when packs that the session relied on were
	// collected meanwhile, the session was revoked, or the keys were rotated. Nothing is committed. The caller
	// resolves all blobs again in a new session, which finds what this one has stored.
	ErrStale = errors.New("repo: packs relied on were collected meanwhile")

	// ErrNotFound is wrapped when an id or a name of a snapshot fits none.
	ErrNotFound = errors.New("repo: not found")

	// ErrNotForgotten is wrapped when a snapshot that is to be brought back was not forgotten.
	ErrNotForgotten = errors.New("repo: it is not forgotten")

	// ErrGone is wrapped when a forgotten snapshot was collected: nothing brings it back.
	ErrGone = errors.New("repo: its data was freed")

	// ErrManifest is wrapped by the error for a manifest that nobody could read.
	ErrManifest = errors.New("repo: not a manifest")

	// ErrTag is wrapped by the error for a tag that no snapshot can have.
	ErrTag = errors.New("repo: not a tag")

	// ErrSlotInUse is returned by RemoveSlot for the slot that this client opened the repository with.
	ErrSlotInUse = errors.New("repo: the key slot is the one in use")

	// ErrRotating is returned by ReplaceSlot while an owner gives out new keys, or when that was cut off. Once the keys
	// are rotated, all goes on.
	ErrRotating = errors.New("repo: new keys are being given out, or a rotation of the keys was cut off")

	// ErrBase is wrapped by the error for a delta of which a base can not be read.
	ErrBase = errors.New("it is needed to read a blob that is stored as a difference to it")

	// ErrHash says of an object, in a DamageError, that other bytes than its own lie under its name.
	ErrHash = errors.New("its bytes do not have the hash in its name")
)

// DamageError is stored data that is missing or is not what was written, or that this program does not understand (then it wraps
// [wire.ErrNewer]): it can not be used. It names the object and, where one is concerned, the blob.
type DamageError struct {
	Object string        // name in the store; empty if the index has no place for the blob
	Blob   object.BlobID // zero if the object as a whole is concerned
	Err    error
}

func (e *DamageError) Error() string {
	damaged := "damaged "
	if errors.Is(e.Err, wire.ErrNewer) {
		damaged = ""
	}
	switch {
	case e.Object == "":
		return fmt.Sprintf("%srepository: blob %v: %v", damaged, e.Blob, e.Err)
	case e.Blob.IsZero():
		return fmt.Sprintf("%sobject %s: %v", damaged, e.Object, e.Err)
	}
	return fmt.Sprintf("%sobject %s: blob %v: %v", damaged, e.Object, e.Blob, e.Err)
}

func (e *DamageError) Unwrap() error { return e.Err }
