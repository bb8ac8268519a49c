package seal

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
)

func TestSignBody_EveryRole_IsVerifiedByEveryRole(t *testing.T) {
	owner := fixedKeyring(t)
	binding := BindLog(testRepo, 1, object.Hash{})
	for _, role := range []Role{Writer, Maintainer, Owner} {
		k := stored(t, subset(t, owner, role))
		body, err := k.SignBody(object.LogEntry, binding, []byte("payload"))
		if err != nil {
			t.Fatal(err)
		}
		payload, who, err := VerifyBody(object.LogEntry, binding, body, known(k))
		if err != nil || string(payload) != "payload" || who.Role != role {
			t.Fatalf("%s: %q %v %v", role, payload, who, err)
		}
		if gotRole, id := k.Signer(); gotRole != who.Role || id != who.ID || id != SignerID(who.Public) {
			t.Fatalf("%s: signer %x, key of %x", role, id, who.ID)
		}
	}
}

// known is what a log says that names the keyring's holder.
func known(k *Keyring) Signers {
	self := k.Self()
	return Signers{self.ID: self}
}

// TestSignBody_ByClass_TakesTheKeyThatIsForIt: config with the owners' key, checkpoints with the epoch's, if the role
// has it.
func TestSignBody_ByClass_TakesTheKeyThatIsForIt(t *testing.T) {
	owner := fixedKeyring(t)
	for _, role := range []Role{Writer, Maintainer, Owner} {
		k := subset(t, owner, role)
		states, err := owner.Maintainers(2)
		if err != nil {
			t.Fatal(err)
		}
		old, err := owner.Maintainers(1)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			class object.Class
			by    Signers
			want  bool
		}{
			{object.Config, owner.Owners(), role == Owner},
			{object.Checkpoint, states, role >= Maintainer},
			{object.Checkpoint, old, false},
			{object.Record, known(k), true},
			{object.LogEntry, known(k), true},
			{object.LogEntry, owner.Owners(), false},
		} {
			body, err := k.SignBody(c.class, nil, []byte("payload"))
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err = VerifyBody(c.class, nil, body, c.by); (err == nil) != c.want {
				t.Errorf("%s by the %s: %v", c.class, role, err)
			}
		}
		body, err := k.SignFirst(nil, []byte("payload"))
		if (err == nil) != (role == Owner) {
			t.Errorf("the first entry by the %s: %v", role, err)
		}
		if role == Owner {
			if _, who, err := VerifyBody(object.LogEntry, nil, body, owner.Owners()); err != nil || who.Role != Owner {
				t.Errorf("the first entry: %v, %v", who, err)
			}
		}
	}
	if _, err := owner.Maintainers(9); !errors.Is(err, ErrNoKey) {
		t.Errorf("an epoch that is not there: %v", err)
	}
}

func TestSignBody_Message_IsThatOfTheFormat(t *testing.T) {
	k := fixedKeyring(t)
	body, err := k.SignBody(object.Checkpoint, BindCheckpoint(testRepo, 1), []byte("payload"))
	if err != nil {
		t.Fatal(err)
	}
	public := k.epochs[1].states.public
	if !bytes.HasPrefix(body, []byte{0xa3, 1, 0x48}) || !bytes.Equal(body[12:20], append([]byte{0x47}, "payload"...)) {
		t.Fatalf("body %x", body)
	}
	message := "kura/1 sign checkpoint\x00test repository!\x01\x00\x00\x00\x00\x00\x00\x00payload"
	if !ed25519.Verify(public, []byte(message), body[len(body)-64:]) {
		t.Fatal("signature of another message")
	}
	if hash := object.Sum(public); !bytes.Equal(body[3:11], hash[:8]) {
		t.Fatalf("signer %x", body[3:11])
	}
}

// TestSignatures_NoTwoUses_ShareALabel: what is signed for one thing counts for no other, nor for a class that is yet to
// come, by whatever name.
func TestSignatures_NoTwoUses_ShareALabel(t *testing.T) {
	uses := map[string][]byte{
		"slot": slotMessage(nil), "ring": ringMessage(testRepo, [8]byte{}, nil), "epoch": epochMessage(testRepo, Epoch{}),
	}
	for class := range object.Class(math.MaxUint8) {
		uses["body of "+class.String()] = signedMessage(class, nil, nil)
	}
	seen := map[string]string{}
	for use, message := range uses {
		label, _, ends := strings.Cut(string(message), "\x00")
		if other, twice := seen[label]; twice || !ends {
			t.Errorf("%s: label %q, which ends: %t, and is that of %q", use, label, ends, other)
		}
		if seen[label] = use; strings.HasPrefix(label, "kura/1 sign ") != strings.HasPrefix(use, "body of ") {
			t.Errorf("%s: label %q could be that of a class", use, label)
		}
	}
}

func TestVerifyBody_AnyFlippedBit_IsAnError(t *testing.T) {
	k := fixedKeyring(t)
	binding := BindRepo(testRepo)
	body, err := k.SignBody(object.Config, binding, []byte("payload"))
	if err != nil {
		t.Fatal(err)
	}
	everyBit(body, func(where string, flipped []byte) {
		_, who, err := VerifyBody(object.Config, binding, flipped, k.Owners())
		if !isOurs(err) || who.Role != 0 {
			t.Errorf("%s: %v, %v", where, who, err)
		}
	})
}

func TestVerifyBody_AtAnotherPlaceOrClass_IsDamaged(t *testing.T) {
	k := fixedKeyring(t)
	prev := object.Hash{3}
	body, err := k.SignBody(object.LogEntry, BindLog(testRepo, 5, prev), []byte("payload"))
	if err != nil {
		t.Fatal(err)
	}
	for name, check := range map[string]struct {
		class   object.Class
		binding []byte
	}{
		"class":    {object.Checkpoint, BindLog(testRepo, 5, prev)},
		"number":   {object.LogEntry, BindLog(testRepo, 6, prev)},
		"previous": {object.LogEntry, BindLog(testRepo, 5, object.Hash{})},
		"binding":  {object.LogEntry, nil},
	} {
		if payload, who, err := VerifyBody(check.class, check.binding, body, known(k)); !errors.Is(err, ErrDamaged) || payload != nil || who.Role != 0 {
			t.Errorf("another %s: %q %v %v", name, payload, who, err)
		}
	}
}

func TestVerifyBody_UnknownSigner_GivesThePayloadAndSaysSo(t *testing.T) {
	k := fixedKeyring(t)
	stranger, err := NewKeyring(testRepo)
	if err != nil {
		t.Fatal(err)
	}
	body, err := stranger.SignBody(object.LogEntry, nil, []byte("payload"))
	if err != nil {
		t.Fatal(err)
	}
	payload, who, err := VerifyBody(object.LogEntry, nil, body, known(k))
	_, id := stranger.Signer()
	if !errors.Is(err, ErrUnknownSigner) || errors.Is(err, ErrDamaged) || string(payload) != "payload" {
		t.Fatalf("%q %v", payload, err)
	}
	if who.ID != id || who.Role != 0 || who.Public != nil {
		t.Fatalf("an unknown signer is %+v", who)
	}
	// Naming a known signer does not help the stranger.
	var w wireBody
	if err := wire.Unmarshal(body, &w); err != nil {
		t.Fatal(err)
	}
	_, w.Signer = k.Signer()
	if body, err = wire.Marshal(&w); err != nil {
		t.Fatal(err)
	}
	if _, who, err := VerifyBody(object.LogEntry, nil, body, known(k)); !errors.Is(err, ErrDamaged) || who.Role != 0 {
		t.Fatalf("a forgery: %v %v", who, err)
	}
}

func TestVerifyBody_SignerWithoutAKey_IsDamaged(t *testing.T) {
	k := fixedKeyring(t)
	body, err := k.SignBody(object.LogEntry, nil, []byte("payload"))
	if err != nil {
		t.Fatal(err)
	}
	role, id := k.Signer()
	if _, _, err := VerifyBody(object.LogEntry, nil, body, Signers{id: {ID: id, Role: role}}); !errors.Is(err, ErrDamaged) {
		t.Fatalf("got %v", err)
	}
}
