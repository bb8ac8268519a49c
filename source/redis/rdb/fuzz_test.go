package rdb

import (
	"bytes"
	"io"
	"testing"
)

// Whatever a file has in it, it is refused or comes back as it was.
func FuzzExamine(f *testing.F) {
	f.Add(many(f, 3, 3, 1))
	for n := range 18 {
		b := newBuilder([]string{"REDIS0011", "VALKEY080"}[n%2])
		b.aux("lua", "return 1")
		b.expire(uint64(n))
		typ, v := value(n)
		b.record(typ, "key")
		b.Write(v)
		f.Add(b.close())
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 8 { // the checksum is no hurdle
			clear(in[len(in)-8:])
		}
		_ = Check(bytes.NewReader(in), int64(len(in)))
		file, err := Examine(bytes.NewReader(in), int64(len(in)), 0)
		if err != nil {
			if !isDamage(err) && !isUnsupported(err) {
				t.Fatalf("%v", err)
			}
			return
		}
		var canon, order, apart, back bytes.Buffer
		if err := file.WriteExact(&canon, &order, &apart); err != nil {
			t.Fatal(err)
		}
		if info, err := Read(bytes.NewReader(canon.Bytes())); err != nil || !info.SameKeys(&file.Info) {
			t.Fatalf("%v, %v", info, err)
		}
		if err := Restore(inMemory(canon.Bytes()), inMemory(order.Bytes()), inMemory(apart.Bytes()), &back, 0); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(back.Bytes(), in) {
			t.Fatalf("%x", back.Bytes())
		}
		again, err := Examine(bytes.NewReader(canon.Bytes()), int64(canon.Len()), 0)
		if err != nil {
			t.Fatal(err)
		}
		var twice bytes.Buffer
		if err := again.Write(&twice); err != nil || !bytes.Equal(twice.Bytes(), canon.Bytes()) {
			t.Fatalf("the canonical form has another one: %v", err)
		}
	})
}

// Parts that somebody has made up are refused, or make something.
func FuzzRestore(f *testing.F) {
	var canon, order, apart bytes.Buffer
	if err := examine(f, many(f, 20, 10, 1), 0).WriteExact(&canon, &order, &apart); err != nil {
		f.Fatal(err)
	}
	f.Add(canon.Bytes(), order.Bytes(), apart.Bytes())
	f.Fuzz(func(_ *testing.T, canon, order, apart []byte) {
		_ = Restore(inMemory(canon), inMemory(order), inMemory(apart), io.Discard, 0)
	})
}
