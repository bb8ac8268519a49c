package frames_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/kura-backup/kura/internal/testrand"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/remote/frames"
)

func TestMain(m *testing.M) { testsys.VerifyMain(m) }

// half is one direction of a connection, the other of which is not used.
type half struct {
	io.Reader
	io.Writer
	closed func() error
}

func (h half) Close() error { return h.closed() }

func pair() (from, to *frames.Conn) {
	r, w := io.Pipe()
	return frames.New(half{strings.NewReader(""), w, w.Close}), frames.New(half{r, io.Discard, r.Close})
}

func TestConn_RowsAndFramesOfMany_ComeWhole(t *testing.T) {
	rng := testrand.New(t)
	from, to := pair()
	rows := map[uint32][]byte{}
	for id := range uint32(8) {
		rows[id] = make([]byte, 1+rng.IntN(400<<10))
		for i := range rows[id] {
			if rows[id][i] = byte(rng.Uint32()); id%2 == 0 {
				rows[id][i] %= 4
			}
		}
	}
	var all sync.WaitGroup
	for id, row := range rows {
		all.Go(func() {
			moved := 0
			if err := from.SendRow(t.Context(), id, row, id%3 > 0, func(n int) { moved += n }); err != nil || moved != len(row) {
				t.Errorf("%d of %d bytes: %v", moved, len(row), err)
			}
		})
		all.Go(func() {
			if err := from.Send(t.Context(), 4, id, []byte("between")); err != nil {
				t.Error(err)
			}
		})
	}
	go func() {
		all.Wait()
		_ = from.End(nil)
	}()
	got, small := map[uint32][]byte{}, 0
	for {
		f, err := to.Read()
		if errors.Is(err, frames.ErrCut) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch f.Type {
		case frames.Data:
			got[f.ID] = append(got[f.ID], f.Payload...)
		default:
			small++
		}
	}
	for id, row := range rows {
		if !bytes.Equal(got[id], row) {
			t.Errorf("row %d: %d bytes of %d", id, len(got[id]), len(row))
		}
	}
	if small != len(rows) || from.Sent() != to.Received() {
		t.Errorf("%d small frames; %d bytes sent, %d received", small, from.Sent(), to.Received())
	}
	t.Logf("%d bytes", from.Sent())
}

func TestSend_RowsAreUnderWay_GoesBetweenPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from, to := pair()
		var all sync.WaitGroup
		for id := range uint32(6) {
			all.Go(func() { _ = from.SendRow(context.Background(), id, make([]byte, 4*frames.MaxPayload), false, nil) })
		}
		read := func() frames.Frame {
			f, err := to.Read()
			if err != nil {
				t.Fatal(err)
			}
			return f
		}
		read()
		synctest.Wait() // all of them wait
		all.Go(func() { _ = from.Send(context.Background(), 4, 99, nil) })
		synctest.Wait() // and so does this
		pieces := 0
		for read().Type == frames.Data {
			pieces++
		}
		// One may lie in the reader's buffer, and one is on its way.
		if t.Logf("%d pieces went before it", pieces); pieces > 2 {
			t.Error("it waited for the rows")
		}
		_ = from.End(nil)
		_ = to.End(nil)
		all.Wait()
	})
}

func TestConn_Ended_EverythingFailsAsCut(t *testing.T) {
	from, to := pair()
	_ = to.End(nil)
	for range 2 {
		if err := from.Send(t.Context(), 2, 0, []byte("x")); !errors.Is(err, frames.ErrCut) {
			t.Error(err)
		}
		if err := from.SendRow(t.Context(), 1, []byte("x"), false, nil); !errors.Is(err, frames.ErrCut) {
			t.Error(err)
		}
		if _, err := from.Read(); !errors.Is(err, frames.ErrCut) {
			t.Error(err)
		}
	}
	select {
	case <-from.Ended():
	default:
		t.Error("it has not ended")
	}
}

func TestSendRow_Canceled_StopsAndIsTold(t *testing.T) {
	from, to := pair()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		err := from.SendRow(ctx, 5, make([]byte, 10*frames.MaxPayload), false, nil)
		done <- errors.Join(err, from.Abort(5))
	}()
	if _, err := to.Read(); err != nil {
		t.Fatal(err)
	}
	cancel()
	for {
		f, err := to.Read()
		if err != nil {
			t.Fatal(err)
		}
		if f.Flags&frames.Abort != 0 && f.ID == 5 {
			break
		}
	}
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	_ = from.End(nil)
	_ = to.End(nil)
}

func TestRead_HostileFrames_EndTheConnection(t *testing.T) {
	head := func(h frames.Header) []byte { return h.Append(nil) }
	for name, b := range map[string][]byte{
		"no type":               head(frames.Header{Type: 0}),
		"unknown type":          head(frames.Header{Type: 200}),
		"unknown flag":          head(frames.Header{Type: 1, Flags: 64}),
		"too long":              head(frames.Header{Type: 1, Length: frames.MaxPayload + 1}),
		"as long as can be":     head(frames.Header{Type: 1, Length: 1<<32 - 1}),
		"abort of no row":       head(frames.Header{Type: 4, Flags: frames.Abort}),
		"abort with payload":    append(head(frames.Header{Type: 1, Flags: frames.Abort, Length: 1}), 0),
		"not zstd":              append(head(frames.Header{Type: 4, Flags: frames.Compressed, Length: 3}), "abc"...),
		"ends in the header":    {1, 0, 0},
		"ends in the payload":   append(head(frames.Header{Type: 4, Length: 9}), 0),
		"ends before the first": {},
	} {
		c := frames.New(half{bytes.NewReader(b), io.Discard, func() error { return nil }})
		_, err := c.Read()
		want := frames.ErrProtocol
		if strings.HasPrefix(name, "ends") {
			want = frames.ErrCut
		}
		if !errors.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		}
		if _, again := c.Read(); again == nil || c.Err() == nil {
			t.Errorf("%s: it goes on", name)
		}
	}
}
