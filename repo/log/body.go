package log

import (
	"fmt"

	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/seal"
)

type initBody struct {
	Signers []wireSigner `cbor:"1,keyasint"`
	Epoch   *wireEpoch   `cbor:"2,keyasint,omitempty"`
}

type keysBody struct {
	Signers  []wireSigner `cbor:"1,keyasint,omitempty"`
	Withdraw []byte       `cbor:"2,keyasint,omitempty"`
	Epoch    *wireEpoch   `cbor:"3,keyasint,omitempty"`
}

type snapshotBody struct {
	Manifest  SealedManifest `cbor:"1,keyasint"`
	Add       []wirePack     `cbor:"2,keyasint,omitempty"`
	Index     []wireIndex    `cbor:"3,keyasint,omitempty"`
	Supersede []byte         `cbor:"4,keyasint,omitempty"`
	Partial   uint8          `cbor:"5,keyasint,omitempty"`
	Run       []byte         `cbor:"6,keyasint"`
}

type forgetBody struct {
	Snapshots []byte `cbor:"1,keyasint"`
}

type tagBody struct {
	Snapshots []byte       `cbor:"1,keyasint"`
	TagsOf    []uint32     `cbor:"2,keyasint"`
	Tags      []SealedTags `cbor:"3,keyasint"`
}

type pinBody struct {
	Snapshots []byte `cbor:"1,keyasint"`
	Pinned    uint8  `cbor:"2,keyasint,omitempty"`
}

type collectBody struct {
	Drop    []byte      `cbor:"1,keyasint,omitempty"`
	Add     []wirePack  `cbor:"2,keyasint,omitempty"`
	Revoke  []byte      `cbor:"3,keyasint,omitempty"`
	Gone    []byte      `cbor:"4,keyasint,omitempty"`
	Replace []byte      `cbor:"5,keyasint,omitempty"`
	Index   []wireIndex `cbor:"6,keyasint,omitempty"`
}

// bodyOf returns the body that an entry has in the log.
func bodyOf(e *Entry) (any, error) {
	switch e.Kind {
	case KindInit:
		return initBody{Signers: packSigners(e.Signers), Epoch: packEpoch(e.Epoch, nil)}, nil
	case KindKeys:
		b := keysBody{Signers: packSigners(e.Signers), Epoch: packEpoch(e.Epoch, e.EpochSignature)}
		for _, id := range e.Withdraw {
			b.Withdraw = append(b.Withdraw, id[:]...)
		}
		return b, nil
	case KindSnapshot:
		b := snapshotBody{
			Manifest: e.Manifest, Add: packPacks(e.Add), Index: packIndex(e.Index),
			Supersede: joinSessions(e.Supersede), Run: e.Run[:],
		}
		if e.Partial {
			b.Partial = 1
		}
		return b, nil
	case KindForget, KindUnforget:
		return forgetBody{Snapshots: joinSessions(e.Snapshots)}, nil
	case KindTag:
		return tagBody{Snapshots: joinSessions(e.Snapshots), TagsOf: e.TagsOf, Tags: e.Tags}, nil
	case KindPin:
		b := pinBody{Snapshots: joinSessions(e.Snapshots)}
		if e.Pinned {
			b.Pinned = 1
		}
		return b, nil
	case KindCollect:
		return collectBody{
			Drop: joinRefs(e.Drop), Add: packPacks(e.Add), Revoke: joinSessions(e.Revoke),
			Gone: joinSessions(e.Gone), Replace: joinRefs(e.Replace), Index: packIndex(e.Index),
		}, nil
	}
	return nil, fmt.Errorf("log: cannot encode an entry of %v", e.Kind)
}

// decodeBody fills in what the body of an entry says, whose kind is known.
func decodeBody(e *Entry, raw []byte) error {
	var body interface{ into(e *Entry) error }
	switch e.Kind {
	case KindInit:
		body = new(initBody)
	case KindSnapshot:
		body = new(snapshotBody)
	case KindForget, KindUnforget:
		body = new(forgetBody)
	case KindTag:
		body = new(tagBody)
	case KindPin:
		body = new(pinBody)
	case KindKeys:
		body = new(keysBody)
	case KindCollect:
		body = new(collectBody)
	default:
		return &NewerError{What: e.Kind.String()}
	}
	if err := wire.Unmarshal(raw, body); err != nil {
		return err
	}
	return body.into(e)
}

func (b *initBody) into(e *Entry) (err error) {
	e.Epoch, _ = unpackEpoch(b.Epoch)
	e.Signers, err = unpackSigners(b.Signers)
	return err
}

func (b *keysBody) into(e *Entry) (err error) {
	e.Epoch, e.EpochSignature = unpackEpoch(b.Epoch)
	const size = len(seal.Signer{}.ID)
	if len(b.Withdraw)%size != 0 {
		return fmt.Errorf("ids of keys of %d bytes", len(b.Withdraw))
	}
	for raw := b.Withdraw; len(raw) > 0; raw = raw[size:] {
		e.Withdraw = append(e.Withdraw, [size]byte(raw[:size]))
	}
	e.Signers, err = unpackSigners(b.Signers)
	return err
}

func (b *snapshotBody) into(e *Entry) (err error) {
	if len(b.Run) != len(e.Run) {
		return fmt.Errorf("run id of %d bytes", len(b.Run))
	}
	copy(e.Run[:], b.Run)
	e.Manifest, e.Partial = b.Manifest, b.Partial != 0
	if e.Supersede, err = splitSessions(b.Supersede); err != nil {
		return err
	}
	if e.Add, err = unpackPacks(b.Add); err != nil {
		return err
	}
	e.Index, err = unpackIndex(b.Index)
	return err
}

func (b *forgetBody) into(e *Entry) (err error) {
	e.Snapshots, err = splitSessions(b.Snapshots)
	return err
}

func (b *tagBody) into(e *Entry) (err error) {
	if e.Snapshots, err = splitSessions(b.Snapshots); err != nil {
		return err
	}
	if e.Tags, e.TagsOf = b.Tags, b.TagsOf; len(e.TagsOf) != len(e.Snapshots) {
		return fmt.Errorf("%d snapshots and tags for %d", len(e.Snapshots), len(e.TagsOf))
	}
	for _, n := range e.TagsOf {
		if int64(n) >= int64(len(e.Tags)) {
			return fmt.Errorf("tags number %d of %d", n, len(e.Tags))
		}
	}
	return nil
}

func (b *pinBody) into(e *Entry) (err error) {
	e.Pinned = b.Pinned != 0
	e.Snapshots, err = splitSessions(b.Snapshots)
	return err
}

func (b *collectBody) into(e *Entry) (err error) {
	if e.Drop, err = splitRefs(b.Drop); err != nil {
		return err
	}
	if e.Add, err = unpackPacks(b.Add); err != nil {
		return err
	}
	if e.Revoke, err = splitSessions(b.Revoke); err != nil {
		return err
	}
	if e.Gone, err = splitSessions(b.Gone); err != nil {
		return err
	}
	if e.Replace, err = splitRefs(b.Replace); err != nil {
		return err
	}
	e.Index, err = unpackIndex(b.Index)
	return err
}
