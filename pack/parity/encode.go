package parity

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"slices"
)

// Append appends the section to a body, in place if there is capacity: [Size] says how much it
// takes. value can be read from the footer without the rest; percent is from 1 to [MaxPercent].
func Append(body []byte, value uint32, percent int) ([]byte, error) {
	if err := check(int64(len(body)), percent); err != nil {
		return nil, err
	}
	l := newLayout(len(body), percent)
	obj := slices.Grow(body, l.size())[:l.body+l.size()]
	if err := l.fill(obj[:l.body], obj[l.body:], Footer{uint32(l.body), value, uint8(percent)}); err != nil {
		return nil, err
	}
	return obj, nil
}

// Body takes an object apart: its body, and the value in its footer. If ok is false there is no
// footer that fits: the object is all body, or damaged. Nothing else of the section is looked at.
func Body(obj []byte) (body []byte, value uint32, ok bool) {
	f, ok := footerOf(obj)
	if !ok {
		return obj, 0, false
	}
	return obj[:f.Body:f.Body], f.Value, true
}

// Whole reports whether an object has a section, and it is the one that its body has.
func Whole(obj []byte) bool {
	f, ok := footerOf(obj)
	if !ok {
		return false
	}
	l := newLayout(int(f.Body), int(f.Percent))
	want := make([]byte, l.size())
	return l.fill(obj[:l.body], want, f) == nil && bytes.Equal(obj[l.body:], want)
}

// footerOf reads the footer of an object whose length is right for it.
func footerOf(obj []byte) (Footer, bool) {
	if len(obj) < FooterSize {
		return Footer{}, false
	}
	f, ok := ParseFooter(obj[len(obj)-FooterSize:])
	return f, ok && f.Size() == int64(len(obj))
}

// fill makes the section of a body.
func (l layout) fill(body, section []byte, f Footer) error {
	if err := l.encode(body, section); err != nil {
		return err
	}
	at := l.tables()
	table := section[at[0]:at[0]]
	for i := range l.sectors {
		table = binary.LittleEndian.AppendUint32(table, sum(l.bodySector(body, i)))
	}
	for j := range l.paritySectors() {
		table = binary.LittleEndian.AppendUint32(table, sum(l.paritySector(section, j)))
	}
	copy(section[at[1]:], table)
	f.append(section[:0])
	f.append(section[:l.lastFooter()])
	return nil
}

func sum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// encode makes the parity sectors of all groups.
func (l layout) encode(body, section []byte) error {
	shards := make([][]byte, 0, maxShards)
	last := l.lastSector(body)
	for g := range l.groups {
		code, err := coders.get(l.data(g), l.parity)
		if err != nil {
			return err
		}
		shards = l.shards(shards[:0], body, last, section, g)
		if err := code.Encode(shards); err != nil {
			return err
		}
	}
	return nil
}

// lastSector returns the body's last sector: a copy that is filled with zeros if it is short.
func (l layout) lastSector(body []byte) []byte {
	last := l.bodySector(body, l.sectors-1)
	if len(last) == l.sector {
		return last
	}
	return append(make([]byte, 0, l.sector), last...)[:l.sector]
}

// shards appends the sectors of group g, those of the body first. They are the very bytes of body
// and section, but for the body's last sector, which is given.
func (l layout) shards(shards [][]byte, body, last, section []byte, g int) [][]byte {
	for i := g; i < l.sectors; i += l.groups {
		if i == l.sectors-1 {
			shards = append(shards, last)
		} else {
			shards = append(shards, l.bodySector(body, i))
		}
	}
	for j := g; j < l.paritySectors(); j += l.groups {
		shards = append(shards, l.paritySector(section, j))
	}
	return shards
}
