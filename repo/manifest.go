package repo

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/internal/zst"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/seal"
)

const (
	maxManifest = 16 << 20 // bytes of a manifest's plaintext
	maxDetails  = 1 << 20  // bytes of its details, of which source.MarshalDetails makes fewer: later ones may make more
)

// Manifest is what a snapshot says of itself: when, where, what, how complete.
type Manifest struct {
	Time     int64    `cbor:"1,keyasint"` // ns since 1970: what the user calls the snapshot's time
	Host     string   `cbor:"2,keyasint,omitempty"`
	User     string   `cbor:"3,keyasint,omitempty"`
	UID      uint32   `cbor:"4,keyasint,omitempty"`
	GID      uint32   `cbor:"5,keyasint,omitempty"`
	Paths    [][]byte `cbor:"6,keyasint"`
	Tags     []string `cbor:"7,keyasint,omitempty"`
	Root     []byte   `cbor:"8,keyasint"` // id of the tree page of /
	Parent   []byte   `cbor:"9,keyasint,omitempty"`
	Program  string   `cbor:"10,keyasint,omitempty"`
	Start    int64    `cbor:"11,keyasint,omitempty"` // ns since 1970
	End      int64    `cbor:"12,keyasint,omitempty"`
	Excludes []string `cbor:"13,keyasint,omitempty"`
	Summary  Summary  `cbor:"14,keyasint"`
	Partial  uint8    `cbor:"15,keyasint,omitempty"`
	Suspect  uint8    `cbor:"16,keyasint,omitempty"`
	Source   string   `cbor:"17,keyasint,omitempty"` // "files", or another kind of source
	// TimeGiven is 1 if Time is not that of the run, but was given by somebody who knows better.
	TimeGiven uint8 `cbor:"18,keyasint,omitempty"`
	// Original is the id of the snapshot of which this one is what repair could save.
	Original []byte `cbor:"19,keyasint,omitempty"`
	// CopyOf is the id of the snapshot, of another repository, of which this one is a copy; of a copy's copy,
	// that of the first.
	CopyOf []byte `cbor:"20,keyasint,omitempty"`
	// Details is what the source says of the snapshot beside its files, such as coordinates: a JSON object, or nothing. source.ReadDetails
	// reads it.
	Details string `cbor:"21,keyasint,omitempty"`
}

// SourceID is what copies of the snapshot refer to: its id, or that of the snapshot of which it is a copy itself.
func (s *Snapshot) SourceID() object.SessionID {
	if len(s.CopyOf) == len(s.ID) {
		return object.SessionID(s.CopyOf)
	}
	return s.ID
}

// Summary counts what a backup did.
type Summary struct {
	Files           uint64 `cbor:"1,keyasint,omitempty"`
	Dirs            uint64 `cbor:"2,keyasint,omitempty"`
	Others          uint64 `cbor:"3,keyasint,omitempty"`
	Bytes           uint64 `cbor:"4,keyasint,omitempty"` // of all files
	FilesNew        uint64 `cbor:"5,keyasint,omitempty"`
	FilesChanged    uint64 `cbor:"6,keyasint,omitempty"`
	FilesUnmodified uint64 `cbor:"7,keyasint,omitempty"`
	BytesAdded      uint64 `cbor:"8,keyasint,omitempty"` // plaintext of new blobs
	BytesStored     uint64 `cbor:"9,keyasint,omitempty"` // what they took in the store
	Errors          uint64 `cbor:"10,keyasint,omitempty"`
}

// RootID is the id of the snapshot's root page.
func (m *Manifest) RootID() (object.BlobID, error) {
	if len(m.Root) != len(object.BlobID{}) {
		return object.BlobID{}, fmt.Errorf("manifest with a root id of %d bytes", len(m.Root))
	}
	return object.BlobID(m.Root), nil
}

// PathStrings returns the paths that were backed up.
func (m *Manifest) PathStrings() []string {
	out := make([]string, len(m.Paths))
	for i, p := range m.Paths {
		out[i] = string(p)
	}
	return out
}

// Snapshot is a committed snapshot.
type Snapshot struct {
	ID       object.SessionID
	Manifest               // but for the tags: they are those that the snapshot has now
	Entry    *log.Snapshot // its place in the log's state
	Doubtful bool          // whether its time can not be right; set by FindDoubtful
	Ahead    bool          // whether that is because it is later than the commit

	// Err is set where the snapshot can not be opened: a DamageError, which mostly wraps an UnreadableError.
	// Then no more is known of it than Entry says, whose clock stands for its time.
	Err error
}

// When is the snapshot's time.
func (s *Snapshot) When() time.Time { return time.Unix(0, s.Time) }

// Complete reports whether the run that made the snapshot reached its end, and it can be read.
func (s *Snapshot) Complete() bool { return !s.Entry.Partial && s.Err == nil }

// Check returns an ErrManifest for a manifest that can not be written: one with text that is not UTF-8, or that is too large.
// Whoever is about to work for one asks before the work.
func (m *Manifest) Check() error {
	_, err := m.encode()
	return err
}

func (m *Manifest) encode() ([]byte, error) {
	if err := checkDetails(m.Details); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	plain, err := wire.Marshal(m)
	if err == nil && len(plain) > maxManifest {
		err = fmt.Errorf("it has %d bytes, with all paths, patterns and tags in it, and may have %d", len(plain), maxManifest)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	return plain, nil
}

// sealManifest encrypts m to whoever may read metadata.
func sealManifest(secret *seal.Secret, m *Manifest) (log.SealedManifest, error) {
	plain, err := m.encode()
	if err != nil {
		return log.SealedManifest{}, err
	}
	return sealMeta(secret, plain)
}

// sealMeta compresses and encrypts a structure of at most maxManifest bytes, with an origin of its own. What would not be read
// as it is is not written.
func sealMeta(secret *seal.Secret, plain []byte) (log.SealedManifest, error) {
	stored := zst.Encode(nil, plain, zst.Default)
	if again, err := zst.Decode(nil, stored, maxManifest); err != nil || !bytes.Equal(again, plain) {
		return log.SealedManifest{}, fmt.Errorf("repo: what was compressed reads otherwise: %w", errors.Join(err, ErrManifest))
	}
	origin, key, err := secret.NewOrigin()
	if err != nil {
		return log.SealedManifest{}, err
	}
	return log.SealedManifest{
		Origin:     *origin,
		Ciphertext: key.Seal(nil, 0, stored),
	}, nil
}

// openManifest decrypts and decodes a manifest.
func openManifest(keys *seal.Keyring, sm *log.SealedManifest) (*Manifest, error) {
	stored, err := openMeta(keys, sm)
	if err != nil {
		return nil, err
	}
	return DecodeManifest(stored)
}

// openMeta is the inverse of sealMeta, but for the compression.
func openMeta(keys *seal.Keyring, sm *log.SealedManifest) ([]byte, error) {
	if sm.Origin.Kind != seal.Meta {
		return nil, fmt.Errorf("it is sealed as %v", sm.Origin.Kind) // which a maintainer could not open
	}
	key, err := keys.OpenOrigin(&sm.Origin)
	if err != nil {
		return nil, err
	}
	return key.Open(nil, 0, sm.Ciphertext)
}

// DecodeManifest decodes the decrypted bytes of a manifest. It never panics and allocates at most a
// bounded multiple of what maxManifest allows.
func DecodeManifest(stored []byte) (*Manifest, error) {
	plain, err := zst.Decode(nil, stored, maxManifest)
	if err != nil {
		return nil, err
	}
	m := new(Manifest)
	if err := wire.Unmarshal(plain, m); err != nil {
		return nil, err
	}
	if _, err := m.RootID(); err != nil {
		return nil, err
	}
	if err := checkDetails(m.Details); err != nil {
		return nil, err
	}
	return m, nil
}

func checkDetails(s string) error {
	if s == "" {
		return nil
	}
	if len(s) > maxDetails || !strings.HasPrefix(strings.TrimLeft(s, " \t\r\n"), "{") || !json.Valid([]byte(s)) {
		return fmt.Errorf("manifest with details of %d bytes that are no JSON object of at most 1 MiB", len(s))
	}
	return nil
}
