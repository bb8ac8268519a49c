package fuzz

import (
	"bytes"
	"errors"
	"testing"

	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/internal/zst"
)

type wirePart struct {
	Size uint32 `cbor:"1,keyasint"`
	Tag  []byte `cbor:"2,keyasint,omitempty"`
}

type wireTime struct {
	_    struct{} `cbor:",toarray"`
	Sec  int64
	Nsec uint32
}

// wireSample has a field of each form that the structures of the format use.
type wireSample struct {
	ID    [16]byte   `cbor:"1,keyasint"`
	Name  []byte     `cbor:"2,keyasint,omitempty"`
	Host  string     `cbor:"3,keyasint,omitempty"`
	Parts []wirePart `cbor:"4,keyasint,omitempty"`
	One   *wirePart  `cbor:"5,keyasint,omitempty"`
	Time  wireTime   `cbor:"6,keyasint"`
	Names [][]byte   `cbor:"7,keyasint,omitempty"`
	Tags  []string   `cbor:"8,keyasint,omitempty"`
	Count uint64     `cbor:"40,keyasint,omitempty"`
}

func FuzzWireUnmarshal(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		var v wireSample
		if err := wire.Unmarshal(data, &v); err != nil {
			if !errors.Is(err, wire.ErrInvalid) && !errors.Is(err, wire.ErrUnknownKey) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		first, err := wire.Marshal(&v)
		if err != nil {
			t.Fatal(err)
		}
		var again wireSample
		if err := wire.Unmarshal(first, &again); err != nil {
			t.Fatalf("its own encoding is refused: %v", err)
		}
		second, err := wire.Marshal(&again)
		if err != nil || !bytes.Equal(first, second) {
			t.Fatalf("encodes as %x, then as %x (%v)", first, second, err)
		}
	})
}

func FuzzZstDecode(f *testing.F) {
	f.Fuzz(func(t *testing.T, frame []byte, limit uint32) {
		most := int(limit % (1 << 20))
		prefix := []byte("prefix")
		got, err := zst.Decode(bytes.Clone(prefix), frame, most)
		if err != nil {
			if !errors.Is(err, zst.ErrInvalid) && !errors.Is(err, zst.ErrTooLarge) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		content, ok := bytes.CutPrefix(got, prefix)
		if !ok || len(content) > most {
			t.Fatalf("%d bytes, at most %d were asked for", len(got), most)
		}
		back, err := zst.Decode(nil, zst.Encode(nil, content, zst.Fastest), len(content))
		if err != nil || !bytes.Equal(back, content) {
			t.Fatalf("content does not survive: %v", err)
		}
	})
}
