package delta_test

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/kura-backup/kura/delta"
)

// quality is the seed of tests that bound how small deltas are and how many are found: of some other contents, once in many, the same
// bounds would be missed.
var quality = flag.Uint64("delta.seed", 1, "seed of the contents of which the tests say how small their deltas are")

func noise(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// dump is a table as a database would write it, row by row.
type dump struct {
	r     *rand.Rand
	words [][]byte
	rows  [][]byte
}

// newDump makes rows of about 100 bytes, size bytes in all. Dumps of all seeds have the same words in common.
func newDump(seed uint64, size int) *dump {
	r := rand.New(rand.NewPCG(1, 2))
	d := &dump{}
	for range 3000 {
		w := make([]byte, 2+r.IntN(9))
		for i := range w {
			w[i] = "eeeeaaiioutnshrdlcmfgpwybvk"[r.IntN(27)]
		}
		d.words = append(d.words, w)
	}
	d.r = rand.New(rand.NewPCG(seed, 3))
	id := d.r.IntN(1e6)
	for size > 0 {
		id += 1 + d.r.IntN(3)
		d.rows = append(d.rows, d.row(id))
		size -= len(d.rows[len(d.rows)-1])
	}
	return d
}

func (d *dump) word() []byte {
	x := d.r.Float64()
	return d.words[int(x*x*x*float64(len(d.words)))]
}

func (d *dump) row(id int) []byte {
	var text []byte
	for range 4 + d.r.IntN(5) {
		text = append(append(text, d.word()...), ' ')
	}
	return fmt.Appendf(nil, "(%d,'%s.%s@example.org','%s',%d,'%s',%d.%02d,NULL),\n", id, d.word(), d.word(), text, d.r.IntN(5), d.time(), d.r.IntN(2000), d.r.IntN(100))
}

func (d *dump) time() []byte {
	return fmt.Appendf(nil, "2024-%02d-%02d %02d:%02d:%02d", 1+d.r.IntN(12), 1+d.r.IntN(28), d.r.IntN(24), d.r.IntN(60), d.r.IntN(60))
}

func (d *dump) bytes() []byte { return bytes.Join(d.rows, nil) }

// edit changes the text or the time of some rows and inserts others. It returns all that is new, joined.
func (d *dump) edit(updated, inserted float64) []byte {
	var rows [][]byte
	var fresh []byte
	for _, row := range d.rows {
		if d.r.Float64() < updated {
			f := bytes.SplitN(row, []byte(","), 6)
			i, v := 2, fmt.Appendf(nil, "'%s %s %s'", d.word(), d.word(), d.word())
			if d.r.IntN(2) == 0 {
				i, v = 4, fmt.Appendf(nil, "'%s'", d.time())
			}
			f[i] = v
			fresh = append(fresh, v...)
			row = bytes.Join(f, []byte(","))
		}
		rows = append(rows, row)
		if d.r.Float64() < inserted {
			row := d.row(d.r.IntN(1e6))
			rows = append(rows, row)
			fresh = append(fresh, row...)
		}
	}
	d.rows = rows
	return fresh
}

// encode returns the stream for target, and fails unless it makes target.
func encode(t testing.TB, e *delta.Encoder, base, target []byte) ([]byte, delta.Match) {
	t.Helper()
	head := []byte("head")
	out, m, ok := e.Encode(head, base, target, len(target)+64)
	if !ok {
		return nil, m
	}
	stream := out[len(head):]
	if string(out[:len(head)]) != "head" {
		t.Fatal("what was in dst has changed")
	}
	got, err := delta.Apply([]byte("tail"), base, stream, len(target))
	if err != nil {
		t.Fatal(err)
	}
	if string(got[:4]) != "tail" || !bytes.Equal(got[4:], target) {
		t.Fatalf("%d bytes came back as %d others", len(target), len(got)-4)
	}
	return stream, m
}

var zstdEncoder, _ = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))

func zstdLen(b []byte) int { return len(zstdEncoder.EncodeAll(b, nil)) }
