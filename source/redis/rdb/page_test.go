package rdb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"pgregory.net/rapid"
)

// page undoes the exact form as docs/redis.md describes it: nothing of exact.go, bits.go and restore.go is used.
type page struct {
	t     *rapid.T
	apart []byte
}

// packed returns the numbers that are packed in a row.
func (p *page) packed(row []byte, n int) []int {
	width := 0
	for n > 1 && 1<<width < n {
		width++
	}
	out := make([]int, n)
	for i := range out {
		for b := range width {
			at := i*width + b
			out[i] |= int(row[at/8]>>(at%8)&1) << b
		}
	}
	if len(row) != (n*width+7)/8 {
		p.t.Fatalf("%d bytes with %d numbers of %d bits", len(row), n, width)
	}
	return out
}

func (p *page) uvarint() int {
	n, size := binary.Uvarint(p.apart)
	p.apart = p.apart[size:]
	return int(n)
}

func (p *page) take(n int) []byte {
	out := p.apart[:n]
	p.apart = p.apart[n:]
	return out
}

// original makes the original.
func (p *page) original(canon, order []byte) []byte {
	r, err := NewReader(bytes.NewReader(canon))
	if err != nil {
		p.t.Fatal(err)
	}
	if string(p.take(19)) != "kura redis apart 1\n" {
		p.t.Fatal("no magic")
	}
	records := p.uvarint()
	before := make([][]byte, records+1) // the stretches in front of each record, and behind the last
	for n, at := p.uvarint(), 0; n > 0; n-- {
		at += p.uvarint()
		before[at] = append(before[at], p.take(p.uvarint())...)
	}
	places := p.packed(order, records)
	out := make([][]byte, records)
	without := p.uvarint() - 1
	for i := 0; ; {
		it, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			p.t.Fatal(err)
		}
		if it.Kind != Record {
			continue
		}
		prefix, body := canon[it.Start:it.Body], canon[it.Body:it.End]
		if without == 0 {
			size := p.uvarint()
			prefix, body = p.record(p.take(size), prefix, body, r.valkey)
			without = p.uvarint()
		}
		without--
		out[places[i]] = append(bytes.Clone(prefix), body...)
		i++
	}
	var all []byte
	for i, record := range out {
		all = append(append(all, before[i]...), record...)
	}
	return append(all, before[records]...)
}

// record returns a record's prefix, and the rest of it.
func (p *page) record(apart, prefix, body []byte, valkey bool) (ownPrefix, ownBody []byte) {
	flags := apart[0]
	apart = apart[1:]
	if flags&1 != 0 {
		prefix, apart = apart[1:1+apart[0]], apart[1+apart[0]:]
	}
	if flags&2 == 0 {
		return prefix, body
	}
	var s scanner
	s.reset(bytes.NewReader(body), 0)
	typ := s.byte()
	s.str() // the key
	if typ == 24 {
		s.skip(8)
	}
	n := int(s.count())
	from := s.at()
	places := p.packed(apart, n)
	members := make([][]byte, n)
	for i := range n {
		at := s.at()
		if typ == 24 || typ == 22 && !valkey {
			s.count()
		}
		s.str()
		if typ != 2 {
			s.str()
		}
		if typ == 22 && valkey {
			s.skip(8)
		}
		members[places[i]] = body[at:s.at()]
	}
	return prefix, append(bytes.Clone(body[:from]), bytes.Join(members, nil)...)
}

func TestExact_UndoneAsThePageSays_ByteForByte(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := file(t, drawKeys(t), []string{"f"})
		f, err := Examine(bytes.NewReader(in), int64(len(in)), memoryOf(t))
		if err != nil {
			t.Fatal(err)
		}
		var canon, order, apart bytes.Buffer
		if err := f.WriteExact(&canon, &order, &apart); err != nil {
			t.Fatal(err)
		}
		p := &page{t: t, apart: apart.Bytes()}
		if got := p.original(canon.Bytes(), order.Bytes()); !bytes.Equal(got, in) {
			t.Fatalf("%x, want %x", got, in)
		}
		if len(p.apart) != 0 {
			t.Fatalf("%d bytes follow the end of the apart", len(p.apart))
		}
	})
}
