package seal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"testing"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/kura-backup/kura/internal/object"
)

func TestEnvelope_EveryClassAndSuite_RoundTrips(t *testing.T) {
	for _, suite := range suites {
		k := withSuite(t, suite)
		for _, class := range keyringClasses {
			clearPart, binding, plain := []byte("clear"), BindLog(testRepo, 7, object.Hash{1}), []byte("plaintext")
			obj, err := k.Seal(class, clearPart, binding, plain)
			if err != nil {
				t.Fatal(err)
			}
			if len(obj) != HeaderSize+len(clearPart)+len(plain)+Overhead || bytes.Contains(obj, plain) {
				t.Fatalf("%s: object %x", class, obj)
			}
			// Any client reads both suites, whatever its own preference is.
			gotClear, gotPlain, err := fixedKeyring(t).Open(class, binding, obj)
			if err != nil || !bytes.Equal(gotClear, clearPart) || !bytes.Equal(gotPlain, plain) {
				t.Fatalf("%s, %s: %q %q %v", class, suite, gotClear, gotPlain, err)
			}
			h, err := ParseHeader(obj[:HeaderSize])
			if err != nil || h.Class != class || h.Suite != suite || h.Epoch != 2 || h.ClearLength != 5 || h.Format != FormatNumber {
				t.Fatalf("header %+v, %v", h, err)
			}
		}
	}
}

// The reader in this test is written from docs/format.md with nothing of this package but the
// secret: it fails if writer and reader here agree on something else.
func TestEnvelope_Bytes_AreThoseOfTheFormat(t *testing.T) {
	for _, suite := range suites {
		k := withSuite(t, suite)
		secret := k.newest().index
		binding := BindCheckpoint(testRepo, 0x0102)
		e, err := k.NewEnvelope(object.Index, []byte("abc"), binding)
		if err != nil {
			t.Fatal(err)
		}
		obj := bytes.Clone(e.Header())
		obj = e.SealPart(obj, 0, []byte("first"))
		obj = e.SealPart(obj, 1, []byte("second"))

		want := []byte{'K', 'U', 'R', 'A', 7, 1, byte(suite), 0, 2, 0, 0, 0, 3, 0, 0, 0}
		if !bytes.Equal(obj[:16], want) || string(obj[80:83]) != "abc" {
			t.Fatalf("header %x", obj[:83])
		}
		okm, err := hkdf.Key(sha256.New, secret[:], obj[16:48], "kura/1 envelope index", 64)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(okm[32:], obj[48:80]) {
			t.Fatal("commitment")
		}
		var aead cipher.AEAD
		if suite == AES256GCM {
			block, _ := aes.NewCipher(okm[:32])
			aead, err = cipher.NewGCM(block)
		} else {
			aead, err = chacha20poly1305.New(okm[:32])
		}
		if err != nil {
			t.Fatal(err)
		}
		aad := append(bytes.Clone(obj[:83]), []byte("test repository!\x02\x01\x00\x00\x00\x00\x00\x00")...)
		nonce := make([]byte, 12)
		first, err := aead.Open(nil, nonce, obj[83:83+5+16], aad)
		if err != nil || string(first) != "first" {
			t.Fatalf("part 0: %q %v", first, err)
		}
		binary.BigEndian.PutUint64(nonce[4:], 1)
		second, err := aead.Open(nil, nonce, obj[83+5+16:], aad)
		if err != nil || string(second) != "second" {
			t.Fatalf("part 1: %q %v", second, err)
		}
	}
}

func TestOpen_AnyFlippedBit_IsAnError(t *testing.T) {
	for _, suite := range suites {
		k := withSuite(t, suite)
		binding := BindRepo(testRepo)
		obj, err := k.Seal(object.Sign, []byte("clear"), binding, []byte("small"))
		if err != nil {
			t.Fatal(err)
		}
		everyBit(obj, func(where string, flipped []byte) {
			if _, _, err := k.Open(object.Sign, binding, flipped); !isOurs(err) {
				t.Errorf("%s: %v", where, err)
			}
		})
		for n := range obj {
			if _, _, err := k.Open(object.Sign, binding, obj[:n]); !isOurs(err) {
				t.Errorf("cut to %d bytes: %v", n, err)
			}
		}
		if _, _, err := k.Open(object.Sign, binding, append(bytes.Clone(obj), 0)); !errors.Is(err, ErrDamaged) {
			t.Errorf("one byte more: %v", err)
		}
	}
}

func TestOpen_AtAnotherPlace_IsDamaged(t *testing.T) {
	k := fixedKeyring(t)
	prev := object.Hash{5}
	obj, err := k.Seal(object.LogEntry, nil, BindLog(testRepo, 7, prev), []byte("entry"))
	if err != nil {
		t.Fatal(err)
	}
	other := testRepo
	other[0]++
	for name, binding := range map[string][]byte{
		"number":     BindLog(testRepo, 8, prev),
		"repository": BindLog(other, 7, prev),
		"previous":   BindLog(testRepo, 7, object.Hash{6}),
		"checkpoint": BindCheckpoint(testRepo, 7),
		"none":       nil,
	} {
		if _, _, err := k.Open(object.LogEntry, binding, obj); !errors.Is(err, ErrDamaged) {
			t.Errorf("another %s: %v", name, err)
		}
	}
	// As another class it is refused by its header, and with the header changed by its key.
	if _, _, err := k.Open(object.Checkpoint, BindLog(testRepo, 7, prev), obj); !errors.Is(err, ErrDamaged) {
		t.Errorf("another class: %v", err)
	}
	obj[4] = byte(object.Checkpoint)
	if _, _, err := k.Open(object.Checkpoint, BindLog(testRepo, 7, prev), obj); !errors.Is(err, ErrWrongKey) {
		t.Errorf("class changed: %v", err)
	}
}

func TestOpenEnvelope_AnotherKey_IsFoundByTheCommitmentAlone(t *testing.T) {
	k, err := NewKeyring(testRepo)
	if err != nil {
		t.Fatal(err)
	}
	e, err := k.NewEnvelope(object.Index, nil, BindRepo(testRepo))
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewKeyring(testRepo)
	if err != nil {
		t.Fatal(err)
	}
	// No ciphertext is at hand, so nothing can have been decrypted.
	if _, err := other.OpenEnvelope(object.Index, BindRepo(testRepo), e.Header()); !errors.Is(err, ErrWrongKey) {
		t.Fatalf("another key: %v", err)
	}
	// The right key with a changed commitment is refused in the same way, and intact ciphertext
	// does not help.
	obj := e.SealPart(bytes.Clone(e.Header()), 0, []byte("x"))
	obj[48] ^= 1
	if _, _, err := k.Open(object.Index, BindRepo(testRepo), obj); !errors.Is(err, ErrWrongKey) {
		t.Fatalf("another commitment: %v", err)
	}
	obj[48] ^= 1
	obj[80] ^= 1
	if _, _, err := k.Open(object.Index, BindRepo(testRepo), obj); !errors.Is(err, ErrDamaged) {
		t.Fatalf("ciphertext damaged: %v", err)
	}
}

func TestOpenEnvelope_EpochOfTheFuture_LacksTheKey(t *testing.T) {
	k := fixedKeyring(t)
	obj, err := k.Seal(object.Config, nil, BindRepo(testRepo), []byte("config"))
	if err != nil {
		t.Fatal(err)
	}
	old := fixedKeyring(t)
	old.epochs = old.epochs[:1]
	if _, _, err := old.Open(object.Config, BindRepo(testRepo), obj); !errors.Is(err, ErrNoKey) {
		t.Fatalf("epoch 2 with a keyring of epoch 1: %v", err)
	}
	obj, err = old.Seal(object.Config, nil, BindRepo(testRepo), []byte("config"))
	if err != nil {
		t.Fatal(err)
	}
	if _, plain, err := k.Open(object.Config, BindRepo(testRepo), obj); err != nil || string(plain) != "config" {
		t.Fatalf("epoch 1 with a keyring of epoch 2: %q %v", plain, err)
	}
}

func TestParseHeader_OfSomethingElse_SaysWhat(t *testing.T) {
	obj, err := fixedKeyring(t).Seal(object.Config, nil, nil, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	with := func(at int, b ...byte) []byte {
		c := bytes.Clone(obj)
		copy(c[at:], b)
		return c
	}
	for _, c := range []struct {
		obj    []byte
		what   string // empty: damaged
		number int64
	}{
		{nil, "magic", 0},
		{[]byte("KUR"), "magic", 0},
		{with(0, 'k'), "magic", 0},
		{with(4, 0), "class", 0},
		{with(4, 11), "class", 11},
		{with(5, 0), "format", 0},
		{with(5, 2), "format", 2},
		{with(6, 0), "suite", 0},
		{with(6, 3), "suite", 3},
		{obj[:HeaderSize-1], "", 0},
		{with(7, 1), "header byte", 1},
		{with(12, 1, 0, 1, 0), "", 0}, // a clear part of 65537 bytes
	} {
		_, err := ParseHeader(c.obj)
		var format *FormatError
		switch {
		case c.what == "" && errors.Is(err, ErrDamaged):
		case errors.As(err, &format) && errors.Is(err, ErrFormat) && format.What == c.what && format.Number == c.number:
		default:
			t.Errorf("want %q %d, got %v", c.what, c.number, err)
		}
	}
}

func TestEnvelope_ClearPart_HasItsBound(t *testing.T) {
	k := fixedKeyring(t)
	obj, err := k.Seal(object.Index, make([]byte, MaxClear), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if clearPart, _, err := k.Open(object.Index, nil, obj); err != nil || len(clearPart) != MaxClear {
		t.Fatalf("%d bytes, %v", len(clearPart), err)
	}
	if _, err := k.NewEnvelope(object.Index, make([]byte, MaxClear+1), nil); err == nil {
		t.Fatal("one byte more was accepted")
	}
}

func TestEnvelope_Slot_IsNotForKeyrings(t *testing.T) {
	k := fixedKeyring(t)
	if _, err := k.NewEnvelope(object.Slot, nil, nil); err == nil {
		t.Fatal("sealed a slot with a keyring")
	}
	slot, err := SealSlot(k, KeyFile(filled(9)), DefaultCost)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.OpenEnvelope(object.Slot, nil, slot); err == nil {
		t.Fatal("opened a slot with a keyring")
	}
}

func TestEnvelope_Parts_AreNotInterchangeable(t *testing.T) {
	k := fixedKeyring(t)
	e, err := k.NewEnvelope(object.Index, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	first, second := e.SealPart(nil, 0, []byte("aaaa")), e.SealPart(nil, 1, []byte("bbbb"))
	r, err := k.OpenEnvelope(object.Index, nil, e.Header())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := r.OpenPart([]byte("x"), 1, second); err != nil || string(got) != "xbbbb" {
		t.Fatalf("%q %v", got, err)
	}
	if _, err := r.OpenPart(nil, 1, first); !errors.Is(err, ErrDamaged) {
		t.Fatalf("part 0 as part 1: %v", err)
	}
	if got, err := r.OpenPart(first[:0], 0, first); err != nil || string(got) != "aaaa" {
		t.Fatalf("in place: %q %v", got, err)
	}
}

func TestEnvelope_SealingTwiceUnderOneNonce_Panics(t *testing.T) {
	k := fixedKeyring(t)
	e, err := k.NewEnvelope(object.Index, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	e.SealPart(nil, 1, nil)
	mustPanic(t, "the same number", func() { e.SealPart(nil, 1, nil) })
	mustPanic(t, "a smaller number", func() { e.SealPart(nil, 0, nil) })
	mustPanic(t, "the last number", func() { e.SealPart(nil, 1<<64-1, nil) })
	e.SealPart(nil, 2, nil)
	r, err := k.OpenEnvelope(object.Index, nil, e.Header())
	if err != nil {
		t.Fatal(err)
	}
	mustPanic(t, "sealing into an opened object", func() { r.SealPart(nil, 9, nil) })
}

func TestSeal_SameInputTwice_SharesNothing(t *testing.T) {
	k := fixedKeyring(t)
	salts := make(map[[32]byte]bool)
	for range 100 {
		obj, err := k.Seal(object.Sign, nil, nil, []byte("same"))
		if err != nil {
			t.Fatal(err)
		}
		salts[[32]byte(obj[16:48])] = true
	}
	if len(salts) != 100 {
		t.Fatalf("%d salts for 100 objects", len(salts))
	}
}
