package parity

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/kura-backup/kura/internal/testrand"
)

func TestLayout_SizesAndPercentages_AsTheFormatSays(t *testing.T) {
	for _, c := range []struct {
		body, percent                   int
		sector, sectors, groups, parity int
		section                         int
	}{
		{1, 1, 512, 1, 1, 2, 40 + 2*4*3 + 2*512},
		{512, 50, 512, 1, 1, 2, 40 + 2*4*3 + 2*512},
		{513, 3, 512, 2, 1, 2, 40 + 2*4*4 + 2*512},
		{51200, 3, 512, 100, 1, 3, 40 + 2*4*103 + 3*512},
		{65536, 3, 512, 128, 1, 4, 40 + 2*4*132 + 4*512},
		{65537, 3, 4096, 17, 1, 2, 40 + 2*4*19 + 2*4096},
		{248 * 4096, 3, 4096, 248, 1, 8, 40 + 2*4*256 + 8*4096},
		{248*4096 + 1, 3, 4096, 249, 2, 4, 40 + 2*4*257 + 8*4096},
		{253 * 4096, 1, 4096, 253, 1, 3, 40 + 2*4*256 + 3*4096},
		{170 * 4096, 50, 4096, 170, 1, 85, 40 + 2*4*255 + 85*4096},
		{171 * 4096, 50, 4096, 171, 2, 43, 40 + 2*4*257 + 86*4096},
		{4 << 20, 3, 4096, 1024, 5, 7, 40 + 2*4*1059 + 35*4096},
		{16 << 20, 3, 4096, 4096, 17, 8, 40 + 2*4*4232 + 136*4096},
		{128 << 20, 10, 4096, 32768, 142, 24, 40 + 2*4*36176 + 3408*4096},
	} {
		l := newLayout(c.body, c.percent)
		if want := (layout{c.body, c.sector, c.sectors, c.groups, c.parity}); l != want {
			t.Errorf("%d bytes, %d %%: %+v, want %+v", c.body, c.percent, l, want)
		}
		if got := Size(c.body, c.percent); got != c.section {
			t.Errorf("%d bytes, %d %%: section of %d bytes, want %d", c.body, c.percent, got, c.section)
		}
	}
}

func TestSize_NumbersOfNoObject_Zero(t *testing.T) {
	for _, c := range [][2]int{{0, 3}, {-1, 3}, {1, 0}, {1, -1}, {1, 51}, {MaxBody + 1, 3}} {
		if n := Size(c[0], c[1]); n != 0 {
			t.Errorf("body of %d bytes, %d %%: %d", c[0], c[1], n)
		}
	}
}

// Groups are as the code needs them: no larger than the field, and the parity that was asked for.
func TestLayout_AnyBody_GroupsFitTheField(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		body := 1 + int(rapid.Uint32Range(0, 1<<rapid.IntRange(1, 30).Draw(t, "bits")-1).Draw(t, "body"))
		percent := rapid.IntRange(1, MaxPercent).Draw(t, "percent")
		l := newLayout(body, percent)
		total := 0
		for g := range l.groups {
			n := l.data(g)
			total += n
			if n < 1 || n+l.parity > 256 || l.parity < 2 || 100*l.parity < n*percent {
				t.Fatalf("%+v: group %d of %d sectors", l, g, n)
			}
		}
		if total != l.sectors {
			t.Fatalf("%+v: groups of %d sectors", l, total)
		}
		if bs := bodies(body+l.size(), percent, MaxBody); len(bs) == 0 || len(bs) > 3 || !slices.Contains(bs, body) {
			t.Fatalf("%+v: an object of %d bytes could have %v", l, body+l.size(), bs)
		}
	})
}

// The field of the code: GF(2^8) with the polynomial x^8+x^4+x^3+x^2+1.
func gfMul(a, b byte) byte {
	p := byte(0)
	for ; b > 0; b >>= 1 {
		if b&1 > 0 {
			p ^= a
		}
		high := a & 0x80
		if a <<= 1; high > 0 {
			a ^= 0x1d
		}
	}
	return p
}

var gfInverse = func() (inv [256]byte) {
	for a := 1; a < 256; a++ {
		for b := 1; b < 256; b++ {
			if gfMul(byte(a), byte(b)) == 1 {
				inv[a] = byte(b)
			}
		}
	}
	return inv
}()

// slowAppend makes the section as docs/format.md words it, byte by byte.
func slowAppend(body []byte, value uint32, percent int) []byte {
	size := 512
	if len(body) > 65536 {
		size = 4096
	}
	var sectors [][]byte
	for at := 0; at < len(body); at += size {
		s := make([]byte, size)
		copy(s, body[at:])
		sectors = append(sectors, s)
	}
	kmax := 25600 / (100 + percent)
	groups := (len(sectors) + kmax - 1) / kmax
	k0 := (len(sectors) + groups - 1) / groups
	m := max(2, (k0*percent+99)/100)
	parity := make([][]byte, groups*m)
	for g := range groups {
		var data [][]byte
		for i := g; i < len(sectors); i += groups {
			data = append(data, sectors[i])
		}
		for r := range m {
			p := make([]byte, size)
			for c, d := range data {
				f := gfInverse[byte(len(data)+r)^byte(c)]
				for x := range p {
					p[x] ^= gfMul(f, d[x])
				}
			}
			parity[r*groups+g] = p
		}
	}
	footer := binary.LittleEndian.AppendUint32(nil, uint32(len(body)))
	footer = binary.LittleEndian.AppendUint32(footer, value)
	footer = append(footer, byte(percent), 0, 0, 0)
	sum := func(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }
	footer = binary.LittleEndian.AppendUint32(footer, sum(footer))
	footer = append(footer, "KPAR"...)
	var table []byte
	for i := range sectors {
		table = binary.LittleEndian.AppendUint32(table, sum(body[i*size:min(i*size+size, len(body))]))
	}
	for _, p := range parity {
		table = binary.LittleEndian.AppendUint32(table, sum(p))
	}
	return bytes.Join([][]byte{body, footer, table, bytes.Join(parity, nil), table, footer}, nil)
}

func TestAppend_AnyBody_IsWhatTheFormatSays(t *testing.T) {
	r := testrand.New(t)
	sizes := []int{1, 2, 511, 512, 513, 1024, 4000, 20000, 65535, 65536, 65537, 70000, 250 * 512, 600 * 512}
	for _, n := range sizes {
		body := noise(r, n)
		for _, percent := range []int{1, 3, 17, 50} {
			value := r.Uint32()
			got := protected(t, body, value, percent)
			if !bytes.Equal(got, slowAppend(body, value, percent)) {
				t.Fatalf("%d bytes, %d %%: the section differs", n, percent)
			}
			if len(got) != n+Size(n, percent) {
				t.Errorf("%d bytes, %d %%: %d bytes, want %d", n, percent, len(got), n+Size(n, percent))
			}
			b, v, ok := Body(got)
			if !ok || v != value || !bytes.Equal(b, body) {
				t.Errorf("%d bytes, %d %%: taken apart into %d bytes, value %d, %v", n, percent, len(b), v, ok)
			}
			if !Whole(got) {
				t.Errorf("%d bytes, %d %%: not whole", n, percent)
			}
			if f, ok := ParseFooter(got[len(got)-FooterSize:]); !ok || f != (Footer{uint32(n), value, uint8(percent)}) || f.Size() != int64(len(got)) {
				t.Errorf("%d bytes, %d %%: footer %+v, %v", n, percent, f, ok)
			}
		}
	}
}

// The largest groups, which no slow code has the time for, agree with the two that it has.
func TestAppend_ManyGroups_IsWhatTheFormatSays(t *testing.T) {
	body := noise(testrand.New(t), 256*4096+100)
	if !bytes.Equal(protected(t, body, 9, 3), slowAppend(body, 9, 3)) {
		t.Error("the section differs")
	}
}

func TestAppend_CapacityForTheSection_StaysInPlace(t *testing.T) {
	const n = 100_000
	buf := make([]byte, n, n+Size(n, 3))
	obj, err := Append(buf, 0, 3)
	if err != nil || &obj[0] != &buf[0] || len(obj) != cap(buf) {
		t.Errorf("%d bytes of %d, error %v", len(obj), cap(buf), err)
	}
}

func TestAppend_OldBytesBehindTheBody_Overwritten(t *testing.T) {
	r := testrand.New(t)
	for _, n := range []int{100, 5000, 70000} {
		body := noise(r, n)
		want := protected(t, body, 1, 10)
		dirty := append(bytes.Clone(body), noise(r, Size(n, 10)+4096)...)[:n]
		if got, err := Append(dirty, 1, 10); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes: error %v, or the section depends on what was there", n, err)
		}
	}
}

func TestAppend_Concurrent_SameBytes(t *testing.T) {
	r := testrand.New(t)
	var wg sync.WaitGroup
	for n := range 8 {
		body := noise(r, 3000*(n/2+1))
		want := protected(t, body, 0, 5)
		for range 4 {
			wg.Go(func() {
				got, err := Append(bytes.Clone(body), 0, 5)
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("error %v, or other bytes", err)
				}
			})
		}
	}
	wg.Wait()
}

func TestCoders_MoreShapesThanAreKept_StayBounded(t *testing.T) {
	for n := range 3 * maxCoders {
		if _, err := coders.get(n%200+1, 2+n/200); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(coders.codes); n > maxCoders {
		t.Errorf("%d codes are kept", n)
	}
}

func TestWhole_OneByteChanged_False(t *testing.T) {
	r := testrand.New(t)
	obj := protected(t, noise(r, 700), 5, 3)
	for at := range obj {
		bad := bytes.Clone(obj)
		bad[at] ^= 1 << r.IntN(8)
		if Whole(bad) {
			t.Errorf("a flip in byte %d of %d is not seen", at, len(obj))
		}
	}
	for n := range obj {
		if Whole(obj[:n]) {
			t.Errorf("cut to %d bytes it is whole", n)
		}
	}
}

func TestParseFooter_NumbersOfNoObject_Refused(t *testing.T) {
	good := Footer{Body: 100, Value: 7, Percent: 3}
	if f, ok := ParseFooter(good.append(nil)); !ok || f != good {
		t.Fatalf("%+v, %v", f, ok)
	}
	again := func(change func(b []byte)) []byte {
		b := good.append(nil)
		change(b)
		binary.LittleEndian.PutUint32(b[12:], sum(b[:12]))
		return b
	}
	for name, b := range map[string][]byte{
		"short":           good.append(nil)[1:],
		"long":            append([]byte{0}, good.append(nil)...),
		"nil":             nil,
		"no body":         Footer{Body: 0, Percent: 3}.append(nil),
		"body too long":   Footer{Body: MaxBody + 1, Percent: 3}.append(nil),
		"no percent":      Footer{Body: 100}.append(nil),
		"percent too big": Footer{Body: 100, Percent: 51}.append(nil),
		"reserved 1":      again(func(b []byte) { b[9] = 1 }),
		"reserved 3":      again(func(b []byte) { b[11] = 128 }),
		"magic":           bytes.Replace(good.append(nil), []byte("KPAR"), []byte("KPAK"), 1),
	} {
		if f, ok := ParseFooter(b); ok {
			t.Errorf("%s: accepted as %+v", name, f)
		}
	}
	for bit := range 8 * FooterSize {
		b := good.append(nil)
		b[bit/8] ^= 1 << (bit % 8)
		if _, ok := ParseFooter(b); ok {
			t.Errorf("bit %d flipped: accepted", bit)
		}
	}
}
