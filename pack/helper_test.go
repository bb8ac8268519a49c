package pack

import (
	"flag"
	"math/rand/v2"
	"testing"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/zst"
	"github.com/kura-backup/kura/seal"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func keyring(t testing.TB) *seal.Keyring {
	t.Helper()
	k, err := seal.NewKeyring([16]byte{7})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func secret(t testing.TB, k *seal.Keyring, kind seal.Kind) *seal.Secret {
	t.Helper()
	s, err := k.NewSecret(kind)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func builder(t testing.TB, k *seal.Keyring, class object.Class, s *seal.Secret) *Builder {
	t.Helper()
	b, err := NewBuilder(k, class, object.SessionID{1, 2}, s, Options{}, make([]byte, 0, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// blobs are plaintexts with their ids.
type blobs struct {
	ids     []object.BlobID
	lengths []uint32
	plain   []byte
}

func newBlobs(k *seal.Keyring, typ object.BlobType, plaintexts ...[]byte) *blobs {
	b := &blobs{}
	for _, p := range plaintexts {
		b.ids = append(b.ids, k.BlobHasher().ID(typ, p))
		b.lengths = append(b.lengths, uint32(len(p)))
		b.plain = append(b.plain, p...)
	}
	return b
}

// segment codes the blobs as a new segment.
func (b *blobs) segment() NewSegment {
	stored, coding := EncodeSegment(nil, b.plain, zst.Default)
	return NewSegment{Coding: coding, Stored: stored, Plain: b.plain, IDs: b.ids, Lengths: b.lengths}
}

func noise(r *rand.Rand, n int) []byte {
	out := make([]byte, n)
	for i := range out {
		out[i] = byte(r.Uint32())
	}
	return out
}

func text(r *rand.Rand, n int) []byte {
	words := []string{"blob ", "pack ", "chunk ", "index ", "snapshot ", "tree "}
	var out []byte
	for len(out) < n {
		out = append(out, words[r.IntN(len(words))]...)
	}
	return out[:n]
}

// openSegment decrypts and decodes a segment of a pack and compares its blobs' ids.
func openSegment(t testing.TB, k *seal.Keyring, typ object.BlobType, obj []byte, d *Directory, i int) []byte {
	t.Helper()
	s := &d.Segments[i]
	key, err := k.OpenOrigin(d.Origins[s.Origin])
	if err != nil {
		t.Fatal(err)
	}
	stored, err := key.Open(nil, s.Ordinal, obj[s.Offset:s.Offset+s.Stored])
	if err != nil {
		t.Fatal(err)
	}
	plain, err := DecodeSegment(nil, stored, s.Coding, int(s.Plain), nil)
	if err != nil {
		t.Fatal(err)
	}
	rest := plain
	for j, id := range s.IDs {
		if got := k.BlobHasher().ID(typ, rest[:s.Lengths[j]]); got != id {
			t.Fatalf("segment %d, blob %d: id %v, want %v", i, j, got, id)
		}
		rest = rest[s.Lengths[j]:]
	}
	return plain
}
