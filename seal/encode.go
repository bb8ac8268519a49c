package seal

import (
	"crypto/ed25519"
	"crypto/hpke"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/restic/chunker"

	"github.com/kura-backup/kura/internal/wire"
)

// The keyring as it is stored: docs/format.md, section 4.1.
type wireKeyring struct {
	RepoID     [16]byte      `cbor:"1,keyasint"`
	Role       Role          `cbor:"2,keyasint"`
	IDSecret   [32]byte      `cbor:"3,keyasint"`
	Polynomial uint64        `cbor:"4,keyasint"`
	Epochs     []wireEpoch   `cbor:"5,keyasint"`
	Signing    []wireSigning `cbor:"6,keyasint"`
}

type wireEpoch struct {
	Number      uint32   `cbor:"1,keyasint"`
	Index       [32]byte `cbor:"2,keyasint"`
	MetaPublic  []byte   `cbor:"3,keyasint"`
	MetaPrivate []byte   `cbor:"4,keyasint,omitempty"`
	DataPublic  []byte   `cbor:"5,keyasint"`
	DataPrivate []byte   `cbor:"6,keyasint,omitempty"`
}

type wireSigning struct {
	Role   Role     `cbor:"1,keyasint"`
	Public [32]byte `cbor:"2,keyasint"`
	Seed   []byte   `cbor:"3,keyasint,omitempty"`
}

// Encode returns the keyring as it is stored inside a slot: all its secrets, in clear.
func (k *Keyring) Encode() ([]byte, error) {
	w := wireKeyring{
		RepoID: k.repoID, Role: k.role, IDSecret: k.idSecret, Polynomial: uint64(k.polynomial),
	}
	for _, e := range k.epochs {
		we := wireEpoch{Number: e.number, Index: e.index}
		var err1, err2 error
		we.MetaPublic, we.MetaPrivate, err1 = e.meta.encode()
		we.DataPublic, we.DataPrivate, err2 = e.data.encode()
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("seal: encode keyring: %w", err)
		}
		w.Epochs = append(w.Epochs, we)
	}
	for _, key := range k.signing {
		ws := wireSigning{Role: key.role, Public: [32]byte(key.public)}
		if key.private != nil {
			ws.Seed = key.private.Seed()
		}
		w.Signing = append(w.Signing, ws)
	}
	return wire.Marshal(&w)
}

func (p keyPair) encode() (public, private []byte, err error) {
	if p.private != nil {
		private, err = p.private.Bytes()
	}
	return p.public.Bytes(), private, err
}

// DecodeKeyring reads what [Keyring.Encode] wrote, and checks that the keys are valid, fit
// each other, and are exactly those that the keyring's role has.
func DecodeKeyring(data []byte) (*Keyring, error) {
	var w wireKeyring
	if err := unmarshal(data, &w); err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	k := &Keyring{
		repoID: w.RepoID, role: w.Role, idSecret: w.IDSecret, polynomial: chunker.Pol(w.Polynomial),
	}
	if !k.role.valid() {
		return nil, badKeyring("%s", k.role)
	}
	if k.repoID == [16]byte{} || k.idSecret == [32]byte{} {
		return nil, badKeyring("no repository id or no id secret")
	}
	if len(w.Epochs) == 0 {
		return nil, badKeyring("no epoch")
	}
	for i, we := range w.Epochs {
		if i > 0 && we.Number <= w.Epochs[i-1].Number {
			return nil, badKeyring("epochs do not ascend")
		}
		if we.Index == [32]byte{} {
			return nil, badKeyring("epoch %d has no index secret", we.Number)
		}
		e := epoch{number: we.Number, index: we.Index}
		var err error
		if e.meta, err = decodePair(we.MetaPublic, we.MetaPrivate, k.role >= Meta.reader()); err != nil {
			return nil, badKeyring("meta key of epoch %d: %v", we.Number, err)
		}
		if e.data, err = decodePair(we.DataPublic, we.DataPrivate, k.role >= Data.reader()); err != nil {
			return nil, badKeyring("data key of epoch %d: %v", we.Number, err)
		}
		k.epochs = append(k.epochs, e)
	}
	anchored := false
	for _, ws := range w.Signing {
		key, err := decodeSigning(ws, k.role)
		if err != nil {
			return nil, err
		}
		anchored = anchored || key.role == Owner
		k.signing = append(k.signing, key)
	}
	if !anchored {
		return nil, badKeyring("no owner's signing key")
	}
	// Last, as it takes longest.
	if k.polynomial.Deg() != 53 || !irreducible(k.polynomial) {
		return nil, badKeyring("chunker polynomial")
	}
	if err := k.finish(); err != nil {
		return nil, err
	}
	return k, nil
}

func badKeyring(format string, args ...any) error {
	return fmt.Errorf("%w: keyring: %s", ErrDamaged, fmt.Sprintf(format, args...))
}

// decodePair reads an HPKE key, with its private half where the role has it and without where not.
func decodePair(public, private []byte, readable bool) (keyPair, error) {
	if readable != (len(private) > 0) {
		return keyPair{}, errors.New("private key is missing, or present where the role has none")
	}
	pub, err := kem.NewPublicKey(public)
	if err != nil {
		return keyPair{}, err
	}
	if !readable {
		return keyPair{public: pub}, nil
	}
	priv, err := kem.NewPrivateKey(private)
	if err != nil {
		return keyPair{}, err
	}
	if string(priv.PublicKey().Bytes()) != string(public) {
		return keyPair{}, errors.New("private and public key do not fit")
	}
	return keyPair{public: pub, private: priv}, nil
}

func decodeSigning(ws wireSigning, holder Role) (signingKey, error) {
	if !ws.Role.valid() {
		return signingKey{}, badKeyring("signing key of %s", ws.Role)
	}
	key := signingKey{role: ws.Role, public: ws.Public[:]}
	if len(ws.Seed) == 0 {
		return key, nil
	}
	if ws.Role > holder || len(ws.Seed) != ed25519.SeedSize {
		return signingKey{}, badKeyring("%s keyring with a seed of the %s", holder, ws.Role)
	}
	key.private = ed25519.NewKeyFromSeed(ws.Seed)
	if !key.public.Equal(key.private.Public()) {
		return signingKey{}, badKeyring("signing key and seed do not fit")
	}
	return key, nil
}

// kem is the key encapsulation of everything that is sealed to a public key.
var kem = hpke.MLKEM768X25519()

func hpkeSeal(to hpke.PublicKey, info, plaintext []byte) ([]byte, error) {
	return hpke.Seal(to, hpke.HKDFSHA256(), hpke.AES256GCM(), info, plaintext)
}

// hpkeOpen opens a sealed 32-byte secret.
func hpkeOpen(with hpke.PrivateKey, info, sealed []byte) (secret [secretSize]byte, err error) {
	plain, err := hpke.Open(with, hpke.HKDFSHA256(), hpke.AES256GCM(), info, sealed)
	if err != nil || len(plain) != secretSize {
		return secret, fmt.Errorf("%w: sealed secret does not open", ErrDamaged)
	}
	return [secretSize]byte(plain), nil
}

// unmarshal reads a structure and translates what can be wrong with it.
func unmarshal(data []byte, v any) error {
	err := wire.Unmarshal(data, v)
	var unknown *wire.UnknownKeyError
	switch {
	case errors.As(err, &unknown):
		return &FormatError{What: "key", Number: unknown.Key}
	case err != nil:
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return nil
}

// proven is the last polynomial that was found irreducible. The proof takes 1.5 ms, and a process mostly
// opens one repository again and again.
var proven atomic.Uint64

func irreducible(p chunker.Pol) bool {
	if uint64(p) == proven.Load() {
		return true
	}
	if !p.Irreducible() {
		return false
	}
	proven.Store(uint64(p))
	return true
}
