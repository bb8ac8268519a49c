package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/kura-backup/kura/internal/durable"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
)

const (
	manifestName  = "manifest"
	layoutVersion = 2 // of the folder; another number means: build anew
	maxManifest   = 256 << 20
)

// manifest names the current levels, oldest first. The file is its encoding and a hash of that.
type manifest struct {
	Version    int     `cbor:"1,keyasint"`
	Levels     []level `cbor:"2,keyasint"`
	NextSource uint32  `cbor:"3,keyasint"`
}

// level describes one file.
type level struct {
	ID      [8]byte     `cbor:"1,keyasint"`
	Size    int64       `cbor:"2,keyasint"`
	Hash    object.Hash `cbor:"3,keyasint"`
	Blobs   uint64      `cbor:"4,keyasint"` // keys
	Packs   numbers     `cbor:"5,keyasint"`
	Origins numbers     `cbor:"6,keyasint"`
	Secrets numbers     `cbor:"7,keyasint"`
	Sources []source    `cbor:"8,keyasint"`

	FilterBlocks uint64 `cbor:"9,keyasint"`
	Sketches     uint64 `cbor:"10,keyasint,omitempty"` // entries
}

// numbers are those that a level introduces: Base up to, not including, Base+Count.
type numbers struct {
	_     struct{} `cbor:",toarray"`
	Base  uint32
	Count uint32
}

func (n numbers) end() uint32            { return n.Base + n.Count }
func (n numbers) contains(i uint32) bool { return i >= n.Base && i-n.Base < n.Count }

// source is an index segment that a level contains.
type source struct {
	_       struct{} `cbor:",toarray"`
	Session object.SessionID
	Hash    object.Hash
	Number  uint32
	Places  uint64
}

func (s *source) ref() object.Ref {
	return object.Ref{Class: object.Index, Session: s.Session, Hash: s.Hash}
}

func (l *level) name() string { return fmt.Sprintf("level-%x.db", l.ID) }

func (l *level) places() uint64 {
	sum := uint64(0)
	for i := range l.Sources {
		sum += l.Sources[i].Places
	}
	return sum
}

// next returns the first unused numbers after the levels.
func next(levels []level) (packs, origins, secrets uint32) {
	if len(levels) == 0 {
		return 0, 0, 0
	}
	last := &levels[len(levels)-1]
	return last.Packs.end(), last.Origins.end(), last.Secrets.end()
}

// readManifest returns the current manifest. One that is missing, damaged or of another version
// is an empty one.
func readManifest(dir durable.FS) (*manifest, error) {
	empty := &manifest{Version: layoutVersion}
	f, err := dir.Open(manifestName)
	if errors.Is(err, fs.ErrNotExist) {
		return empty, nil
	}
	if err != nil {
		return nil, fmt.Errorf("local index: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("local index: %w", err)
	}
	const hash = len(object.Hash{})
	if info.Size() < int64(hash) || info.Size() > maxManifest {
		return empty, nil
	}
	data := make([]byte, info.Size())
	if _, err := f.ReadAt(data, 0); err != nil {
		return nil, fmt.Errorf("local index: manifest: %w", err)
	}
	body, sum := data[:len(data)-hash], object.Hash(data[len(data)-hash:])
	m := &manifest{}
	if object.Sum(body) != sum || wire.Unmarshal(body, m) != nil || m.Version != layoutVersion || !m.consistent() {
		return empty, nil
	}
	return m, nil
}

// consistent reports whether the ranges of numbers follow one another.
func (m *manifest) consistent() bool {
	for i := range m.Levels {
		l := &m.Levels[i]
		packs, origins, secrets := next(m.Levels[:i])
		if l.Packs.Base != packs || l.Origins.Base != origins || l.Secrets.Base != secrets {
			return false
		}
		for _, s := range l.Sources {
			if s.Number >= m.NextSource {
				return false
			}
		}
	}
	return true
}

func (m *manifest) write(ctx context.Context, dir durable.FS) error {
	body, err := wire.Marshal(m)
	if err != nil {
		return err
	}
	sum := object.Sum(body)
	if err := durable.WriteReplace(ctx, dir, manifestName, append(body, sum[:]...)); err != nil {
		return fmt.Errorf("local index: %w", err)
	}
	return nil
}
