package pack

import (
	"encoding/binary"
	"fmt"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/seal"
)

// TrailerSize is the length of what follows the sealed directory.
const TrailerSize = 8

const magic = "KPAK"

// DirectoryRange says where the sealed directory lies in a pack of the given size, by the
// pack's last bytes.
func DirectoryRange(size int64, trailer [TrailerSize]byte) (offset, length int64, err error) {
	if size < seal.HeaderSize+minStored+seal.Overhead+TrailerSize || size > MaxPackSize {
		return 0, 0, fmt.Errorf("%w: pack of %d bytes", ErrInvalid, size)
	}
	if string(trailer[4:]) != magic {
		return 0, 0, fmt.Errorf("%w: no %q at the end", ErrInvalid, magic)
	}
	length = int64(binary.LittleEndian.Uint32(trailer[:4]))
	offset = size - TrailerSize - length
	if length < seal.Overhead || offset < seal.HeaderSize+minStored {
		return 0, 0, fmt.Errorf("%w: directory of %d bytes in a pack of %d", ErrInvalid, length, size)
	}
	return offset, length, nil
}

// OpenDirectory reads the directory of a whole pack.
func OpenDirectory(k *seal.Keyring, class object.Class, obj []byte) (*Directory, error) {
	if len(obj) < seal.HeaderSize+TrailerSize {
		return nil, fmt.Errorf("%w: pack of %d bytes", ErrInvalid, len(obj))
	}
	size := int64(len(obj))
	offset, length, err := DirectoryRange(size, [TrailerSize]byte(obj[size-TrailerSize:]))
	if err != nil {
		return nil, err
	}
	return OpenDirectoryParts(k, class, obj[:seal.HeaderSize], obj[offset:offset+length], size)
}

// OpenDirectoryParts reads the directory of a pack of which only the header (its first
// seal.HeaderSize bytes) and the sealed directory are at hand.
func OpenDirectoryParts(k *seal.Keyring, class object.Class, header, sealed []byte, size int64) (*Directory, error) {
	if _, err := target(class); err != nil {
		return nil, err
	}
	env, err := k.OpenEnvelope(class, seal.BindRepo(k.RepoID()), header)
	if err != nil {
		return nil, err
	}
	if len(env.Clear()) != 0 {
		return nil, fmt.Errorf("%w: a pack has no clear part", ErrInvalid)
	}
	plain, err := env.OpenPart(nil, 0, sealed)
	if err != nil {
		return nil, err
	}
	d, err := DecodeDirectory(plain, size-TrailerSize-int64(len(sealed)))
	if err != nil {
		return nil, err
	}
	for i, o := range d.Origins {
		if o.Kind != kind(class) {
			return nil, fmt.Errorf("%w: origin %d is of the wrong kind for a %v pack", ErrInvalid, i, class)
		}
	}
	return d, nil
}
