package seal_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"testing"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/seal"
)

// lending is a lender who has the keyring here, and counts.
type lending struct {
	*seal.Keyring
	reads  bool
	refuse error
	asked  int
}

func (l *lending) Reads(seal.Kind) bool { return l.reads }

func (l *lending) SessionSecret(kind seal.Kind, epoch uint32, sealed []byte) ([32]byte, error) {
	if l.asked++; l.refuse != nil {
		return [32]byte{}, l.refuse
	}
	return l.Keyring.SessionSecret(kind, epoch, sealed)
}

func (l *lending) Sign(class object.Class, binding, payload []byte) (sig [ed25519.SignatureSize]byte, err error) {
	if l.asked++; l.refuse != nil {
		return sig, l.refuse
	}
	return l.Keyring.Sign(class, binding, payload)
}

func lend(t *testing.T, l *lending) *seal.Keyring {
	t.Helper()
	data, err := l.Lend()
	if err != nil {
		t.Fatal(err)
	}
	k, err := seal.Borrow(data, l)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// newOwner has two epochs, of which the first is named.
func newOwner(t *testing.T) (*seal.Keyring, seal.Epoch) {
	t.Helper()
	first, err := seal.NewKeyring([16]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	k, err := first.Next()
	if err != nil {
		t.Fatal(err)
	}
	return k, first.Epoch()
}

func TestLend_OwnersKeyring_HasNoPrivateKeyInIt(t *testing.T) {
	owner, first := newOwner(t)
	lent, err := owner.Lend()
	if err != nil {
		t.Fatal(err)
	}
	writer, err := owner.Subset(seal.Writer)
	if err != nil {
		t.Fatal(err)
	}
	small, err := writer.Encode()
	if err != nil {
		t.Fatal(err)
	}
	// A writer's keyring has two private keys of its own, of 32 bytes each; the lent one has the lender's public ones.
	if len(lent) > len(small)+2<<10 {
		t.Errorf("%d bytes, and a writer's has %d", len(lent), len(small))
	}
	k := lend(t, &lending{Keyring: owner})
	if k.Role() != seal.Writer || k.CanRead(seal.Data) || k.CanRead(seal.Meta) {
		t.Errorf("%v keyring, reads data %v, meta %v", k.Role(), k.CanRead(seal.Data), k.CanRead(seal.Meta))
	}
	if _, err := k.Subset(seal.Writer); !errors.Is(err, seal.ErrNoKey) {
		t.Errorf("it makes keys: %v", err)
	}
	if _, err := k.SignFirst(nil, nil); !errors.Is(err, seal.ErrNoKey) {
		t.Errorf("it begins logs: %v", err)
	}
	if encoded, err := k.Encode(); err == nil {
		if _, err := seal.DecodeKeyring(encoded); err == nil {
			t.Error("what was lent can be kept")
		}
	}
	if old, err := k.Until(first); err != nil || old.CanRead(seal.Meta) {
		t.Errorf("in the first epoch: %v", err)
	}
}

func TestBorrow_SealAndSign_CountAsTheLenders(t *testing.T) {
	owner, _ := newOwner(t)
	l := &lending{Keyring: owner}
	k := lend(t, l)
	if k.BlobHasher().ID(object.DataBlob, []byte("x")) != owner.BlobHasher().ID(object.DataBlob, []byte("x")) {
		t.Error("blobs have other names")
	}
	obj, err := k.Seal(object.Index, nil, []byte("place"), []byte("text"))
	if err != nil {
		t.Fatal(err)
	}
	if _, plain, err := owner.Open(object.Index, []byte("place"), obj); err != nil || string(plain) != "text" {
		t.Errorf("%q, %v", plain, err)
	}
	for _, class := range []object.Class{object.LogEntry, object.Checkpoint, object.Config} {
		l.asked = 0
		body, err := k.SignBody(class, []byte("place"), []byte("text"))
		if err != nil || l.asked != 1 {
			t.Fatalf("%v, asked %d times", err, l.asked)
		}
		self := owner.Self()
		payload, who, err := seal.VerifyBody(class, []byte("place"), body, seal.Signers{self.ID: self})
		if err != nil || string(payload) != "text" || who.ID != self.ID {
			t.Errorf("%q by %x: %v", payload, who.ID, err)
		}
	}
	l.refuse = errors.New("not for you")
	if _, err := k.SignBody(object.LogEntry, nil, nil); !errors.Is(err, l.refuse) {
		t.Error(err)
	}
}

func TestBorrow_LenderReads_OpensWhatWasStored(t *testing.T) {
	owner, _ := newOwner(t)
	l := &lending{Keyring: owner, reads: true}
	k := lend(t, l)
	secret, err := k.NewSecret(seal.Data)
	if err != nil {
		t.Fatal(err)
	}
	origin, key, err := secret.NewOrigin()
	if err != nil {
		t.Fatal(err)
	}
	sealed := key.Seal(nil, 1, []byte("text"))
	for range 3 {
		opener, err := k.OpenOrigin(origin)
		if err != nil {
			t.Fatal(err)
		}
		plain, err := opener.Open(nil, 1, bytes.Clone(sealed))
		if err != nil || string(plain) != "text" {
			t.Errorf("%q, %v", plain, err)
		}
	}
	if l.asked != 1 {
		t.Errorf("the lender was asked %d times for one secret", l.asked)
	}
	l.reads = false
	fresh := lend(t, l)
	if _, err := fresh.OpenOrigin(origin); !errors.Is(err, seal.ErrNoKey) {
		t.Errorf("who does not read read: %v", err)
	}
}

func TestBorrow_DamagedOrMoreThanWasLent_IsRefused(t *testing.T) {
	owner, _ := newOwner(t)
	data, err := owner.Lend()
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(data); i += 3 {
		bad := bytes.Clone(data)
		bad[i] ^= 1
		if k, err := seal.Borrow(bad, &lending{Keyring: owner}); err == nil && (k.Role() != seal.Writer || k.CanRead(seal.Data)) {
			t.Fatalf("byte %d: %v", i, k)
		}
	}
	if _, err := seal.Borrow(data[:len(data)-1], nil); !errors.Is(err, seal.ErrDamaged) {
		t.Error(err)
	}
}
