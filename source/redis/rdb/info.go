package rdb

import (
	"cmp"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
)

const (
	// A file with more of these than any server writes is not read.
	maxDatabases = 1 << 16
	maxSections  = 1 << 16
	maxFacts     = 32  // that Info shows
	longestFact  = 200 // and how long they may be
)

// Count is how many keys a database has.
type Count struct {
	Database uint32 `json:"database"`
	Keys     uint64 `json:"keys"`
	Expiring uint64 `json:"expiring,omitempty"` // of which have an expiry
}

// Info is what is known of a file that was read to its end.
type Info struct {
	Version   int               `json:"version"`
	Valkey    bool              `json:"valkey,omitempty"`
	Checksum  bool              `json:"checksum"`            // there is one, and it is right
	Facts     map[string]string `json:"facts,omitempty"`     // what the file says of itself: the server's version, when it was saved
	Databases []Count           `json:"databases,omitempty"` // those with keys, ascending
	Types     map[string]uint64 `json:"types,omitempty"`     // how many keys hold a hash
	Functions int               `json:"functions,omitempty"` // libraries
	Modules   int               `json:"modules,omitempty"`   // sections that modules have stored outside of keys
}

// Keys is how many there are in all databases.
func (i *Info) Keys() (n uint64) {
	for _, d := range i.Databases {
		n += d.Keys
	}
	return n
}

// SameKeys reports whether two files have as many keys in each database, and as many that expire.
func (i *Info) SameKeys(other *Info) bool { return slices.Equal(i.Databases, other.Databases) }

// tally makes an Info.
type tally struct {
	info     Info
	counts   map[uint32]*Count
	current  *Count
	sections int
}

func newTally(r *Reader) *tally {
	t := &tally{counts: map[uint32]*Count{}}
	t.info = Info{Version: r.version, Valkey: r.valkey, Facts: map[string]string{}, Types: map[string]uint64{}}
	t.current = &Count{} // files begin with the first database even if they do not say so
	t.counts[0] = t.current
	return t
}

func (t *tally) add(it *Item) error {
	if it.Kind == Record {
		t.current.Keys++
		if it.expirySet {
			t.current.Expiring++
		}
		t.info.Types[it.Holds()]++
		return nil
	}
	if t.sections++; t.sections > maxSections {
		return &UnsupportedError{it.Start, "it has more sections than any server writes"}
	}
	switch it.Kind {
	case Aux:
		name, value := string(it.Name), string(it.Value)
		if len(t.info.Facts) < maxFacts && len(name)+len(value) <= longestFact {
			t.info.Facts[strings.ToValidUTF8(name, "?")] = strings.ToValidUTF8(value, "?")
		}
	case Database:
		if it.Number >= maxDatabases {
			return &UnsupportedError{it.Start, "the number of a database is out of all bounds"}
		}
		n := uint32(it.Number)
		if t.current = t.counts[n]; t.current == nil {
			t.current = &Count{Database: n}
			t.counts[n] = t.current
		}
	case Function:
		t.info.Functions++
	case ModuleAux:
		t.info.Modules++
	}
	return nil
}

// done is called behind the end.
func (t *tally) done(r *Reader) Info {
	t.info.Checksum = r.Checked()
	for _, c := range t.counts {
		if c.Keys > 0 {
			t.info.Databases = append(t.info.Databases, *c)
		}
	}
	slices.SortFunc(t.info.Databases, func(a, b Count) int { return cmp.Compare(a.Database, b.Database) })
	return t.info
}

// Read reads a file to its end, verifies it, and says what is in it.
func Read(in io.Reader) (*Info, error) {
	r, err := NewReader(in)
	if err != nil {
		return nil, err
	}
	t := newTally(r)
	for {
		it, err := r.Next()
		if errors.Is(err, io.EOF) {
			info := t.done(r)
			return &info, nil
		}
		if err == nil {
			err = t.add(it)
		}
		if err != nil {
			return nil, err
		}
	}
}

// Check reads a file of a format that may not be known, and verifies that its last bytes are the checksum of the others. A file
// that says that it has none is taken for good.
func Check(in io.Reader, size int64) error {
	if size < headerSize+sumSize {
		return &DamageError{Offset: size, What: "the file ends too early"}
	}
	var sum uint64
	buf := make([]byte, bufferSize)
	for left := size - sumSize; left > 0; {
		n, err := io.ReadFull(in, buf[:min(left, int64(len(buf)))])
		if err != nil {
			return err
		}
		sum = update(sum, buf[:n])
		left -= int64(n)
	}
	if _, err := io.ReadFull(in, buf[:sumSize]); err != nil {
		return err
	}
	if got := binary.LittleEndian.Uint64(buf); got != sum && got != 0 {
		return &DamageError{Offset: size - sumSize, What: "the checksum is not that of the file"}
	}
	return nil
}
