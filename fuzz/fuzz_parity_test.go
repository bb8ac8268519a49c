package fuzz

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/pack/parity"
)

// FuzzParityFooter reads any bytes as an object with parity.
func FuzzParityFooter(f *testing.F) {
	f.Fuzz(func(t *testing.T, obj []byte) {
		tail := obj[max(0, len(obj)-parity.FooterSize):]
		footer, ok := parity.ParseFooter(tail)
		if ok && (footer.Body == 0 || footer.Percent == 0 || footer.Size() != int64(footer.Body)+int64(parity.Size(int(footer.Body), int(footer.Percent)))) {
			t.Fatalf("footer %+v of %d bytes", footer, footer.Size())
		}
		body, value, split := parity.Body(obj)
		if split && (!ok || value != footer.Value || len(body) != int(footer.Body)) || !split && len(body) != len(obj) {
			t.Fatalf("body of %d bytes, value %d, footer %+v", len(body), value, footer)
		}
		if !parity.Whole(obj) {
			return
		}
		again, err := parity.Append(bytes.Clone(body), value, int(footer.Percent))
		if err != nil || !bytes.Equal(again, obj) {
			t.Fatalf("a whole object is not what its body makes: %v", err)
		}
	})
}

// FuzzParityMend damages an object in any way: it is mended, or it is beyond that, and nothing else is
// returned. The same damage with no right answer ends, too. The damage is a list of runs of seven bytes
// each: where, how long, and what is added by xor; 0 makes it zeros.
func FuzzParityMend(f *testing.F) {
	f.Fuzz(func(t *testing.T, n uint32, percent uint8, size int, damage []byte, cut uint32) {
		body := make([]byte, n%(1<<17))
		for i := range body {
			body[i] = byte(i*i>>3 + i>>9)
		}
		obj, err := parity.Append(bytes.Clone(body), n, int(percent))
		if err != nil {
			if len(body) > 0 && percent > 0 && percent <= parity.MaxPercent {
				t.Fatal(err)
			}
			return
		}
		bad := bytes.Clone(obj)
		for ; len(damage) >= 7; damage = damage[7:] {
			run := bad[int(binary.LittleEndian.Uint32(damage))%len(bad):]
			run = run[:min(len(run), int(binary.LittleEndian.Uint16(damage[4:])))]
			for i := range run {
				if run[i] ^= damage[6]; damage[6] == 0 {
					run[i] = 0
				}
			}
		}
		bad = bad[:len(bad)-int(cut)%len(bad)]
		before := bytes.Clone(bad)
		want := object.Sum(obj)
		got, rep, err := parity.Mend(bad, size, func(b []byte) bool { return object.Sum(b) == want })
		switch {
		case err == nil && bytes.Equal(got, obj):
			if rep.Bad > rep.Sectors || rep.BadParity > rep.ParitySectors || (rep.Bad+rep.BadParity > 0 || rep.Section) == bytes.Equal(bad, obj) {
				t.Fatalf("report %+v", rep)
			}
		case !errors.Is(err, parity.ErrBeyond) || got != nil:
			t.Fatalf("%d bytes, error %v", len(got), err)
		case bytes.Equal(bad, obj):
			t.Fatal("a whole object is beyond mending")
		}
		if got, _, err := parity.Mend(bad, size, func([]byte) bool { return false }); got != nil || !errors.Is(err, parity.ErrBeyond) {
			t.Fatalf("not accepted: %d bytes, error %v", len(got), err)
		}
		if !bytes.Equal(bad, before) {
			t.Fatal("the damaged object was changed")
		}
	})
}

// FuzzParityMendAny mends any bytes, of which nothing is right.
func FuzzParityMendAny(f *testing.F) {
	f.Fuzz(func(t *testing.T, obj []byte, size int) {
		asked := 0
		got, _, err := parity.Mend(obj, size, func(b []byte) bool {
			asked++
			if len(b) == 0 {
				t.Fatal("a candidate without bytes")
			}
			return false
		})
		if got != nil || !errors.Is(err, parity.ErrBeyond) || asked > 2000 {
			t.Fatalf("%d bytes, error %v, asked %d times", len(got), err, asked)
		}
	})
}

// FuzzParityMembers decodes the members of a group; those that are accepted are encoded to the same.
func FuzzParityMembers(f *testing.F) {
	f.Fuzz(func(t *testing.T, clear []byte) {
		members, err := parity.DecodeMembers(clear)
		if err != nil {
			if !errors.Is(err, parity.ErrInvalid) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		enc, err := parity.EncodeMembers(members)
		if err != nil {
			t.Fatalf("what was accepted does not encode: %v", err)
		}
		again, err := parity.DecodeMembers(enc)
		if err != nil || len(again) != len(members) {
			t.Fatalf("what was encoded does not decode: %v", err)
		}
	})
}
