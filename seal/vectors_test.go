package seal

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"slices"
	"testing"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
)

// The vectors are for any implementation of docs/format.md. Those whose bytes follow from
// their inputs must be made again exactly; those with randomness inside (a public-key
// encryption) must be read.
var update = flag.Bool("update", false, "write testdata/vectors.json anew")

const vectorsFile = "testdata/vectors.json"

type hexBytes []byte

func (h hexBytes) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h)), nil }

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

type vectors struct {
	KDF       []kdfVector         `json:"kdf"`
	Keyrings  map[string]hexBytes `json:"keyrings"`
	SignerIDs map[string]hexBytes `json:"signer_ids"`
	BlobIDs   []blobVector        `json:"blob_ids"`
	Envelopes []envelopeVector    `json:"envelopes"`
	Bodies    []bodyVector        `json:"signed_bodies"`
	Slots     []slotVector        `json:"slots"`
	Origins   []originVector      `json:"origins"`
	KeyFiles  map[string]hexBytes `json:"key_files"`
}

type kdfVector struct {
	Secret hexBytes `json:"secret"`
	Salt   hexBytes `json:"salt"`
	Info   string   `json:"info"`
	Output hexBytes `json:"output"`
}

type blobVector struct {
	Type   object.BlobType `json:"type"`
	Plain  string          `json:"plaintext"`
	Repeat int             `json:"repeat"`
	ID     string          `json:"id"`
}

type envelopeVector struct {
	Class   object.Class `json:"class"`
	Suite   Suite        `json:"suite"`
	Epoch   uint32       `json:"epoch"`
	Salt    hexBytes     `json:"salt"`
	Clear   hexBytes     `json:"clear"`
	Binding hexBytes     `json:"binding"`
	Parts   []string     `json:"parts"`
	Object  hexBytes     `json:"object"`
}

type bodyVector struct {
	Class   object.Class `json:"class"`
	Role    Role         `json:"role"`
	Binding hexBytes     `json:"binding"`
	Payload string       `json:"payload"`
	Body    hexBytes     `json:"body"`
}

type slotVector struct {
	Kind       SlotKind `json:"kind"`
	Credential hexBytes `json:"credential"` // passphrase or file secret
	Cost       *Cost    `json:"cost,omitempty"`
	Keyring    string   `json:"keyring"`
	Slot       hexBytes `json:"slot"`
}

func (v *slotVector) credential() Credential {
	if v.Kind == keyFileSlot {
		return KeyFile([32]byte(v.Credential))
	}
	return Passphrase(v.Credential)
}

type originVector struct {
	Kind    Kind     `json:"kind"`
	Suite   Suite    `json:"suite"`
	Origin  hexBytes `json:"origin"`
	Ordinal uint64   `json:"ordinal"`
	Plain   string   `json:"plaintext"`
	Segment hexBytes `json:"segment"`
}

func loadVectors(t *testing.T) *vectors {
	t.Helper()
	if *update {
		data, err := json.MarshalIndent(makeVectors(t), "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(vectorsFile, append(data, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(vectorsFile)
	if err != nil {
		t.Fatal(err)
	}
	v := new(vectors)
	if err := json.Unmarshal(data, v); err != nil {
		t.Fatal(err)
	}
	if len(v.KDF) == 0 || len(v.Keyrings) != 3 || len(v.BlobIDs) == 0 || len(v.Envelopes) < 7 ||
		len(v.Bodies) == 0 || len(v.Slots) < 3 || len(v.Origins) < 4 || len(v.KeyFiles) == 0 {
		t.Fatal("vectors are missing")
	}
	return v
}

// makeVectors makes the vectors from their inputs.
func makeVectors(t *testing.T) *vectors {
	owner := fixedKeyring(t)
	v := &vectors{Keyrings: make(map[string]hexBytes), SignerIDs: make(map[string]hexBytes), KeyFiles: make(map[string]hexBytes)}
	secret, salt := filled(50), filled(51)
	for _, k := range []kdfVector{
		{Secret: secret[:], Info: "kura/1 id data", Output: make([]byte, 32)},
		{Secret: secret[:], Salt: salt[:], Info: "kura/1 envelope data", Output: make([]byte, 64)},
		{Secret: secret[:], Salt: salt[:], Info: "kura/1 segment", Output: make([]byte, 64)},
		{Secret: secret[:], Salt: salt[:], Info: "kura/1 keyfile tag", Output: make([]byte, 16)},
	} {
		k.Output = derive(k.Secret, k.Salt, k.Info, len(k.Output))
		v.KDF = append(v.KDF, k)
	}
	for _, role := range []Role{Writer, Maintainer, Owner} {
		k := fixedSubset(t, owner, role)
		data, err := k.Encode()
		if err != nil {
			t.Fatal(err)
		}
		v.Keyrings[role.String()] = data
		_, id := k.Signer()
		v.SignerIDs[role.String()] = id[:]
		binding := BindLog(testRepo, uint64(role), object.Hash(filled(52)))
		body, err := k.SignBody(object.LogEntry, binding, []byte("payload"))
		if err != nil {
			t.Fatal(err)
		}
		v.Bodies = append(v.Bodies, bodyVector{object.LogEntry, role, binding, "payload", body})
	}
	for _, b := range []blobVector{
		{Type: object.DataBlob, Plain: "a", Repeat: 1},
		{Type: object.TreeBlob, Plain: "a", Repeat: 1},
		{Type: object.DataBlob, Plain: "kura", Repeat: 50000},
	} {
		b.ID = owner.BlobHasher().ID(b.Type, bytes.Repeat([]byte(b.Plain), b.Repeat)).String()
		v.BlobIDs = append(v.BlobIDs, b)
	}
	bindings := map[object.Class][]byte{
		object.LogEntry: BindLog(testRepo, 7, object.Hash(filled(53))), object.Checkpoint: BindCheckpoint(testRepo, 7),
		object.Sign: BindSign(testRepo, [16]byte{8}, 7),
	}
	classes := append(slices.Clone(keyringClasses[:7]), object.Index) // again, with a clear part
	for i, class := range append(classes, keyringClasses[7:]...) {
		binding, ok := bindings[class]
		if !ok {
			binding = BindRepo(testRepo)
		}
		salt := filled(byte(60 + i))
		e := envelopeVector{
			Class: class, Suite: suites[i%2], Epoch: uint32(1 + i%2), Salt: salt[:], Binding: binding, Parts: []string{"plaintext"},
		}
		if class == object.Index {
			e.Clear, e.Parts = []byte("the clear part"), []string{"ids", "", "sketches"}
		}
		e.Object = makeEnvelope(t, owner, &e)
		v.Envelopes = append(v.Envelopes, e)
	}
	fileSecret := filled(55)
	for _, s := range []slotVector{
		{Kind: passphraseSlot, Credential: []byte("passphrase"), Cost: &cheap, Keyring: "writer"},
		{Kind: passphraseSlot, Credential: []byte("pass phräse"), Cost: &DefaultCost, Keyring: "owner"},
		{Kind: keyFileSlot, Credential: fileSecret[:], Keyring: "maintainer"},
	} {
		k := fixedSubset(t, owner, roleNamed(t, s.Keyring))
		k.suite = suites[len(v.Slots)%2]
		var err error
		cost := DefaultCost
		if s.Cost != nil {
			cost = *s.Cost
		}
		if s.Slot, err = SealSlot(k, s.credential(), cost); err != nil {
			t.Fatal(err)
		}
		v.Slots = append(v.Slots, s)
	}
	for _, suite := range suites {
		for _, kind := range []Kind{Data, Meta} {
			o, key := newOrigin(t, newSecret(t, withSuite(t, suite), kind))
			data, err := wire.Marshal(o)
			if err != nil {
				t.Fatal(err)
			}
			ordinal := uint64(kind) << 32
			v.Origins = append(v.Origins, originVector{kind, suite, data, ordinal, "segment", key.Seal(nil, ordinal, []byte("segment"))})
		}
	}
	v.KeyFiles[string(EncodeKeyFile(fileSecret))] = fileSecret[:]
	return v
}

func roleNamed(t *testing.T, name string) Role {
	t.Helper()
	role, err := ParseRole(name)
	if err != nil {
		t.Fatal(err)
	}
	return role
}

// makeEnvelope seals an object with the salt, suite and epoch of the vector.
func makeEnvelope(t *testing.T, k *Keyring, v *envelopeVector) []byte {
	epoch, err := k.epoch(v.Epoch)
	if err != nil {
		t.Fatal(err)
	}
	h := Header{Class: v.Class, Format: FormatNumber, Suite: v.Suite, Epoch: v.Epoch, Salt: [32]byte(v.Salt)}
	e, err := newEnvelope(h, v.Clear, v.Binding, epoch.index[:])
	if err != nil {
		t.Fatal(err)
	}
	obj := bytes.Clone(e.Header())
	for i, part := range v.Parts {
		obj = e.SealPart(obj, uint64(i), []byte(part))
	}
	return obj
}

func TestVectors_DeterministicOnes_AreMadeAgainExactly(t *testing.T) {
	v := loadVectors(t)
	owner, err := DecodeKeyring(v.Keyrings["owner"])
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range v.KDF {
		if got := derive(k.Secret, k.Salt, k.Info, len(k.Output)); !bytes.Equal(got, k.Output) {
			t.Errorf("KDF %q: %x", k.Info, got)
		}
	}
	for _, role := range []Role{Writer, Maintainer, Owner} {
		k := fixedSubset(t, owner, role)
		if got, err := k.Encode(); err != nil || !bytes.Equal(got, v.Keyrings[role.String()]) {
			t.Errorf("%s keyring: %x %v", role, got, err)
		}
		if _, id := k.Signer(); !bytes.Equal(id[:], v.SignerIDs[role.String()]) {
			t.Errorf("%s: signer %x", role, id)
		}
	}
	for _, b := range v.BlobIDs {
		if got := owner.BlobHasher().ID(b.Type, bytes.Repeat([]byte(b.Plain), b.Repeat)); got.String() != b.ID {
			t.Errorf("%s blob %q: %s", b.Type, b.Plain, got)
		}
	}
	for _, e := range v.Envelopes {
		if got := makeEnvelope(t, owner, &e); !bytes.Equal(got, e.Object) {
			t.Errorf("%s object: %x", e.Class, got)
		}
	}
	for _, b := range v.Bodies {
		if got, err := fixedSubset(t, owner, b.Role).SignBody(b.Class, b.Binding, []byte(b.Payload)); err != nil || !bytes.Equal(got, b.Body) {
			t.Errorf("body by the %s: %x %v", b.Role, got, err)
		}
	}
}

func TestVectors_All_AreRead(t *testing.T) {
	v := loadVectors(t)
	owner, err := DecodeKeyring(v.Keyrings["owner"])
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range v.Envelopes {
		e, err := owner.OpenEnvelope(want.Class, want.Binding, want.Object)
		if err != nil {
			t.Fatalf("%s object: %v", want.Class, err)
		}
		if !bytes.Equal(e.Clear(), want.Clear) {
			t.Errorf("%s object: clear part %q", want.Class, e.Clear())
		}
		rest := want.Object[len(e.Header()):]
		for i, part := range want.Parts {
			n := len(part) + Overhead
			if got, err := e.OpenPart(nil, uint64(i), rest[:n]); err != nil || string(got) != part {
				t.Errorf("%s object: part %d: %q %v", want.Class, i, got, err)
			}
			rest = rest[n:]
		}
		if len(rest) != 0 {
			t.Errorf("%s object: %d bytes more", want.Class, len(rest))
		}
	}
	for _, b := range v.Bodies {
		payload, who, err := VerifyBody(b.Class, b.Binding, b.Body, known(fixedSubset(t, owner, b.Role)))
		if err != nil || string(payload) != b.Payload || who.Role != b.Role {
			t.Errorf("body by the %s: %q %v %v", b.Role, payload, who, err)
		}
	}
	for i, s := range v.Slots {
		k, err := OpenSlot(s.Slot, s.credential())
		if err != nil {
			t.Fatalf("slot %d: %v", i, err)
		}
		if got, err := k.Encode(); err != nil || !bytes.Equal(got, v.Keyrings[s.Keyring]) {
			t.Errorf("slot %d: keyring %x, %v", i, got, err)
		}
	}
	for i, o := range v.Origins {
		var origin Origin
		if err := wire.Unmarshal(o.Origin, &origin); err != nil {
			t.Fatal(err)
		}
		key, err := owner.OpenOrigin(&origin)
		if err != nil {
			t.Fatalf("origin %d: %v", i, err)
		}
		if got, err := key.Open(nil, o.Ordinal, o.Segment); err != nil || string(got) != o.Plain || origin.Kind != o.Kind || origin.Suite != o.Suite {
			t.Errorf("origin %d: %q %v", i, got, err)
		}
	}
	for text, secret := range v.KeyFiles {
		if got, err := DecodeKeyFile([]byte(text)); err != nil || !bytes.Equal(got[:], secret) {
			t.Errorf("key file %q: %x %v", text, got, err)
		}
	}
}
