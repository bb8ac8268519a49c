package pack

import (
	"bytes"
	"errors"
	"testing"

	"github.com/kura-backup/kura/internal/testrand"
	"github.com/kura-backup/kura/internal/zst"
)

func TestEncodeSegment_RawWhereCompressionSavesLittle(t *testing.T) {
	r := testrand.New(t)
	for name, c := range map[string]struct {
		plain  []byte
		coding Coding
	}{
		"noise":                {noise(r, 64<<10), Raw},
		"text":                 {text(r, 64<<10), Zstd},
		"noise and some zeros": {append(noise(r, 64<<10), make([]byte, 1<<10)...), Raw},
		"noise and zeros":      {append(noise(r, 64<<10), make([]byte, 4<<10)...), Zstd},
		"one byte":             {[]byte{1}, Raw},
	} {
		stored, coding := EncodeSegment(nil, c.plain, zst.Default)
		if coding != c.coding {
			t.Errorf("%s: %v, %d of %d bytes", name, coding, len(stored), len(c.plain))
		}
		plain, err := DecodeSegment([]byte("before"), stored, coding, len(c.plain), nil)
		if err != nil || !bytes.Equal(plain, append([]byte("before"), c.plain...)) {
			t.Errorf("%s: does not decode: %v", name, err)
		}
		for _, n := range []int{len(c.plain) - 1, len(c.plain) + 1} {
			if _, err := DecodeSegment(nil, stored, coding, n, nil); !errors.Is(err, ErrInvalid) {
				t.Errorf("%s: as %d bytes: error %v", name, n, err)
			}
		}
	}
}

func TestDecodeSegment_UnknownCoding_Refused(t *testing.T) {
	for _, c := range []Coding{3, 255} {
		if _, err := DecodeSegment(nil, []byte{1}, c, 1, nil); !errors.Is(err, ErrCoding) {
			t.Errorf("%v: error %v", c, err)
		}
	}
}

func BenchmarkBuilder_Add(b *testing.B) {
	r, k := testrand.New(b), keyring(b)
	s := secret(b, k, 1)
	seg := newBlobs(k, 1, noise(r, 1<<20)).segment()
	buf := make([]byte, 0, Options{}.BufferSize(5))
	b.SetBytes(1 << 20)
	var p *Builder
	for range b.N {
		if p == nil || !p.Fits(len(seg.Stored)) {
			p, _ = NewBuilder(k, 5, [16]byte{}, s, Options{}, buf)
		}
		if err := p.Add(seg); err != nil {
			b.Fatal(err)
		}
	}
}
