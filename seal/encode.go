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

// The keyring as it is stored: docs/format.md, section 4.1. In a slot the last two are absent: they are in the part
// of the slot that only its credential opens.
type wireKeyring struct {
	RepoID     [16]byte    `cbor:"1,keyasint"`
	Role       Role        `cbor:"2,keyasint"`
	IDSecret   [32]byte    `cbor:"3,keyasint"`
	Polynomial uint64      `cbor:"4,keyasint"`
	Epochs     []wireEpoch `cbor:"5,keyasint"`
	Owners     [32]byte    `cbor:"6,keyasint"`
	OwnersSeed []byte      `cbor:"7,keyasint,omitempty"`
	SignSeed   []byte      `cbor:"8,keyasint,omitempty"`
	SlotSeed   []byte      `cbor:"9,keyasint,omitempty"`
}

type wireEpoch struct {
	Number      uint32   `cbor:"1,keyasint"`
	Index       [32]byte `cbor:"2,keyasint"`
	MetaPublic  []byte   `cbor:"3,keyasint"`
	MetaPrivate []byte   `cbor:"4,keyasint,omitempty"`
	DataPublic  []byte   `cbor:"5,keyasint"`
	DataPrivate []byte   `cbor:"6,keyasint,omitempty"`
	States      [32]byte `cbor:"7,keyasint"`
	StatesSeed  []byte   `cbor:"8,keyasint,omitempty"`
}

// Encode returns the keyring with all its secrets, in clear: what is in a slot, and what identifies its holder.
func (k *Keyring) Encode() ([]byte, error) {
	w, err := k.wire()
	if err != nil {
		return nil, err
	}
	w.SignSeed = k.own.signing.seed()
	if _, w.SlotSeed, err = k.own.slot.encode(); err != nil {
		return nil, fmt.Errorf("seal: encode keyring: %w", err)
	}
	return wire.Marshal(w)
}

// wire is the keyring without the identity of its holder.
func (k *Keyring) wire() (*wireKeyring, error) {
	w := &wireKeyring{
		RepoID: k.repoID, Role: k.role, IDSecret: k.idSecret, Polynomial: uint64(k.polynomial),
		Owners: [32]byte(k.owners.public), OwnersSeed: k.owners.seed(),
	}
	for _, e := range k.epochs {
		we := wireEpoch{Number: e.number, Index: e.index, States: [32]byte(e.states.public), StatesSeed: e.states.seed()}
		var err1, err2 error
		we.MetaPublic, we.MetaPrivate, err1 = e.meta.encode()
		we.DataPublic, we.DataPrivate, err2 = e.data.encode()
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("seal: encode keyring: %w", err)
		}
		w.Epochs = append(w.Epochs, we)
	}
	return w, nil
}

func (k signingKey) seed() []byte {
	if k.private == nil {
		return nil
	}
	return k.private.Seed()
}

func (p keyPair) encode() (public, private []byte, err error) {
	if p.private != nil {
		private, err = p.private.Bytes()
	}
	return p.public.Bytes(), private, err
}

// DecodeKeyring reads what [Keyring.Encode] wrote, and checks that the keys are valid, fit
// each other, and are exactly those that the keyring's role has.
func DecodeKeyring(data []byte) (*Keyring, error) { return decodeKeyring(data, nil) }

// decodeKeyring reads the keyring of a holder who is known already, or else is named in it.
func decodeKeyring(data []byte, holder *identity) (*Keyring, error) {
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
	for i := range w.Epochs {
		if i > 0 && w.Epochs[i].Number <= w.Epochs[i-1].Number {
			return nil, badKeyring("epochs do not ascend")
		}
		e, err := decodeEpoch(&w.Epochs[i], k.role)
		if err != nil {
			return nil, err
		}
		k.epochs = append(k.epochs, e)
	}
	var err error
	if k.owners, err = decodeSigning(w.Owners, w.OwnersSeed, k.role == Owner); err != nil {
		return nil, badKeyring("owners' signing key: %v", err)
	}
	switch {
	case holder == nil:
		if k.own, err = decodeIdentity(w.SignSeed, w.SlotSeed); err != nil {
			return nil, badKeyring("%v", err)
		}
	case len(w.SignSeed)+len(w.SlotSeed) > 0:
		return nil, badKeyring("a holder's keys where they should not be")
	default:
		k.own = *holder
	}
	// Last, as it takes longest.
	if k.polynomial.Deg() != 53 || !irreducible(k.polynomial) {
		return nil, badKeyring("chunker polynomial")
	}
	k.finish()
	return k, nil
}

func decodeEpoch(w *wireEpoch, role Role) (e epoch, err error) {
	if w.Index == [32]byte{} || w.Number == 0 {
		return e, badKeyring("epoch %d has no index secret, or no number", w.Number)
	}
	e = epoch{number: w.Number, index: w.Index}
	if e.meta, err = decodePair(w.MetaPublic, w.MetaPrivate, role >= Meta.reader()); err != nil {
		return e, badKeyring("meta key of epoch %d: %v", w.Number, err)
	}
	if e.data, err = decodePair(w.DataPublic, w.DataPrivate, role >= Data.reader()); err != nil {
		return e, badKeyring("data key of epoch %d: %v", w.Number, err)
	}
	if e.states, err = decodeSigning(w.States, w.StatesSeed, role >= Maintainer); err != nil {
		return e, badKeyring("signing key of epoch %d: %v", w.Number, err)
	}
	e.identify()
	return e, nil
}

// decodeIdentity reads the two seeds of a holder.
func decodeIdentity(signing, slot []byte) (identity, error) {
	if len(signing) != ed25519.SeedSize {
		return identity{}, fmt.Errorf("signing seed of %d bytes", len(signing))
	}
	private, err := kem.NewPrivateKey(slot)
	if err != nil {
		return identity{}, fmt.Errorf("slot key: %w", err)
	}
	return identity{signingKeyOf([32]byte(signing)), keyPair{public: private.PublicKey(), private: private}}, nil
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

// decodeSigning reads a signing key, with its seed where the role has it and without where not.
func decodeSigning(public [32]byte, seed []byte, has bool) (signingKey, error) {
	key := signingKey{public: public[:]}
	if has != (len(seed) > 0) {
		return key, errors.New("seed is missing, or present where the role has none")
	}
	if !has {
		return key, nil
	}
	if len(seed) != ed25519.SeedSize {
		return key, fmt.Errorf("seed of %d bytes", len(seed))
	}
	key = signingKeyOf([32]byte(seed))
	if !key.public.Equal(ed25519.PublicKey(public[:])) {
		return key, errors.New("signing key and seed do not fit")
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
	plain, err := hpkeOpenAny(with, info, sealed)
	if err != nil || len(plain) != secretSize {
		return secret, fmt.Errorf("%w: sealed secret does not open", ErrDamaged)
	}
	return [secretSize]byte(plain), nil
}

func hpkeOpenAny(with hpke.PrivateKey, info, sealed []byte) ([]byte, error) {
	return hpke.Open(with, hpke.HKDFSHA256(), hpke.AES256GCM(), info, sealed)
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
