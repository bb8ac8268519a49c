package pack

import (
	"encoding/binary"
	"fmt"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/pack/parity"
	"github.com/kura-backup/kura/seal"
)

// TrailerSize is the length of what follows the sealed directory in a pack without parity.
const TrailerSize = 8

// TailSize is how many of a pack's last bytes say where its directory is.
const TailSize = parity.FooterSize

const magic = "KPAK"

// DirectoryRange says where the sealed directory lies in a pack of the given size, by the pack's
// last bytes. In a pack with parity they are the section's footer.
func DirectoryRange(size int64, tail [TailSize]byte) (offset, length int64, err error) {
	if size > MaxPackSize {
		return 0, 0, fmt.Errorf("%w: pack of %d bytes", ErrInvalid, size)
	}
	body := size
	if f, ok := parity.ParseFooter(tail[:]); ok && f.Size() == size {
		body, length = int64(f.Body), int64(f.Value)
	} else if length, err = trailer(tail[TailSize-TrailerSize:]); err != nil {
		return 0, 0, err
	}
	offset = body - TrailerSize - length
	if length < seal.Overhead || offset < seal.HeaderSize+minStored {
		return 0, 0, fmt.Errorf("%w: directory of %d bytes in a pack of %d", ErrInvalid, length, size)
	}
	return offset, length, nil
}

// trailer reads the length of the sealed directory from what follows it.
func trailer(b []byte) (length int64, err error) {
	if string(b[4:]) != magic {
		return 0, fmt.Errorf("%w: no %q at the end", ErrInvalid, magic)
	}
	return int64(binary.LittleEndian.Uint32(b)), nil
}

// OpenDirectory reads the directory of a whole pack. It does not look at the parity.
func OpenDirectory(k *seal.Keyring, class object.Class, obj []byte) (*Directory, error) {
	if len(obj) < seal.HeaderSize+TailSize {
		return nil, fmt.Errorf("%w: pack of %d bytes", ErrInvalid, len(obj))
	}
	size := int64(len(obj))
	offset, length, err := DirectoryRange(size, [TailSize]byte(obj[size-TailSize:]))
	if err != nil {
		return nil, err
	}
	end := offset + length
	if n, err := trailer(obj[end : end+TrailerSize]); err != nil || n != length {
		return nil, fmt.Errorf("%w: the footer says %d, the trailer %d: %w", ErrInvalid, length, n, err)
	}
	return OpenDirectoryParts(k, class, obj[:seal.HeaderSize], obj[offset:end], offset)
}

// OpenDirectoryParts reads the directory of a pack of which only the header (its first
// seal.HeaderSize bytes) and the sealed directory are at hand, and the offset where that begins.
func OpenDirectoryParts(k *seal.Keyring, class object.Class, header, sealed []byte, offset int64) (*Directory, error) {
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
	d, err := DecodeDirectory(plain, offset)
	if err != nil {
		return nil, err
	}
	for i, o := range d.Origins {
		if o.Kind != kind(class) {
			return nil, fmt.Errorf("%w: origin %d is of the wrong kind for a %v pack", ErrInvalid, i, class)
		}
	}
	for i := range d.Segments {
		if err := d.Segments[i].checkIn(class); err != nil {
			return nil, fmt.Errorf("segment %d: %w", i, err)
		}
	}
	return d, nil
}
