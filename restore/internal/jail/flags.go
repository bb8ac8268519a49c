package jail

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Inode flags, as FS_IOC_SETFLAGS takes them.
const (
	FlagImmutable  = 0x10
	FlagAppend     = 0x20
	FlagCompress   = 0x4
	FlagNoCompress = 0x400
	FlagNoCOW      = 0x800000
	FlagNoDump     = 0x40
	FlagNoAtime    = 0x80

	// FlagsForContent are those that say how what is written later is stored.
	FlagsForContent = FlagCompress | FlagNoCompress | FlagNoCOW
	// FlagsThatLock are those after which an entry can no longer be changed or linked.
	FlagsThatLock = FlagImmutable | FlagAppend
	// FlagsSettable are all that a user can set. The others tell how the file system stores the file.
	FlagsSettable = FlagsForContent | FlagsThatLock | FlagNoDump | FlagNoAtime |
		0x1 | 0x2 | 0x8 | // secure deletion, undeletable, synchronous
		0x4000 | 0x8000 | 0x10000 | 0x20000 | // journalled data, no tails, synchronous folder, top folder
		0x2000000 | 0x20000000 // direct access, project inherited

	FlagEncrypted = 0x800
	FlagVerity    = 0x100000
	FlagCasefold  = 0x40000000

	// FlagsNoted are those that say something of the source but are not set: they come with keys, signatures, or
	// the features of a file system.
	FlagsNoted = FlagEncrypted | FlagVerity | FlagCasefold
)

// FlagsError says which flags could not be set; the others are.
type FlagsError struct {
	Refused uint32
	Err     error
}

func (e *FlagsError) Error() string { return fmt.Sprintf("inode flags %#x: %v", e.Refused, e.Err) }
func (e *FlagsError) Unwrap() error { return e.Err }

// AddFlags sets inode flags, those that lock the entry last. If some are refused the others are set all the
// same, and the error is a [FlagsError]. The entry must not be pinned only.
func (h *Handle) AddFlags(flags uint32) error {
	if flags &= FlagsSettable; flags == 0 {
		return nil
	}
	now, err := h.flags()
	if err != nil {
		return &FlagsError{flags, err}
	}
	if now|flags == now || h.setFlags(now|flags) == nil {
		return nil
	}
	var refused uint32
	for _, mask := range []uint32{^uint32(FlagsThatLock), FlagsThatLock} {
		for rest := flags & mask &^ now; rest != 0; rest &= rest - 1 {
			one := rest & -rest
			if e := h.setFlags(now | one); e != nil {
				refused, err = refused|one, e
			} else {
				now |= one
			}
		}
	}
	if refused == 0 {
		return nil
	}
	return &FlagsError{refused, err}
}

// LacksFlags returns which of the flags the entry does not have. The entry must not be pinned only.
func (h *Handle) LacksFlags(flags uint32) uint32 {
	if flags == 0 {
		return 0
	}
	now, _ := h.flags() // a file system without flags has none
	return flags &^ now
}

func (h *Handle) flags() (flags uint32, err error) {
	err = retry(func() (err error) {
		flags, err = unix.IoctlGetUint32(h.fd, unix.FS_IOC_GETFLAGS)
		return err
	})
	return flags, wrap("getflags", err)
}

func (h *Handle) setFlags(flags uint32) error {
	return wrap("setflags", retry(func() error {
		return unix.IoctlSetPointerInt(h.fd, unix.FS_IOC_SETFLAGS, int(flags))
	}))
}
