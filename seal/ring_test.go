package seal

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/kura-backup/kura/internal/object"
)

// sealed returns a slot of the keyring.
func sealed(t *testing.T, k *Keyring, c Credential) []byte {
	t.Helper()
	slot, err := SealSlot(k, c, cheap)
	if err != nil {
		t.Fatal(err)
	}
	return slot
}

func next(t *testing.T, k *Keyring) *Keyring {
	t.Helper()
	n, err := k.Next()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestRenewSlot_EveryRole_OpensByTheSameCredentialWithTheNewKeys is a rotation: the owner has none of the credentials.
func TestRenewSlot_EveryRole_OpensByTheSameCredentialWithTheNewKeys(t *testing.T) {
	owner := fixedKeyring(t)
	newer := next(t, next(t, owner))
	secret, err := newer.Seal(object.Config, nil, nil, []byte("new"))
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range []Role{Writer, Maintainer, Owner} {
		for _, c := range []Credential{Passphrase([]byte("p")), KeyFile(filled(1))} {
			k := subset(t, owner, role)
			old := sealed(t, k, c)
			renewed, err := newer.RenewSlot(old, k.Self())
			if err != nil {
				t.Fatal(err)
			}
			before, err := OpenSlot(old, c)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := before.Open(object.Config, nil, secret); !errors.Is(err, ErrNoKey) {
				t.Errorf("%s: the old slot opens what is new: %v", role, err)
			}
			after, err := OpenSlot(renewed, c)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := after.Open(object.Config, nil, secret); err != nil {
				t.Errorf("%s: the renewed slot does not: %v", role, err)
			}
			if after.Self().ID != k.Self().ID || after.Role() != role || after.Epoch() != newer.Epoch() || !after.Has(owner.Epoch()) {
				t.Errorf("%s: became %v", role, after)
			}
			if after.CanRead(Meta) != (role >= Maintainer) || after.CanRead(Data) != (role == Owner) {
				t.Errorf("%s: can read more, or less", role)
			}
			was, err := ParseSlot(old)
			if err != nil {
				t.Fatal(err)
			}
			is, err := ParseSlot(renewed)
			if err != nil || was.Front != is.Front || was.Key != is.Key || was.Key != k.Self().ID || is.Epoch != newer.Epoch().Number || was.Epoch != 2 {
				t.Errorf("%s: %+v became %+v, %v", role, was, is, err)
			}
			// Its holder can change the credential, and has the keys of the ring only from an owner.
			again := sealed(t, after, KeyFile(filled(9)))
			if got, err := OpenSlot(again, KeyFile(filled(9))); err != nil || got.Epoch() != newer.Epoch() {
				t.Errorf("%s: with another credential: %v, %v", role, got, err)
			}
		}
	}
}

func TestRenewSlot_SlotThatTheHolderHasNotMade_IsRefused(t *testing.T) {
	owner := fixedKeyring(t)
	honest, thief := subset(t, owner, Maintainer), subset(t, owner, Writer)
	c := KeyFile(filled(1))
	slot := sealed(t, honest, c)
	if _, err := owner.RenewSlot(slot, thief.Self()); !errors.Is(err, ErrDamaged) {
		t.Errorf("for another holder: %v", err)
	}
	forged := *thief // who says that its slot is the other's
	forged.own.signing = signingKey{public: honest.own.signing.public, private: thief.own.signing.private}
	forged.ring = honest.ring
	if _, err := owner.RenewSlot(sealed(t, &forged, c), honest.Self()); !errors.Is(err, ErrDamaged) {
		t.Errorf("signed by another: %v", err)
	}
	for i := 0; i < len(slot)-len(honest.ring); i += 5 {
		bad := bytes.Clone(slot)
		bad[i] ^= 4
		if _, err := owner.RenewSlot(bad, honest.Self()); !isOurs(err) {
			t.Errorf("byte %d: %v", i, err)
		}
	}
	if _, err := thief.RenewSlot(slot, honest.Self()); !errors.Is(err, ErrNoKey) {
		t.Errorf("by a writer: %v", err)
	}
}

// TestOpenSlot_RingOfSomebodyElse_IsDamaged puts other keyrings behind the front of a slot: what anybody can do who
// may put objects, since the public keys of slots are no secret.
func TestOpenSlot_RingOfSomebodyElse_IsDamaged(t *testing.T) {
	owner := fixedKeyring(t)
	victim, other := subset(t, owner, Writer), subset(t, owner, Writer)
	stranger, err := NewKeyring(testRepo)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere, err := NewKeyringSharing([16]byte{1}, owner)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere.owners = owner.owners
	c := KeyFile(filled(1))
	slot := sealed(t, victim, c)
	front := slot[:len(slot)-len(victim.ring)]
	higher := victim.Self()
	higher.Role = Owner
	ring := func(k *Keyring, to Signer) []byte {
		r, err := k.ringFor(to)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for name, r := range map[string][]byte{
		"the ring of another holder":     other.ring,
		"one by a stranger":              ring(stranger, victim.Self()),
		"one of another repository":      ring(elsewhere, victim.Self()),
		"one with another role":          ring(owner, higher),
		"nothing":                        nil,
		"its own, and more":              append(bytes.Clone(victim.ring), 0),
		"its own, of another epoch said": append([]byte{victim.ring[0], victim.ring[1], victim.ring[2] + 1}, victim.ring[3:]...),
	} {
		if k, err := OpenSlot(slices.Concat(front, r), c); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v, %v", name, k, err)
		}
	}
	if _, err := OpenSlot(slices.Concat(front, ring(owner, victim.Self())), c); err != nil {
		t.Errorf("an owner's: %v", err)
	}
}

func TestEpochs_NextAndUntil_AddAndTakeAway(t *testing.T) {
	owner := fixedKeyring(t)
	a, b := next(t, owner), next(t, owner)
	if a.Epoch().Number != 3 || a.Epoch().Number != b.Epoch().Number || a.Epoch() == b.Epoch() {
		t.Fatalf("%+v, %+v", a.Epoch(), b.Epoch())
	}
	if !a.Has(owner.Epoch()) || a.Has(b.Epoch()) || owner.Has(a.Epoch()) {
		t.Error("Has")
	}
	if !a.SharesIDs(owner) || a.Polynomial() != owner.Polynomial() || a.Self().ID != owner.Self().ID {
		t.Error("more was replaced than should be")
	}
	back, err := a.Until(owner.Epoch())
	if err != nil || back.Epoch() != owner.Epoch() {
		t.Fatalf("%v, %v", back, err)
	}
	x, _ := back.Encode()
	y, _ := owner.Encode()
	if !bytes.Equal(x, y) {
		t.Error("it is not the keyring that it was")
	}
	if _, err := a.Until(b.Epoch()); !errors.Is(err, ErrNoKey) {
		t.Errorf("until an epoch that it never had: %v", err)
	}
	if _, err := subset(t, owner, Maintainer).Next(); !errors.Is(err, ErrNoKey) {
		t.Errorf("a maintainer's: %v", err)
	}
	if s, err := a.NewSecret(Meta); err != nil || s.epoch != 3 {
		t.Errorf("secrets are of epoch %d, %v", s.epoch, err)
	}
}

// TestEpoch_OtherPublicKeys_IsAnotherEpoch makes rings as somebody can who has the owners' key and the secret of the
// epoch: with its number, and one public key of his own.
func TestEpoch_OtherPublicKeys_IsAnotherEpoch(t *testing.T) {
	owner := fixedKeyring(t)
	writer := subset(t, owner, Writer)
	c := KeyFile(filled(1))
	slot := sealed(t, writer, c)
	own, err := newEpoch(2)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(e *epoch){
		"none":        func(*epoch) {},
		"meta":        func(e *epoch) { e.meta = own.meta },
		"data":        func(e *epoch) { e.data = own.data },
		"checkpoints": func(e *epoch) { e.states = own.states },
	} {
		forged := owner.of(Owner, owner.own)
		change(forged.newest())
		renewed, err := stored(t, forged).RenewSlot(slot, writer.Self())
		if err != nil {
			t.Fatal(err)
		}
		k, err := OpenSlot(renewed, c)
		if err != nil {
			t.Fatal(err)
		}
		if k.Has(owner.Epoch()) != (name == "none") || k.Epoch().Number != 2 || k.newest().index != owner.newest().index {
			t.Errorf("with other keys for %s: it has %+v", name, k.Epoch())
		}
		if in, err := writer.SlotEpoch(renewed); err != nil || (in == owner.Epoch()) != (name == "none") {
			t.Errorf("with other keys for %s: its slot is of %+v, %v", name, in, err)
		}
	}
}

// TestSlotEpoch_OwnSlots_SayWithoutACredential has slots of the holder, of another, and forged ones.
func TestSlotEpoch_OwnSlots_SayWithoutACredential(t *testing.T) {
	owner := fixedKeyring(t)
	newer := next(t, owner)
	k, other := subset(t, owner, Writer), subset(t, owner, Writer)
	slot := sealed(t, k, KeyFile(filled(1)))
	if e, err := k.SlotEpoch(slot); err != nil || e != owner.Epoch() {
		t.Errorf("%+v, %v", e, err)
	}
	renewed, err := newer.RenewSlot(slot, k.Self())
	if err != nil {
		t.Fatal(err)
	}
	if e, err := k.SlotEpoch(renewed); err != nil || e != newer.Epoch() {
		t.Errorf("renewed: %+v, %v", e, err)
	}
	if _, err := other.SlotEpoch(renewed); !errors.Is(err, ErrWrongKey) {
		t.Errorf("of another: %v", err)
	}
	thief, err := NewKeyring(owner.RepoID())
	if err != nil {
		t.Fatal(err)
	}
	forged, err := next(t, thief).RenewSlot(slot, k.Self())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.SlotEpoch(forged); !errors.Is(err, ErrDamaged) {
		t.Errorf("forged: %v", err)
	}
}

func TestBegan_OnlyWhatTheOwnersSigned(t *testing.T) {
	owner := fixedKeyring(t)
	newer := next(t, owner)
	e := newer.Epoch()
	good := newer.SignEpoch(e)
	other := e
	other.ID[0]++
	foreign, err := NewKeyring([16]byte{7})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		e         Epoch
		signature []byte
		want      bool
	}{
		"by an owner":        {e, good, true},
		"the first":          {owner.Epoch(), nil, owner.Epoch().Number == firstEpoch},
		"none":               {e, nil, false},
		"cut off":            {e, good[:63], false},
		"of another epoch":   {other, good, false},
		"by a maintainer":    {e, subset(t, newer, Maintainer).SignEpoch(e), false},
		"by another's owner": {e, foreign.SignEpoch(e), false},
	} {
		if got := subset(t, newer, Writer).Began(c.e, c.signature); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
