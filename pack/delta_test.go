package pack

import (
	"bytes"
	"errors"
	"testing"

	"github.com/kura-backup/kura/delta"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrand"
	"github.com/kura-backup/kura/internal/zst"
	"github.com/kura-backup/kura/seal"
)

// deltaOf makes a segment of target as a delta against base.
func deltaOf(t testing.TB, k *seal.Keyring, base, target []byte) NewSegment {
	t.Helper()
	stream, _, ok := new(delta.Encoder).Encode(nil, base, target, len(target))
	if !ok {
		t.Fatal("the target has too little in common with the base")
	}
	s := newBlobs(k, object.DataBlob, target).segment()
	s.Coding, s.Stored = Delta, EncodeDelta(nil, stream, zst.Default)
	s.Bases, s.Base, s.Depth = []object.BlobID{k.BlobHasher().ID(object.DataBlob, base)}, base, 1
	s.Sketch, s.HasSketch = delta.SketchOf(target)
	return s
}

// edited returns data with some bytes changed.
func edited(data []byte) []byte {
	out := bytes.Clone(data)
	for i := 100; i < len(out); i += 10_000 {
		out[i] ^= 1
	}
	return out
}

func TestBuilder_Delta_ReadsBackWithItsBase(t *testing.T) {
	r, k := testrand.New(t), keyring(t)
	base := noise(r, 300_000)
	target := edited(base)
	b := builder(t, k, object.DataPack, secret(t, k, seal.Data))
	s := deltaOf(t, k, base, target)
	s.BasesSum = 1000
	if err := b.Add(s); err != nil {
		t.Fatal(err)
	}
	obj, ref, _, err := b.Finish(false)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := OpenDirectory(k, ref.Class, obj)
	if err != nil {
		t.Fatal(err)
	}
	got := dir.Segments[0]
	if got.Coding != Delta || got.Depth != 1 || got.Bases[0] != s.Bases[0] || got.ChainSum != 1000+uint64(got.Stored) {
		t.Errorf("the directory says %+v", got)
	}
	if got.Stored > 10_000 {
		t.Errorf("thirty changed bytes take %d", got.Stored)
	}
	if !got.HasSketch || got.Sketch != s.Sketch {
		t.Errorf("sketch %v, want %v", got.Sketch, s.Sketch)
	}
	key, err := k.OpenOrigin(dir.Origins[0])
	if err != nil {
		t.Fatal(err)
	}
	stored, err := key.Open(nil, got.Ordinal, obj[got.Offset:got.Offset+got.Stored])
	if err != nil {
		t.Fatal(err)
	}
	plain, err := DecodeSegment(nil, stored, Delta, len(target), base)
	if err != nil || !bytes.Equal(plain, target) {
		t.Errorf("it does not read back: %v", err)
	}
	for name, wrong := range map[string][]byte{"no base": nil, "a shorter base": base[:len(base)/2]} {
		if _, err := DecodeSegment(nil, stored, Delta, len(target), wrong); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestBuilder_DeltaOfAnotherBase_IsNotWritten(t *testing.T) {
	r, k := testrand.New(t), keyring(t)
	base := noise(r, 100_000)
	s := deltaOf(t, k, base, edited(base))
	s.Base = bytes.Clone(base)
	s.Base[50_001] ^= 1
	b := builder(t, k, object.DataPack, secret(t, k, seal.Data))
	if err := b.Add(s); !errors.Is(err, ErrVerify) {
		t.Errorf("error %v, want %v", err, ErrVerify)
	}
	if !b.Empty() {
		t.Error("it left something behind")
	}
}

func TestBuilder_ImpossibleDeltas_Refused(t *testing.T) {
	r, k := testrand.New(t), keyring(t)
	base := noise(r, 100_000)
	for name, spoil := range map[string]func(*NewSegment){
		"without bases":  func(s *NewSegment) { s.Bases = nil },
		"too many bases": func(s *NewSegment) { s.Bases = make([]object.BlobID, MaxBases+1) },
		"of itself":      func(s *NewSegment) { s.Bases = s.IDs },
		"without depth":  func(s *NewSegment) { s.Depth = 0 },
		"too deep":       func(s *NewSegment) { s.Depth = MaxDepth + 1 },
		"chain too long": func(s *NewSegment) { s.BasesSum = 1 << 40 },
	} {
		s := deltaOf(t, k, base, edited(base))
		spoil(&s)
		b := builder(t, k, object.DataPack, secret(t, k, seal.Data))
		if err := b.Add(s); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	b := builder(t, k, object.TreePack, secret(t, k, seal.Meta))
	if err := b.Add(deltaOf(t, k, base, edited(base))); !errors.Is(err, ErrInvalid) {
		t.Errorf("in a tree pack: error %v", err)
	}
}
