package backup

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/kura-backup/kura/internal/testrand"
	"github.com/kura-backup/kura/internal/testrepo"
)

// TestInlet_AnyReaderAndBuffer_SameBytes: whatever the reader returns at once, and however little room there is.
func TestInlet_AnyReaderAndBuffer_SameBytes(t *testing.T) {
	rng := testrand.New(t)
	bad := errors.New("bad")
	for range 200 {
		want := testrepo.Random(rng.Uint64(), 1+rng.IntN(50))
		var from io.Reader = bytes.NewReader(want[1:])
		var fails error
		if rng.IntN(4) == 0 {
			from, fails = io.MultiReader(from, iotest.ErrReader(bad)), bad
		}
		for _, wrap := range []func(io.Reader) io.Reader{iotest.OneByteReader, iotest.HalfReader, iotest.DataErrReader} {
			if rng.IntN(2) == 0 {
				from = wrap(from)
			}
		}
		in := &inlet{ctx: t.Context(), parts: make(chan part), taken: make(chan taken)}
		var handed taken
		done := make(chan struct{})
		go func() {
			handed = in.hand(part{from: from, first: want[0]})
			in.parts <- part{end: true}
			close(done)
		}()
		var got []byte
		for {
			p := make([]byte, 1+rng.IntN(4))
			n, err := in.Read(p)
			got = append(got, p[:n]...)
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if hole, err := in.SkipHole(); hole != 0 || err != nil {
				t.Fatal("a hole")
			}
		}
		<-done
		if !bytes.Equal(got, want) || handed.n != int64(len(want)-1) || handed.err != fails {
			t.Fatalf("%x, want %x; %d, %v", got, want, handed.n, handed.err)
		}
	}
}
