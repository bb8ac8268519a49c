package delta_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/kura-backup/kura/delta"
)

// TestEncode_ChangesNearby_AsSmallAsWithTheWholeBase compares the search around the place where copying goes on with the one of
// the whole base, where changes are as databases make them.
func TestEncode_ChangesNearby_AsSmallAsWithTheWholeBase(t *testing.T) {
	seed := *quality
	var e delta.Encoder
	for name, edit := range map[string]func(d *dump, r *rand.Rand) []byte{
		"1% and 1%": func(d *dump, _ *rand.Rand) []byte { d.edit(.01, .01); return d.bytes() },
		"5% and 5%": func(d *dump, _ *rand.Rand) []byte { d.edit(.05, .05); return d.bytes() },
		"rows left out": func(d *dump, r *rand.Rand) []byte {
			for range 100 {
				at := r.IntN(len(d.rows) - 10)
				d.rows = append(d.rows[:at:at], d.rows[at+1+r.IntN(9):]...)
			}
			return d.bytes()
		},
		"fields": func(d *dump, r *rand.Rand) []byte {
			b := d.bytes()
			for range 200 {
				copy(b[r.IntN(len(b)):], noise(r.Uint64(), 1+r.IntN(100)))
			}
			return b
		},
		"pages": func(d *dump, r *rand.Rand) []byte {
			b := d.bytes()
			for at := 1 << 14; at < len(b); at += 4 << 14 {
				copy(b[at:min(len(b), at+1<<14)], noise(r.Uint64(), 1<<14))
			}
			return b
		},
		"16 KiB more": func(d *dump, r *rand.Rand) []byte {
			b := d.bytes()
			at := r.IntN(len(b))
			return bytes.Join([][]byte{b[:at], noise(r.Uint64(), 1<<14), b[at:]}, nil)
		},
		"the first eighth is gone": func(d *dump, _ *rand.Rand) []byte { b := d.bytes(); return b[len(b)/8:] },
		"halves swapped": func(d *dump, _ *rand.Rand) []byte {
			b := d.bytes()
			return bytes.Join([][]byte{b[len(b)/2:], b[:len(b)/2]}, nil)
		},
	} {
		for i := range uint64(3) {
			d := newDump(seed+i, 1<<19)
			base := d.bytes()
			target := edit(d, rand.New(rand.NewPCG(seed, i)))
			got, _ := encode(t, &e, base, target)
			want, ok := e.EncodeWhole(base, target, len(target))
			if !ok {
				t.Fatalf("%s: no stream of the whole base", name)
			}
			if len(got) > len(want)+len(want)/20+64 {
				t.Errorf("%s: %d bytes, by the whole base %d", name, len(got), len(want))
			}
		}
	}
}

func TestCommon_AnyLengths_IsWhatIsEqual(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := noise(rapid.Uint64().Draw(t, "seed"), rapid.IntRange(0, 3000).Draw(t, "a"))
		b := bytes.Clone(a)[:rapid.IntRange(0, len(a)).Draw(t, "b")]
		want := len(b)
		if len(b) > 0 && rapid.Bool().Draw(t, "differ") {
			want = rapid.IntRange(0, len(b)-1).Draw(t, "at")
			b[want] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		}
		if got := delta.Common(a, b); got != want {
			t.Fatalf("%d, want %d", got, want)
		}
		if got := delta.Common(b, a); got != want {
			t.Fatalf("the other way round %d, want %d", got, want)
		}
	})
}
