package rdb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestUpdate_KnownValue(t *testing.T) {
	if got := update(0, []byte("123456789")); got != 0xe9c6d914c4b8d9ca {
		t.Errorf("%x", got)
	}
}

func TestWrite_AnyOrder_SameBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		keys := drawKeys(t)
		functions := []string{"one", "two", "three"}
		var want []byte
		for range 2 {
			in := file(t, keys, functions)
			f, err := Examine(bytes.NewReader(in), int64(len(in)), memoryOf(t))
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			if err := f.Write(&out); err != nil {
				t.Fatal(err)
			}
			if want == nil {
				want = out.Bytes()
			}
			if !bytes.Equal(out.Bytes(), want) {
				t.Fatalf("%x\nand\n%x", out.Bytes(), want)
			}
			info, err := Read(&out)
			if err != nil {
				t.Fatal(err)
			}
			if !info.SameKeys(&f.Info) || info.Keys() != uint64(len(keys)) || info.Functions != 3 || !info.Checksum {
				t.Fatalf("%+v, was %+v", info, f.Info)
			}
		}
	})
}

// What comes out is what went in, record by record.
func TestWrite_AnyFile_KeepsRecords(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		keys := drawKeys(t)
		in := file(t, keys, nil)
		f, err := Examine(bytes.NewReader(in), int64(len(in)), memoryOf(t))
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := f.Write(&out); err != nil {
			t.Fatal(err)
		}
		var want []string
		for _, k := range keys {
			b := new(builder)
			sorted := *k
			sorted.members = slices.Sorted(slices.Values(k.members))
			if k.members == nil {
				sorted.members = nil
			} else if sorted.members == nil {
				sorted.members = []string{}
			}
			sorted.write(b, -1)
			want = append(want, fmt.Sprint(k.db, " ", len(b.Bytes()), byteSum(b.Bytes())))
		}
		var got []string
		r, err := NewReader(bytes.NewReader(out.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		db := uint64(0)
		last := ""
		for {
			it, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			switch it.Kind {
			case Database:
				db, last = it.Number, ""
			case Record:
				if string(it.Key) < last {
					t.Fatalf("%q comes after %q", it.Key, last)
				}
				last = string(it.Key)
				p := out.Bytes()[it.Start:it.End]
				got = append(got, fmt.Sprint(db, " ", len(p), byteSum(p)))
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("%q\nwant\n%q", got, want)
		}
	})
}

// byteSum does not depend on the order of members, which are not sorted as their bytes are.
func byteSum(p []byte) (n int) {
	for _, b := range p {
		n += int(b) * int(b)
	}
	return n
}

func TestRestore_AnyFile_ByteForByte(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := file(t, drawKeys(t), []string{"f"})
		f, err := Examine(bytes.NewReader(in), int64(len(in)), memoryOf(t))
		if err != nil {
			t.Fatal(err)
		}
		var plain, canon, order, apart, out bytes.Buffer
		if err := f.Write(&plain); err != nil {
			t.Fatal(err)
		}
		if f, err = Examine(bytes.NewReader(in), int64(len(in)), memoryOf(t)); err != nil {
			t.Fatal(err)
		}
		if err := f.WriteExact(&canon, &order, &apart); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(plain.Bytes(), canon.Bytes()) {
			t.Fatal("the canonical form is another one with the order")
		}
		if err := Restore(inMemory(canon.Bytes()), inMemory(order.Bytes()), inMemory(apart.Bytes()), &out, memoryOf(t)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(out.Bytes(), in) {
			t.Fatalf("%x, want %x", out.Bytes(), in)
		}
	})
}

// many is a file with more keys, and one key with more members, than fit in a pass.
func many(t testing.TB, keys, members int, seed uint64) []byte {
	t.Helper()
	rnd := rand.New(rand.NewPCG(seed, 1))
	b := newBuilder("REDIS0010")
	b.aux("used-mem", fmt.Sprint(seed))
	b.db(0, uint64(keys)+2, 0)
	for n, i := range rnd.Perm(keys) {
		if n == keys/2 {
			b.record(typeHash, "large")
			b.length(uint64(members))
			for _, m := range rnd.Perm(members) {
				b.strs(fmt.Sprint("field ", m), strings.Repeat("v", m%40))
			}
			b.record(typeString, "string")
			b.str(strings.Repeat("0123456789", keys))
		}
		b.expire(1_800_000_000_000 + uint64(i)) // in front of every key, so that some lie across two reads
		b.WriteByte(opIdle)
		b.length(uint64(seed + 1))
		b.record(typeString, fmt.Sprintf("key %d", i))
		b.str(fmt.Sprint(i * i))
	}
	return b.close()
}

func TestWrite_MoreThanFits_SeveralPassesSameBytes(t *testing.T) {
	var want []byte
	for seed := range uint64(2) {
		in := many(t, 20_000, 30_000, seed)
		for _, memory := range []int{0, 300 << 10, DefaultMemory} {
			f := examine(t, in, memory)
			if more := f.keys.truncated; more != (memory < DefaultMemory) {
				t.Fatalf("with %d bytes another pass: %v", memory, more)
			}
			var canon, order, apart, back bytes.Buffer
			if err := f.WriteExact(&canon, &order, &apart); err != nil {
				t.Fatal(err)
			}
			if want == nil {
				want = canon.Bytes()
			}
			if !bytes.Equal(canon.Bytes(), want) {
				t.Errorf("seed %d, %d bytes of memory: other bytes", seed, memory)
			}
			if err := Restore(inMemory(canon.Bytes()), inMemory(order.Bytes()), inMemory(apart.Bytes()), &back, memory); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(back.Bytes(), in) {
				t.Errorf("seed %d, %d bytes of memory: not restored", seed, memory)
			}
			t.Logf("%d bytes: order %d, apart %d", len(in), order.Len(), apart.Len())
		}
	}
}

func TestExamine_Damaged_Refused(t *testing.T) {
	in := many(t, 20, 10, 1)
	step := 1
	if testing.Short() {
		step = 13
	}
	for n := 0; n < len(in); n += step {
		cut := in[:n]
		if _, err := Examine(bytes.NewReader(cut), int64(n), 0); !isDamage(err) && !isUnsupported(err) {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
	for n := 0; n < len(in); n += step {
		flipped := bytes.Clone(in)
		flipped[n] ^= 0x10
		if _, err := Examine(bytes.NewReader(flipped), int64(len(in)), 0); err == nil {
			t.Fatalf("flipped at %d", n)
		}
	}
	if _, err := Read(bytes.NewReader(append(bytes.Clone(in), 0))); !isDamage(err) {
		t.Errorf("a byte behind the end: %v", err)
	}
}

func isDamage(err error) bool {
	_, ok := errors.AsType[*DamageError](err)
	return ok
}

func isUnsupported(err error) bool {
	_, ok := errors.AsType[*UnsupportedError](err)
	return ok
}

func TestExamine_WithoutChecksum_Accepted(t *testing.T) {
	in := many(t, 5, 5, 1)
	clear(in[len(in)-8:])
	f := examine(t, in, 0)
	if f.Info.Checksum {
		t.Error("there is no checksum")
	}
	var out bytes.Buffer
	if err := f.Write(&out); err != nil {
		t.Fatal(err)
	}
	if info, err := Read(&out); err != nil || !info.Checksum {
		t.Errorf("%+v, %v", info, err)
	}
	old := newBuilder("REDIS0003")
	old.WriteString("\xfe\x00")
	old.record(typeString, "k")
	old.str("v")
	old.WriteByte(opEOF)
	if f := examine(t, old.Bytes(), 0); f.Info.Keys() != 1 {
		t.Errorf("%+v", f.Info)
	}
}

func TestExamine_NewerThanKnown_SaysSo(t *testing.T) {
	for name, head := range map[string]func() *builder{
		"version": func() *builder { return newBuilder("REDIS0099") },
		"valkey":  func() *builder { return newBuilder("VALKEY099") },
		"type": func() *builder {
			b := newBuilder("REDIS0011")
			b.record(99, "k")
			return b
		},
		"section": func() *builder {
			b := newBuilder("REDIS0011")
			b.WriteByte(243)
			return b
		},
		"section behind an expiry": func() *builder {
			b := newBuilder("REDIS0011")
			b.Write([]byte{opExpireMS, 1, 2, 3, 4, 5, 6, 7, 8, 243})
			return b
		},
	} {
		in := head().close()
		if _, err := Examine(bytes.NewReader(in), int64(len(in)), 0); !isUnsupported(err) {
			t.Errorf("%s: %v", name, err)
		}
		if err := Check(bytes.NewReader(in), int64(len(in))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		in[10] ^= 1
		if err := Check(bytes.NewReader(in), int64(len(in))); !isDamage(err) {
			t.Errorf("%s, flipped: %v", name, err)
		}
	}
}

func TestExamine_ValkeyHashWithExpiries_Sorted(t *testing.T) {
	write := func(fields ...string) []byte {
		b := newBuilder("VALKEY080")
		b.record(typeHashTTLValkey, "h")
		b.length(uint64(len(fields)))
		for _, f := range fields {
			b.strs(f, "value of "+f)
			b.Write(binary.LittleEndian.AppendUint64(nil, ^uint64(0)))
		}
		var out bytes.Buffer
		if err := examine(t, b.close(), 0).Write(&out); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	if !bytes.Equal(write("a", "b", "c"), write("c", "a", "b")) {
		t.Error("the order counts")
	}
}

func TestRestore_PartsOfOthers_Refused(t *testing.T) {
	parts := func(seed uint64, keys int) (canon, order, apart bytes.Buffer) {
		if err := examine(t, many(t, keys, 100, seed), 0).WriteExact(&canon, &order, &apart); err != nil {
			t.Fatal(err)
		}
		return canon, order, apart
	}
	canon, order, apart := parts(1, 300)
	_, otherOrder, otherApart := parts(2, 290)
	for name, p := range map[string][2][]byte{
		"order": {otherOrder.Bytes(), apart.Bytes()}, "apart": {order.Bytes(), otherApart.Bytes()},
		"short order": {order.Bytes()[:50], apart.Bytes()}, "short apart": {order.Bytes(), apart.Bytes()[:apart.Len()-1]},
		"none": {nil, nil},
	} {
		err := Restore(inMemory(canon.Bytes()), inMemory(p[0]), inMemory(p[1]), io.Discard, 0)
		if !errors.Is(err, ErrParts) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// switching is a file that becomes another one at some time.
type switching struct {
	now, then []byte
	reads     int
}

func (s *switching) ReadAt(p []byte, off int64) (int, error) {
	if s.reads--; s.reads < 0 {
		return bytes.NewReader(s.then).ReadAt(p, off)
	}
	return bytes.NewReader(s.now).ReadAt(p, off)
}

// A byte of a value, of a member, of an expiry, a database: whatever changes behind the first pass, the result is not taken.
func TestWrite_FileChangedMeanwhile_Refused(t *testing.T) {
	in := many(t, 8, 5, 1)
	same := 0
	for n := headerSize; n < len(in)-sumSize-1; n++ {
		changed := bytes.Clone(in)
		changed[n] ^= 1
		s := &switching{now: in, then: changed, reads: 1 << 30}
		f, err := Examine(s, int64(len(in)), 0)
		if err != nil {
			t.Fatal(err)
		}
		s.reads = 0
		var out bytes.Buffer
		if err := f.Write(&out); err != nil {
			continue
		}
		same++
		var want bytes.Buffer
		if err := examine(t, in, 0).Write(&want); err != nil || !bytes.Equal(out.Bytes(), want.Bytes()) {
			t.Fatalf("byte %d was changed, and this was not noticed", n)
		}
	}
	if t.Logf("%d bytes were not used", same); same > 40 { // facts, the number of keys, the name of the database
		t.Errorf("%d bytes do not count", same)
	}
}
