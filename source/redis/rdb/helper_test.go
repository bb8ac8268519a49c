package rdb

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"testing"

	"pgregory.net/rapid"
)

// builder writes RDB files as a server does.
type builder struct{ bytes.Buffer }

func newBuilder(magic string) *builder {
	b := new(builder)
	b.WriteString(magic)
	return b
}

func (b *builder) length(n uint64) { b.Write(appendLength(nil, n)) }

func (b *builder) str(s string) {
	b.length(uint64(len(s)))
	b.WriteString(s)
}

func (b *builder) strs(all ...string) {
	for _, s := range all {
		b.str(s)
	}
}

func (b *builder) aux(name, value string) {
	b.WriteByte(opAux)
	b.strs(name, value)
}

func (b *builder) db(n, keys, expiring uint64) {
	b.WriteByte(opSelect)
	b.length(n)
	b.WriteByte(opResize)
	b.length(keys)
	b.length(expiring)
}

func (b *builder) expire(ms uint64) {
	b.WriteByte(opExpireMS)
	b.Write(binary.LittleEndian.AppendUint64(nil, ms))
}

func (b *builder) record(typ byte, key string) {
	b.WriteByte(typ)
	b.str(key)
}

// close writes the end and the checksum.
func (b *builder) close() []byte {
	b.WriteByte(opEOF)
	return binary.LittleEndian.AppendUint64(b.Bytes(), update(0, b.Bytes()))
}

// key is a key of a model of a server: how it is written but for its members' order.
type key struct {
	db      uint64
	name    string
	expires uint64
	idle    int // below 0: not known
	typ     byte
	members []string // as they are written, of types that are sorted
	value   []byte   // of others
}

func (k *key) write(b *builder, idle int) {
	if k.expires > 0 {
		b.expire(k.expires)
	}
	if idle >= 0 {
		b.WriteByte(opIdle)
		b.length(uint64(idle))
	}
	b.record(k.typ, k.name)
	if k.members == nil {
		b.Write(k.value)
		return
	}
	if k.typ == typeHashTTL {
		b.Write(make([]byte, 8))
	}
	b.length(uint64(len(k.members)))
	for _, m := range k.members {
		b.WriteString(m)
	}
}

func str(s string) []byte {
	b := new(builder)
	b.str(s)
	return b.Bytes()
}

// values of types that stay as they are, from a seed.
func value(n int) (typ byte, v []byte) {
	b := new(builder)
	text := fmt.Sprint("value ", n)
	switch n % 9 {
	case 0:
		return typeString, str(text)
	case 1: // a small number
		return typeString, []byte{0xc0, byte(n)}
	case 2: // compressed: 20 times a
		return typeString, []byte{0xc3, 5, 20, 0, 'a', 0xe0, 10, 0}
	case 3:
		b.length(3)
		b.strs("x", text, "")
		return typeList, b.Bytes()
	case 4:
		b.length(2)
		b.str("m")
		b.Write([]byte{3, '1', '.', '5'})
		b.str(text)
		b.WriteByte(254)
		return typeZset, b.Bytes()
	case 5:
		b.length(2)
		for range 2 {
			b.length(2)
			b.str(text)
		}
		return typeQuicklist2, b.Bytes()
	case 6:
		return typeModule2, append(append([]byte{0x81, 1, 2, 3, 4, 5, 6, 7, 8}, 5), append(str(text), 2, 9, 4, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0)...)
	case 7:
		b.length(1)
		b.strs("0123456789abcdef", "entries")
		for range 8 {
			b.length(5)
		}
		b.length(1) // a group
		b.str("g")
		b.length(1)
		b.length(2)
		b.length(3)
		b.length(1)
		b.Write(make([]byte, 24))
		b.length(1)
		b.length(1) // a consumer
		b.str(text)
		b.Write(make([]byte, 16))
		b.length(1)
		b.Write(make([]byte, 16))
		return typeStream3, b.Bytes()
	}
	b.length(2)
	b.str("one")
	b.Write(make([]byte, 8))
	b.str(text)
	b.Write(make([]byte, 8))
	return typeZset2, b.Bytes()
}

var names = rapid.OneOf(rapid.StringMatching(`[a-c]{0,3}`), rapid.Map(rapid.IntRange(0, 40), func(n int) string {
	return string(bytes.Repeat([]byte{'k'}, n*60)) // long ones, too
}))

// drawKeys returns keys with names of their own.
func drawKeys(t *rapid.T) []*key {
	type id struct {
		db   uint64
		name string
	}
	ids := rapid.SliceOfDistinct(rapid.Custom(func(t *rapid.T) id {
		return id{rapid.SampledFrom([]uint64{0, 3, 70}).Draw(t, "db"), names.Draw(t, "name")}
	}), func(i id) id { return i }).Draw(t, "keys")
	var keys []*key
	for n, i := range ids {
		k := &key{db: i.db, name: i.name, idle: rapid.IntRange(-1, 70).Draw(t, "idle")}
		if rapid.Bool().Draw(t, "expires") {
			k.expires = 1_700_000_000_000 + uint64(n)
		}
		k.typ, k.value = value(rapid.IntRange(0, 100).Draw(t, "value"))
		if rapid.IntRange(0, 2).Draw(t, "sorted") == 0 {
			k.drawMembers(t)
		}
		keys = append(keys, k)
	}
	return keys
}

func (k *key) drawMembers(t *rapid.T) {
	k.typ = rapid.SampledFrom([]byte{typeSet, typeHash, typeHashTTL}).Draw(t, "type")
	k.members = []string{}
	for _, name := range rapid.SliceOfDistinct(names, func(s string) string { return s }).Draw(t, "members") {
		b := new(builder)
		if k.typ == typeHashTTL {
			b.length(uint64(len(name)))
		}
		b.str(name)
		if k.typ != typeSet {
			b.str("value of " + name)
		}
		k.members = append(k.members, b.String())
	}
}

// file writes the keys in an order of the server's, which differs from one time to the next.
func file(t *rapid.T, keys []*key, functions []string) []byte {
	b := newBuilder("REDIS0011")
	b.aux("redis-ver", "7.2.0")
	b.aux("ctime", rapid.StringMatching(`[0-9]{10}`).Draw(t, "ctime"))
	for _, f := range rapid.Permutation(functions).Draw(t, "functions") {
		b.WriteByte(opFunction)
		b.str(f)
	}
	for _, db := range []uint64{0, 3, 70} {
		var of []*key
		for _, k := range keys {
			if k.db == db {
				of = append(of, k)
			}
		}
		if len(of) == 0 {
			continue
		}
		b.db(db, uint64(len(of)), 0)
		for _, k := range rapid.Permutation(of).Draw(t, "order") {
			mixed := *k
			if len(k.members) > 0 {
				mixed.members = rapid.Permutation(k.members).Draw(t, "members")
			}
			mixed.write(b, rapid.SampledFrom([]int{-1, 3, 9000}).Draw(t, "idle"))
		}
	}
	return b.close()
}

// memoryOf says how much to use: little enough for several passes, or enough.
func memoryOf(t *rapid.T) int { return rapid.SampledFrom([]int{0, 1 << 20}).Draw(t, "memory") }

func examine(t testing.TB, file []byte, memory int) *File {
	t.Helper()
	f, err := Examine(bytes.NewReader(file), int64(len(file)), memory)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func inMemory(b []byte) *io.SectionReader {
	return io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))
}
