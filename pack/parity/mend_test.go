package parity

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"runtime"
	"testing"

	"pgregory.net/rapid"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrand"
)

// mend mends a damaged object, and fails the test if the outcome is anything but the right bytes or
// ErrBeyond.
func mend(t interface {
	Helper()
	Fatalf(string, ...any)
}, want, bad []byte, size int) (Report, bool,
) {
	t.Helper()
	before := bytes.Clone(bad)
	got, rep, err := Mend(bad, size, byHash(want))
	if !bytes.Equal(bad, before) {
		t.Fatalf("the damaged object was changed")
	}
	switch {
	case err == nil && bytes.Equal(got, want):
		return rep, true
	case errors.Is(err, ErrBeyond) && got == nil && rep == Report{}:
		return rep, false
	}
	t.Fatalf("error %v, or wrong bytes: %d", err, len(got))
	return rep, false
}

// spoil changes every byte of b, or makes all of it zero.
func spoil(r *rand.Rand, b []byte) {
	before := bytes.Clone(b)
	defer func() {
		if bytes.Equal(b, before) { // it was zero
			b[0] = 1
		}
	}()
	switch r.IntN(4) {
	case 0: // one bit
		b[r.IntN(len(b))] ^= 1 << r.IntN(8)
	case 1:
		for i := range b {
			b[i] ^= byte(1 + r.IntN(255))
		}
	case 2: // torn
		torn := b[r.IntN(len(b)):]
		clear(torn)
		torn[0] = ^torn[0]
	default:
		clear(b)
	}
}

func TestMend_EveryFlippedBit_Mended(t *testing.T) {
	r := testrand.New(t)
	count := 0
	for _, c := range []struct{ body, percent int }{{1, 3}, {100, 3}, {1300, 3}, {3000, 40}, {512, 1}} {
		obj := protected(t, noise(r, c.body), 7, c.percent)
		for at := range obj {
			bad := bytes.Clone(obj)
			bad[at] ^= 1 << r.IntN(8)
			rep, ok := mend(t, obj, bad, []int{0, len(obj)}[at%2])
			if !ok {
				t.Fatalf("a flip in byte %d of an object of %d bytes (%d %%) is beyond", at, c.body, c.percent)
			}
			l := newLayout(c.body, c.percent)
			off := at - l.body
			parity := off >= l.firstParity() && off < l.lastFooter()-l.tableSize()
			want := Report{Sectors: l.sectors, ParitySectors: l.paritySectors(), Section: off >= 0 && !parity}
			if off < 0 {
				want.Bad = 1
			} else if parity {
				want.BadParity = 1
			}
			if rep != want {
				t.Fatalf("byte %d: %+v, want %+v", at, rep, want)
			}
			count++
		}
	}
	t.Logf("%d flipped bits mended", count)
}

func TestMend_EveryTruncation_MendedIfTheBodyIsThere(t *testing.T) {
	r := testrand.New(t)
	mended := 0
	for _, c := range []struct{ body, percent int }{{5, 3}, {300, 3}, {1030, 3}, {1500, 50}} {
		obj := protected(t, body(r, c.body), 0, c.percent)
		for n := range obj {
			_, ok := mend(t, obj, obj[:n], len(obj))
			if ok != (n >= c.body && n > 0) {
				t.Fatalf("object of %d cut to %d of %d bytes: mended %v", c.body, n, len(obj), ok)
			}
			// Without a size, the first footer is needed.
			_, alone := mend(t, obj, obj[:n], 0)
			if alone != (n >= c.body+FooterSize) {
				t.Fatalf("object of %d cut to %d of %d bytes, no size: mended %v", c.body, n, len(obj), alone)
			}
			if ok {
				mended++
			}
		}
	}
	t.Logf("%d truncated objects mended", mended)
}

// pattern is damage that is within the budget, or just beyond it in one group.
type pattern struct {
	obj, bad []byte
	size     int
	beyond   bool
}

func drawPattern(t *rapid.T) pattern {
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
	body := rapid.OneOf(rapid.IntRange(1, 5000), rapid.IntRange(60000, 70000), rapid.IntRange(1<<20, 1<<20+100_000)).Draw(t, "body")
	percent := rapid.OneOf(rapid.Just(3), rapid.IntRange(1, 10), rapid.IntRange(1, MaxPercent)).Draw(t, "percent")
	l := newLayout(body, percent)
	obj, err := Append(noise(r, body), r.Uint32(), percent)
	if err != nil {
		t.Fatal(err)
	}
	p := pattern{obj: obj, bad: bytes.Clone(obj), size: rapid.SampledFrom([]int{0, len(obj), len(obj) + 1, 17}).Draw(t, "size")}
	section := p.bad[l.body:]
	over := -1
	if rapid.IntRange(0, 4).Draw(t, "beyond") == 0 {
		over = r.IntN(l.groups)
		p.beyond = l.data(over) > l.parity // otherwise all of the group can be lost, and its parity stays
	}
	for g := range l.groups {
		n := r.IntN(l.parity + 1)
		shards := r.Perm(l.data(g) + l.parity)
		if g == over && p.beyond {
			n, shards = l.parity+1, r.Perm(l.data(g)) // sectors of the body: lost parity alone is no loss
		}
		for _, s := range shards[:n] {
			if s < l.data(g) {
				spoil(r, l.bodySector(p.bad[:l.body], g+s*l.groups))
			} else {
				spoil(r, l.paritySector(section, g+(s-l.data(g))*l.groups))
			}
		}
	}
	// Beside it one table and one footer, at either end.
	if rapid.Bool().Draw(t, "table") {
		at := l.tables()[r.IntN(2)]
		spoil(r, section[at:at+l.tableSize()])
	}
	if rapid.Bool().Draw(t, "footer") {
		at := []int{0, l.lastFooter()}[r.IntN(2)]
		spoil(r, section[at:at+FooterSize])
	}
	if rapid.Bool().Draw(t, "trailing") {
		p.bad = append(p.bad, noise(r, 1+r.IntN(5000))...)
	}
	return p
}

func TestMend_AnyPattern_MendedWithinTheBudgetAndNeverWrong(t *testing.T) {
	within, beyond := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		p := drawPattern(t)
		_, ok := mend(t, p.obj, p.bad, p.size)
		if ok == p.beyond && !bytes.Equal(p.obj, p.bad) {
			t.Fatalf("mended %v, beyond %v", ok, p.beyond)
		}
		if p.beyond {
			beyond++
		} else {
			within++
		}
	})
	t.Logf("%d patterns within the budget, %d beyond", within, beyond)
}

// A torn run is spread over all groups: whatever its place, as many sectors in a row as there are
// parity sectors can be lost.
func TestMend_LongestTornRun_Mended(t *testing.T) {
	r := testrand.New(t)
	for _, body := range []int{3 << 20, 4<<20 - 77, 100_000, 40_000} {
		obj := protected(t, noise(r, body), 1, 3)
		l := newLayout(body, 3)
		run := l.paritySectors() * l.sector
		for range 6 {
			at := r.IntN(l.sectors-l.paritySectors()+1) * l.sector
			bad := bytes.Clone(obj)
			clear(bad[at:min(at+run, body)])
			rep, ok := mend(t, obj, bad, 0)
			if !ok || rep.Bad != l.paritySectors() {
				t.Errorf("%d bytes: %d zeroed from %d: %+v, mended %v", body, run, at, rep, ok)
			}
			if end := at + run; end < body {
				copy(bad[end:], make([]byte, min(l.sector, body-end)))
				if _, ok := mend(t, obj, bad, 0); ok {
					t.Errorf("%d bytes: one sector more, and it is mended", body)
				}
			}
		}
	}
}

func TestMend_SectionLost_MadeAgain(t *testing.T) {
	r := testrand.New(t)
	for _, n := range []int{5, 700, 66000, 200_000} {
		obj := protected(t, body(r, n), 0, 3)
		for name, change := range map[string]func(b []byte) []byte{
			"cut":                 func(b []byte) []byte { return b[:n] },
			"zeroed":              func(b []byte) []byte { clear(b[n:]); return b },
			"noise":               func(b []byte) []byte { return append(b[:n], noise(r, len(b)-n)...) },
			"noise, and too long": func(b []byte) []byte { return append(b[:n], noise(r, len(b)-n+50)...) },
			"both footers":        func(b []byte) []byte { clear(b[n : n+FooterSize]); clear(b[len(b)-FooterSize:]); return b },
			"both tables": func(b []byte) []byte {
				l := newLayout(n, 3)
				for _, at := range l.tables() {
					clear(b[n+at : n+at+l.tableSize()])
				}
				return b
			},
		} {
			if rep, ok := mend(t, obj, change(bytes.Clone(obj)), len(obj)); !ok || rep.Bad != 0 || !rep.Section {
				t.Errorf("%d bytes, %s: %+v, mended %v", n, name, rep, ok)
			}
		}
	}
}

// What is nothing but damage is not tried with every percentage.
func TestMend_Garbage_AcceptIsAskedOnce(t *testing.T) {
	r := testrand.New(t)
	pack := body(r, 300_000)
	pack[4] = byte(object.DataPack)
	for name, bad := range map[string][]byte{"zeros": make([]byte, 1<<20), "noise": noise(r, 1<<20), "noise behind a pack's header": pack} {
		calls := 0
		if _, _, err := Mend(bad, 0, func([]byte) bool { calls++; return false }); !errors.Is(err, ErrBeyond) || calls != 1 {
			t.Errorf("%s: asked %d times, error %v", name, calls, err)
		}
	}
}

// Whatever the percentage, an object that lost both footers has few that it could have had. The right one is told
// by the sums of the sectors that are whole, so two of a body that is nothing but noise may not be all.
func TestMend_BothFootersLostAndBodyDamaged_Mended(t *testing.T) {
	r := testrand.New(t)
	for percent := 1; percent <= MaxPercent; percent++ {
		n := 2*smallSector + 1 + r.IntN(150_000)
		body := noise(r, n)
		value := uint32(0)
		if percent%2 == 0 && n >= 8 {
			copy(body[n-4:], packMagic)
			value = binary.LittleEndian.Uint32(body[n-8:])
		}
		obj := protected(t, body, value, percent)
		for _, size := range []int{0, len(obj), len(obj) + 99} {
			bad := bytes.Clone(obj)
			clear(bad[n : n+FooterSize])
			bad[len(bad)-1] ^= 1
			bad[r.IntN(n)] ^= 4
			bad[n-1] ^= 1 // the value is found once the body is mended
			if _, ok := mend(t, obj, bad, size); !ok {
				t.Errorf("%d bytes, %d %%, size %d: beyond", n, percent, size)
			}
		}
	}
}

// Sums that are damaged in both tables say nothing of their sectors, which may be whole.
func TestMend_SameSumsDamagedInBothTables_Mended(t *testing.T) {
	r := testrand.New(t)
	const n = 500_000
	obj := protected(t, noise(r, n), 0, 3)
	l := newLayout(n, 3)
	for _, zero := range []bool{false, true} {
		bad := bytes.Clone(obj)
		for _, at := range l.tables() {
			part := bad[n+at+40 : n+at+40+4*20] // more than parity sectors
			for i := range part {
				part[i] ^= byte(1 + r.IntN(255))
			}
			if zero {
				clear(part)
			}
		}
		bad[5] ^= 1
		rep, ok := mend(t, obj, bad, 0)
		if !ok || rep.Bad != 1 || !rep.Section {
			t.Errorf("zeroed %v: %+v, mended %v", zero, rep, ok)
		}
	}
}

func TestMend_NothingDamaged_TheSameMemory(t *testing.T) {
	obj := protected(t, noise(testrand.New(t), 3000), 0, 3)
	for name, c := range map[string]struct {
		obj  []byte
		size int
		want Report
	}{
		"whole":          {obj, len(obj), Report{Sectors: 6, ParitySectors: 2}},
		"size not known": {obj, 0, Report{Sectors: 6, ParitySectors: 2}},
		"wrong size":     {obj, 5, Report{Sectors: 6, ParitySectors: 2}},
		"too long":       {append(bytes.Clone(obj), 0, 1, 2), len(obj), Report{Sectors: 6, ParitySectors: 2, Section: true}},
	} {
		got, rep, err := Mend(c.obj, c.size, byHash(obj))
		if err != nil || &got[0] != &c.obj[0] || !bytes.Equal(got, obj) || rep != c.want {
			t.Errorf("%s: %+v, error %v", name, rep, err)
		}
	}
	plain := []byte("an object without parity")
	if got, rep, err := Mend(plain, 0, byHash(plain)); err != nil || !bytes.Equal(got, plain) || rep != (Report{}) {
		t.Errorf("without parity: %q, %+v, error %v", got, rep, err)
	}
}

func TestMend_NothingIsAccepted_Beyond(t *testing.T) {
	r := testrand.New(t)
	obj := protected(t, noise(r, 3000), 0, 3)
	for _, bad := range [][]byte{nil, {}, {1}, []byte("KPAR"), obj, obj[:100], noise(r, 70000)} {
		for _, size := range []int{-1, 0, 1, len(bad), 1 << 20, 1 << 40} {
			calls := 0
			got, _, err := Mend(bad, size, func([]byte) bool { calls++; return false })
			if got != nil || !errors.Is(err, ErrBeyond) {
				t.Fatalf("%d bytes, size %d: %d bytes, error %v", len(bad), size, len(got), err)
			}
			if calls > 1000 {
				t.Errorf("%d bytes, size %d: accept was asked %d times", len(bad), size, calls)
			}
		}
	}
}

// Footers are believed only where they say that they are, and only some of them.
func TestMend_ManyPlantedFooters_TheRealOnesAreFound(t *testing.T) {
	r := testrand.New(t)
	body := noise(r, 100_000)
	for at := 200; at+FooterSize < len(body); at += FooterSize {
		copy(body[at:], Footer{Body: uint32(at), Value: 1, Percent: uint8(1 + r.IntN(MaxPercent))}.append(nil))
	}
	obj := protected(t, body, 0, 3)
	bad := bytes.Clone(obj)
	bad[10] ^= 1
	if _, ok := mend(t, obj, bad, len(obj)); !ok {
		t.Error("beyond")
	}
	calls := 0
	if _, _, err := Mend(bad, 0, func([]byte) bool { calls++; return false }); !errors.Is(err, ErrBeyond) || calls > 300 {
		t.Errorf("%d calls, error %v", calls, err)
	}
}

func TestMend_HostileBytes_AllocationBounded(t *testing.T) {
	r := testrand.New(t)
	huge := append(noise(r, 1000), Footer{Body: MaxBody, Percent: 50}.append(nil)...)
	for _, bad := range [][]byte{huge, noise(r, 1<<20), protected(t, noise(r, 1<<20), 0, 50)[:1<<20+5000]} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, _, err := Mend(bad, MaxBody, func([]byte) bool { return false }); !errors.Is(err, ErrBeyond) {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > uint64(4*len(bad)+64<<20) {
			t.Errorf("%d bytes allocated for %d", n, len(bad))
		}
	}
}
