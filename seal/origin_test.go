package seal

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hpke"
	"crypto/sha256"
	"errors"
	"reflect"
	"sync"
	"testing"

	"github.com/kura-backup/kura/internal/wire"
)

func newSecret(t testing.TB, k *Keyring, kind Kind) *Secret {
	t.Helper()
	s, err := k.NewSecret(kind)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newOrigin(t testing.TB, s *Secret) (*Origin, *SegmentKey) {
	t.Helper()
	o, key, err := s.NewOrigin()
	if err != nil {
		t.Fatal(err)
	}
	return o, key
}

func TestOrigin_OnlyRolesWithThePrivateKey_Open(t *testing.T) {
	owner := fixedKeyring(t)
	for _, suite := range suites {
		for _, kind := range []Kind{Data, Meta} {
			for _, by := range []Role{Writer, Maintainer, Owner} { // whoever writes, the same may read
				writer := subset(t, owner, by)
				writer.suite = suite
				s := newSecret(t, writer, kind)
				o, key := newOrigin(t, s)
				ciphertext := key.Seal([]byte("dst"), 3, []byte("segment"))[3:]
				if len(ciphertext) != len("segment")+Overhead || o.Suite != suite || o.Epoch != 2 {
					t.Fatalf("%d bytes, origin %+v", len(ciphertext), o)
				}
				for _, role := range []Role{Writer, Maintainer, Owner} {
					k := stored(t, subset(t, owner, role))
					opened, err := k.OpenOrigin(o)
					if k.CanRead(kind) != (err == nil) || (err != nil && !errors.Is(err, ErrNoKey)) {
						t.Fatalf("%s by %s, %s opens: %v", kind, by, role, err)
					}
					if err != nil {
						continue
					}
					if got, err := opened.Open([]byte("dst"), 3, ciphertext); err != nil || string(got) != "dstsegment" {
						t.Fatalf("%s by %s, %s reads: %q %v", kind, by, role, got, err)
					}
				}
			}
		}
	}
}

func TestSecret_OfAWriter_ReadsItsOwnAndNotOthers(t *testing.T) {
	writer := stored(t, subset(t, fixedKeyring(t), Writer))
	s := newSecret(t, writer, Data)
	o, key := newOrigin(t, s)
	ciphertext := key.Seal(nil, 0, []byte("segment"))
	if _, err := writer.OpenOrigin(o); !errors.Is(err, ErrNoKey) {
		t.Fatalf("the writer's keyring opens what it sealed: %v", err)
	}
	opened, err := s.OpenOrigin(o)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := opened.Open(nil, 0, ciphertext); err != nil || string(got) != "segment" {
		t.Fatalf("%q %v", got, err)
	}
	if got, err := key.Open(nil, 0, ciphertext); err != nil || string(got) != "segment" {
		t.Fatalf("the sealing key itself: %q %v", got, err)
	}
	for _, other := range []*Secret{newSecret(t, writer, Data), newSecret(t, writer, Meta)} {
		if _, err := other.OpenOrigin(o); !errors.Is(err, ErrNoKey) {
			t.Fatalf("another secret: %v", err)
		}
	}
	if s.Kind() != Data {
		t.Fatalf("kind %s", s.Kind())
	}
	if _, err := writer.NewSecret(0); err == nil {
		t.Fatal("a secret of no kind")
	}
}

// As with the envelope: a reader from docs/format.md alone.
func TestOrigin_Bytes_AreThoseOfTheFormat(t *testing.T) {
	k := withSuite(t, AES256GCM)
	o, key := newOrigin(t, newSecret(t, k, Meta))
	ciphertext := key.Seal(nil, 0x0102, []byte("segment"))
	data, err := wire.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	prefix := []byte{0xa6, 1, 2, 2, 2, 3, 1, 4, 0x59, 0x04, 0x90} // kind 2, epoch 2, suite 1, 1168 bytes
	if !bytes.HasPrefix(data, prefix) || len(o.Sealed) != 1168 {
		t.Fatalf("origin %x", data[:20])
	}
	var w Origin
	if err := wire.Unmarshal(data, &w); err != nil {
		t.Fatal(err)
	}
	seed := filled(20 + 2 + byte(Meta))
	private, err := hpke.MLKEM768X25519().NewPrivateKey(seed[:])
	if err != nil {
		t.Fatal(err)
	}
	secret, err := hpke.Open(private, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte("kura/1 origin metatest repository!"), w.Sealed)
	if err != nil {
		t.Fatal(err)
	}
	okm, err := hkdf.Key(sha256.New, secret, w.Salt[:], "kura/1 segment", 64)
	if err != nil || !bytes.Equal(okm[32:], w.Commitment[:]) {
		t.Fatalf("commitment (%v)", err)
	}
	aead, err := newAEAD(AES256GCM, okm[:32])
	if err != nil {
		t.Fatal(err)
	}
	plain, err := aead.Open(nil, []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2}, ciphertext, nil)
	if err != nil || string(plain) != "segment" {
		t.Fatalf("%q %v", plain, err)
	}
}

func TestOpenOrigin_AnyFlippedBit_IsAnError(t *testing.T) {
	k := fixedKeyring(t)
	o, key := newOrigin(t, newSecret(t, k, Data))
	ciphertext := key.Seal(nil, 0, []byte("segment"))
	data, err := wire.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	sealedAt := bytes.Index(data, o.Sealed)
	try := func(where string, flipped []byte) {
		var bad Origin
		if err := unmarshal(flipped, &bad); err != nil {
			return
		}
		opened, err := k.OpenOrigin(&bad)
		if err == nil {
			_, err = opened.Open(nil, 0, ciphertext)
		}
		if !isOurs(err) {
			t.Errorf("%s: %v", where, err)
		}
	}
	everyBit(data[:sealedAt], func(where string, flipped []byte) {
		try("head, "+where, append(flipped[:sealedAt:sealedAt], data[sealedAt:]...))
	})
	rest := sealedAt + len(o.Sealed)
	everyBit(data[rest:], func(where string, flipped []byte) {
		try("tail, "+where, append(data[:rest:rest], flipped...))
	})
	for i := sealedAt; i < rest; i++ { // decapsulation is slow: one bit of each byte
		data[i] ^= 1 << (i % 8)
		try("sealed secret", data)
		data[i] ^= 1 << (i % 8)
	}
	everyBit(ciphertext, func(where string, flipped []byte) {
		if _, err := key.Open(nil, 0, flipped); !errors.Is(err, ErrDamaged) {
			t.Errorf("ciphertext, %s: %v", where, err)
		}
	})
	if _, err := key.Open(nil, 1, ciphertext); !errors.Is(err, ErrDamaged) {
		t.Errorf("another ordinal: %v", err)
	}
	if _, err := key.Open(nil, 0, nil); !errors.Is(err, ErrDamaged) {
		t.Errorf("no ciphertext: %v", err)
	}
}

func TestOpenOrigin_OfAnotherRepository_IsDamaged(t *testing.T) {
	k := fixedKeyring(t)
	o, _ := newOrigin(t, newSecret(t, k, Data))
	other := fixedKeyring(t)
	other.repoID[0]++ // the same keys, another repository
	if _, err := other.OpenOrigin(o); !errors.Is(err, ErrDamaged) {
		t.Fatalf("got %v", err)
	}
	// Once the secret is cached, a changed commitment is still noticed.
	if _, err := k.OpenOrigin(o); err != nil {
		t.Fatal(err)
	}
	o.Commitment[0]++
	if _, err := k.OpenOrigin(o); !errors.Is(err, ErrDamaged) {
		t.Fatalf("another commitment: %v", err)
	}
	o.Commitment[0]--
	o.Kind = Meta
	if _, err := k.OpenOrigin(o); !errors.Is(err, ErrDamaged) {
		t.Fatalf("another kind: %v", err)
	}
	o.Kind, o.Suite = Data, 9
	var format *FormatError
	if _, err := k.OpenOrigin(o); !errors.As(err, &format) || format.What != "suite" || format.Number != 9 {
		t.Fatalf("another suite: %v", err)
	}
}

func TestOrigin_WithAnyFieldChanged_IsAnother(t *testing.T) {
	o, _ := newOrigin(t, newSecret(t, fixedKeyring(t), Data))
	same := *o
	same.Sealed = bytes.Clone(o.Sealed)
	if !o.Equal(&same) {
		t.Error("not equal to its copy")
	}
	for i := range reflect.TypeFor[Origin]().NumField() {
		other := same
		switch f := reflect.ValueOf(&other).Elem().Field(i); f.Kind() {
		case reflect.Slice:
			f.SetBytes(append(bytes.Clone(f.Bytes()[1:]), f.Bytes()[0]+1))
		case reflect.Array:
			f.Index(31).SetUint(f.Index(31).Uint() ^ 1)
		default:
			f.SetUint(f.Uint() + 1)
		}
		if o.Equal(&other) || other.Equal(o) {
			t.Errorf("equal in spite of another %s", reflect.TypeFor[Origin]().Field(i).Name)
		}
	}
}

func TestSegmentKey_NoncesAreNeverUsedTwice(t *testing.T) {
	k := fixedKeyring(t)
	s := newSecret(t, k, Data)
	o, key := newOrigin(t, s)
	key.Seal(nil, 0, nil)
	key.Seal(nil, 5, nil)
	mustPanic(t, "an ordinal twice", func() { key.Seal(nil, 5, nil) })
	mustPanic(t, "a smaller ordinal", func() { key.Seal(nil, 4, nil) })
	key.Seal(nil, 6, nil)
	for name, open := range map[string]func(*Origin) (*SegmentKey, error){"keyring": k.OpenOrigin, "secret": s.OpenOrigin} {
		opened, err := open(o)
		if err != nil {
			t.Fatal(err)
		}
		mustPanic(t, "sealing with an opened origin of the "+name, func() { opened.Seal(nil, 100, nil) })
	}
	// Two packs of one session have keys of their own, so their ordinals do not meet.
	salts := make(map[[32]byte]bool)
	commitments := make(map[[32]byte]bool)
	for range 100 {
		o, _ := newOrigin(t, s)
		salts[o.Salt], commitments[o.Commitment] = true, true
	}
	if len(salts) != 100 || len(commitments) != 100 {
		t.Fatalf("%d salts and %d keys for 100 packs", len(salts), len(commitments))
	}
}

func TestOpenOrigin_ManySessions_KeepTheCacheBounded(t *testing.T) {
	c := newOriginCache()
	opened := 0
	get := func(number int) [32]byte {
		secret, err := c.secret(&Origin{Sealed: []byte{byte(number), byte(number >> 8)}}, func() ([32]byte, error) {
			opened++
			return filled(byte(number)), nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return secret
	}
	const sessions = 2*maxOrigins + 10
	for number := range sessions {
		for range 2 { // opened, and then remembered
			if get(number) != filled(byte(number)) {
				t.Fatalf("session %d: another's secret", number)
			}
		}
	}
	if opened != sessions || len(c.secrets) != maxOrigins || len(c.order) != maxOrigins {
		t.Fatalf("opened %d times, %d secrets, %d in order", opened, len(c.secrets), len(c.order))
	}
	get(sessions - maxOrigins) // the oldest that is left
	if get(0); opened != sessions+1 {
		t.Fatalf("opened %d times", opened)
	}
	failed := errors.New("failed")
	for range 2 { // a failure is not remembered
		if _, err := c.secret(&Origin{Sealed: []byte("bad")}, func() ([32]byte, error) { return [32]byte{}, failed }); !errors.Is(err, failed) {
			t.Fatalf("got %v", err)
		}
	}
}

func TestOpenOrigin_ManyGoroutines_Agree(t *testing.T) {
	k := fixedKeyring(t)
	s := newSecret(t, k, Meta)
	o, key := newOrigin(t, s)
	ciphertext := key.Seal(nil, 0, []byte("segment"))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				opened, err := k.OpenOrigin(o)
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := opened.Open(nil, 0, ciphertext); err != nil || string(got) != "segment" {
					t.Errorf("%q %v", got, err)
				}
				if _, err := key.Open(nil, 0, ciphertext); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
