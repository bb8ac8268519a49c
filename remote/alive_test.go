package remote

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/remote/frames"
)

// TestAlive_LongSilence_OnlyThatOfTheDeadIsCut: a command that asks for nothing goes on as long as somebody is there, and ends when nobody is.
func TestAlive_LongSilence_OnlyThatOfTheDeadIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipe()
		inner := mem.New()
		s := newServer(p.here, inner, anything{inner}, nil)
		served := make(chan error, 1)
		go func() { served <- s.serve(t.Context()) }()
		peer := &Peer{conn: frames.New(p.there)}
		peer.calls = newCalls(peer.conn)
		peer.ctx, peer.stop = context.WithCancelCause(t.Context())
		peer.ending.Go(peer.listen)
		peer.begin()
		time.Sleep(24 * time.Hour)
		if err := peer.Context().Err(); err != nil {
			t.Fatalf("after a day on which somebody was there: %v", context.Cause(peer.Context()))
		}
		peer.Close()
		if err := <-served; !errors.Is(err, ErrCut) {
			t.Errorf("served: %v", err)
		}

		silent := newPipe()
		alone := &Peer{conn: frames.New(silent.there)}
		alone.calls = newCalls(alone.conn)
		alone.ctx, alone.stop = context.WithCancelCause(t.Context())
		start := time.Now()
		alone.ending.Go(alone.listen)
		alone.begin()
		<-alone.Context().Done()
		if took := time.Since(start); !errors.Is(context.Cause(alone.Context()), ErrCut) || took > 2*aliveLimit {
			t.Errorf("nobody was there: %v after %v", context.Cause(alone.Context()), took)
		}
		alone.Close()
	})
}

// TestAlive_SlowLine_IsNotTakenForDead has a frame take an hour, as a large one does on a very slow line.
func TestAlive_SlowLine_IsNotTakenForDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipe()
		peer := &Peer{conn: frames.New(p.there)}
		peer.calls = newCalls(peer.conn)
		peer.ctx, peer.stop = context.WithCancelCause(t.Context())
		peer.ending.Go(peer.listen)
		peer.begin()
		frame := append(frames.Header{Type: aliveFrame, Length: frames.MaxPayload}.Append(nil), make([]byte, frames.MaxPayload)...)
		for i := range 120 {
			if _, err := p.here.Write(frame[i : i+1]); err != nil {
				t.Fatal(err)
			}
			time.Sleep(aliveLimit / 2)
		}
		if err := peer.Context().Err(); err != nil {
			t.Errorf("it was cut: %v", context.Cause(peer.Context()))
		}
		peer.Close()
	})
}

// deaf is a connection of which Close does not end a Read, as with a program's standard input and output.
type deaf struct{ *end }

func (d deaf) Close() error {
	d.out.close()
	return nil
}

func TestDial_NobodyAnswers_IsCut(t *testing.T) {
	for name, said := range map[string][]byte{
		"nothing":       nil,
		"half a header": frames.Header{Type: helloFrame, Length: 9}.Append(nil)[:5],
		"no hello":      frames.Header{Type: helloFrame, Length: 9}.Append(nil),
	} {
		synctest.Test(t, func(t *testing.T) {
			p := newPipe()
			p.here.Write(said)
			start := time.Now()
			_, err := Dial(t.Context(), deaf{p.there}, version)
			if took := time.Since(start); !errors.Is(err, ErrCut) || took > 2*aliveLimit {
				t.Errorf("%s came: %v after %v", name, err, took)
			}
			p.there.in.close() // ends what still reads
		})
	}
}

// TestServe_NothingMoves_IsCutAfterThePatience: later it is for the connection to notice.
func TestServe_NothingMoves_IsCutAfterThePatience(t *testing.T) {
	r, _ := testrepo.New(t)
	serve(t, t.Context(), newPipe(), ServeOptions{Repository: r, Purpose: Backup}).finish(t) // what all have in common is not of one bubble
	for name, said := range map[string]string{
		"nothing": "", "what a login prints": "Welcome\n", "half a greeting": greeting[:5], "no answer to the hello": greeting,
	} {
		synctest.Test(t, func(t *testing.T) {
			r, _ := testrepo.New(t)
			p := newPipe()
			p.there.Write([]byte(said))
			start := time.Now()
			res, err := Serve(t.Context(), p.here, ServeOptions{Repository: r, Purpose: Backup, Version: version, Patience: time.Minute})
			if took := time.Since(start); !errors.Is(err, ErrCut) || took > 3*time.Minute || res.Began {
				t.Errorf("%s came: %v after %v", name, err, took)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		r, _ := testrepo.New(t)
		s := serve(t, t.Context(), newPipe(), ServeOptions{Repository: r, Purpose: Backup, Patience: time.Minute})
		time.Sleep(24 * time.Hour)
		s.finish(t)
		if s.err != nil || !s.result.Began {
			t.Errorf("after a day: %v", s.err)
		}
	})
}
