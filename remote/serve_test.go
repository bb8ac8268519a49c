package remote

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/fault"
	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/internal/testrand"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/remote/frames"
)

func TestMain(m *testing.M) { testsys.VerifyMain(m) }

func TestServe_Command_ComesAsItIsAndItsOutputInOrder(t *testing.T) {
	r, _ := testrepo.New(t)
	var both, out, messages bytes.Buffer
	want := Command{
		Args: []string{"backup", "/srv/ä\x01", "--tag", ""}, Env: []string{"TZ=UTC"},
		Terminal: Terminal{Width: 132, Color: true, Live: true},
	}
	s := serve(t, t.Context(), newPipe(), ServeOptions{
		Repository: r, Purpose: Restore, Command: want,
		Stdout: io.MultiWriter(&both, &out), Stderr: io.MultiWriter(&both, &messages),
	})
	if got := s.peer.Command(); fmt.Sprint(got) != fmt.Sprint(want) || s.peer.Purpose() != Restore {
		t.Errorf("%+v", got)
	}
	var text strings.Builder
	for i := range 2000 {
		line := fmt.Sprintf("line %d\n", i)
		w := s.peer.Stdout()
		if i%3 == 0 {
			w = s.peer.Stderr()
		}
		if _, err := io.WriteString(w, line); err != nil {
			t.Fatal(err)
		}
		text.WriteString(line)
	}
	long := strings.Repeat("long ", 50_000)
	if n, err := io.WriteString(s.peer.Stdout(), long); n != len(long) || err != nil {
		t.Fatal(n, err)
	}
	text.WriteString(long)
	if err := s.peer.Finish(3); err != nil {
		t.Fatal(err)
	}
	<-s.done
	if s.err != nil || s.result.Exit != 3 {
		t.Errorf("exit %d, %v", s.result.Exit, s.err)
	}
	if both.String() != text.String() {
		t.Errorf("%d bytes of %d, or in another order", both.Len(), text.Len())
	}
	if n := strings.Count(messages.String(), "\n"); n != 667 || out.Len()+messages.Len() != both.Len() {
		t.Errorf("%d messages", n)
	}
}

func TestServe_ContextEnds_CommandIsStoppedInOrder(t *testing.T) {
	r, _ := testrepo.New(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	var out bytes.Buffer
	s := serve(t, ctx, newPipe(), ServeOptions{Repository: r, Purpose: Backup, Stdout: &out})
	// Whoever is answered has been heard: before that there is nothing to be stopped in order.
	if _, err := s.peer.Store().Get(t.Context(), "config", 0, -1, nil); err != nil {
		t.Fatal(err)
	}
	cancel(enough)
	<-s.peer.Context().Done()
	if err := context.Cause(s.peer.Context()); !errors.Is(err, context.Canceled) || s.peer.Cut() != nil {
		t.Errorf("%v, %v", err, s.peer.Cut())
	}
	// There is time to say so, and for what must not stop in the middle.
	if _, err := s.peer.Store().Get(t.Context(), "config", 0, -1, nil); err != nil {
		t.Error(err)
	}
	if _, err := io.WriteString(s.peer.Stdout(), "stopped"); err != nil {
		t.Error(err)
	}
	if err := s.peer.Finish(130); err != nil {
		t.Error(err)
	}
	<-s.done
	if s.result.Exit != 130 || s.err != nil || out.String() != "stopped" {
		t.Errorf("exit %d, %v, %q", s.result.Exit, s.err, out.String())
	}
}

func TestServe_NobodyOrSomebodyElseAnswers_SaysSo(t *testing.T) {
	r, _ := testrepo.New(t)
	serveTo := func(talk func(there *end)) error {
		p := newPipe()
		go talk(p.there)
		_, err := Serve(t.Context(), p.here, ServeOptions{Repository: r, Purpose: Backup, Version: version})
		return err
	}
	say := func(s string) error {
		return serveTo(func(there *end) {
			io.WriteString(there, s)
			there.Close()
		})
	}
	if err := say(""); !errors.Is(err, ErrCut) {
		t.Error(err)
	}
	none := (*NoPeerError)(nil)
	if err := say("bash: kura: not found\n"); !errors.As(err, &none) || string(none.Said) != "bash: kura: not found\n" {
		t.Error(err)
	}
	if err := say(strings.Repeat("x", 2*maxNoise)); !errors.As(err, &none) || !errors.Is(err, ErrProtocol) || len(none.Said) != maxNoise {
		t.Error(err)
	}
	if err := say(greeting[:7]); !errors.Is(err, ErrCut) {
		t.Errorf("cut in its first word: %v", err)
	}
	there := make(chan error, 1)
	err := serveTo(func(e *end) {
		_, err := Dial(context.Background(), e, "another version")
		there <- err
	})
	if far := <-there; !errors.Is(err, ErrVersion) || !errors.Is(far, ErrVersion) {
		t.Errorf("%v; %v", err, far)
	}
	// What a login prints first does no harm.
	p := newPipe()
	go func() {
		io.WriteString(p.there, "Welcome to my host\n")
		peer, err := Dial(context.Background(), p.there, version)
		if err == nil {
			err = peer.Finish(0)
		}
		there <- err
	}()
	if res, err := Serve(t.Context(), p.here, ServeOptions{Repository: r, Purpose: Backup, Version: version}); err != nil || res.Exit != 0 {
		t.Error(res, err)
	}
	if err := <-there; err != nil {
		t.Error(err)
	}
	if _, err := Serve(t.Context(), nil, ServeOptions{Repository: r}); err == nil {
		t.Error("a command without purpose was run")
	}
}

func TestDial_ContextEnds_ReturnsItsCause(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	p := newPipe()
	go cancel(enough)
	if _, err := Dial(ctx, p.there, version); !errors.Is(err, enough) {
		t.Error(err)
	}
}

func TestCalls_Canceled_ReleaseTheOtherSide(t *testing.T) {
	inner := fault.New(mem.New())
	store := bare(t, inner, newPipe())
	began, ended := make(chan struct{}, 1), make(chan struct{}, 1)
	inner.Inject(fault.On(fault.Get).Always().Hook(func(ctx context.Context, _ fault.Call) error {
		began <- struct{}{}
		<-ctx.Done()
		ended <- struct{}{}
		return context.Cause(ctx)
	}))
	for range maxCalls + 10 { // more than there may be at a time
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error)
		go func() {
			_, err := store.Get(ctx, "data/x", 0, -1, nil)
			failed <- err
		}()
		<-began
		cancel()
		<-ended
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
}

func TestCalls_ManyMoreThanAtATime_AllAreAnswered(t *testing.T) {
	inner := mem.New()
	store := bare(t, inner, newPipe())
	var all sync.WaitGroup
	for i := range 4 * maxCalls {
		all.Go(func() {
			name := fmt.Sprintf("data/%d", i)
			data := bytes.Repeat([]byte(name), 1+i*40)
			if err := store.Put(t.Context(), name, data); err != nil {
				t.Error(err)
			}
			got, err := store.Get(t.Context(), name, 0, -1, nil)
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
	all.Wait()
}

func TestStore_Errors_KeepWhatTheySay(t *testing.T) {
	inner := fault.New(mem.New())
	store := bare(t, inner, newPipe())
	if err := inner.Put(t.Context(), "data/x", []byte("12345")); err != nil {
		t.Fatal(err)
	}
	var short *backends.RangeError
	if _, err := store.Get(t.Context(), "data/x", 3, 9, nil); !errors.As(err, &short) || short.Size != 5 || short.Name != "data/x" {
		t.Error(err)
	}
	for _, kind := range []backends.Kind{backends.Permanent, backends.Transient, backends.Unclear} {
		inner.Inject(fault.On(fault.Get).Before(&backends.Error{Op: "get", Name: "data/x", Kind: kind, Err: errors.New("disk on fire")}))
		_, err := store.Get(t.Context(), "data/x", 0, -1, nil)
		if backends.KindOf(err) != kind || err.Error() != "get data/x: disk on fire" {
			t.Errorf("%v: %v", backends.KindOf(err), err)
		}
	}
	for _, want := range codes[2:] {
		if want == backends.ErrRange {
			continue
		}
		inner.Inject(fault.On(fault.Get).Before(fmt.Errorf("it is so: %w", want)))
		if _, err := store.Get(t.Context(), "data/x", 0, -1, nil); !errors.Is(err, want) {
			t.Errorf("%v became %v", want, err)
		}
	}
}

// TestServe_HostileFrames_EndInBoundedMemory sends what no Peer would.
func TestServe_HostileFrames_EndInBoundedMemory(t *testing.T) {
	req := func(id uint32, q request) []byte {
		head, err := wire.Marshal(&q)
		if err != nil {
			t.Fatal(err)
		}
		return append(frames.Header{Type: requestFrame, ID: id, Length: len(head)}.Append(nil), head...)
	}
	data := func(id uint32, n int) []byte {
		return append(frames.Header{Type: frames.Data, ID: id, Length: n}.Append(nil), make([]byte, n)...)
	}
	many := func(n int, q request) (b []byte) {
		for i := range n {
			b = append(b, req(uint32(i+1), q)...)
		}
		return b
	}
	for name, b := range map[string][]byte{
		"reply":                    frames.Header{Type: replyFrame, ID: 1}.Append(nil),
		"request of nothing":       frames.Header{Type: requestFrame, ID: 1}.Append(nil),
		"unknown request":          req(1, request{Op: 99}),
		"id 0":                     req(0, request{Op: opDelete, Name: "data/x", Body: 0}),
		"id twice":                 append(req(1, request{Op: opPut, Body: 9}), req(1, request{Op: opPut, Body: 9})...),
		"body where there is none": append(req(1, request{Op: opGet, Name: "x", Body: 5}), data(1, 5)...),
		"piece behind the last":    slices.Concat(req(1, request{Op: opSign, Body: 2}), data(1, 2), data(1, 2)),
		"piece of no request":      data(7, 100),
		"piece too long":           append(req(1, request{Op: opPut, Body: 9}), data(1, 10)...),
		"empty piece":              append(req(1, request{Op: opPut, Body: 9}), data(1, 0)...),
		"too large a put":          req(1, request{Op: opPut, Body: maxPut + 1}),
		"too many puts":            many(3, request{Op: opPut, Body: maxPut / 2}),
		"too many requests":        many(maxCalls+1, request{Op: opSign, Body: 100}),
		"too much output":          many(maxOutputs+1, request{Op: opOutput, Body: 100}),
		"long output":              req(1, request{Op: opOutput, Body: maxOutput + 1}),
		"long lookup":              req(1, request{Op: opLookup, Body: uint32(maxLookup*idSize) + 1}),
		"long header":              frames.Header{Type: requestFrame, ID: 1, Length: frames.MaxPayload}.Append(nil),
		"finish of nothing":        frames.Header{Type: finishFrame}.Append(nil),
	} {
		p := newPipe()
		s := newServer(p.here, mem.New(), anything{mem.New()}, nil)
		go func() {
			p.there.Write(b)
			p.there.Write(make([]byte, frames.MaxPayload)) // what a header that is too long speaks of
			p.there.out.close()
		}()
		go io.Copy(io.Discard, p.there)
		if err := s.serve(t.Context()); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v", name, err)
		}
		p.there.Close()
	}
}

// TestServe_AnnouncedBodies_TakeNoMemoryBeforeTheyCome announces as much as may be announced.
func TestServe_AnnouncedBodies_TakeNoMemoryBeforeTheyCome(t *testing.T) {
	p := newPipe()
	s := newServer(p.here, mem.New(), anything{mem.New()}, nil)
	var b []byte
	for id := range uint32(16) {
		head, err := wire.Marshal(&request{Op: opPut, Name: "data/x", Body: maxWindow / 16})
		if err != nil {
			t.Fatal(err)
		}
		b = append(frames.Header{Type: requestFrame, ID: id + 1, Length: len(head)}.Append(b), head...)
		b = frames.Header{Type: frames.Data, ID: id + 1, Length: 1}.Append(b)
		b = append(b, 'x')
	}
	go func() {
		p.there.Write(b)
		p.there.out.close()
	}()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := s.serve(t.Context()); !errors.Is(err, ErrCut) {
		t.Error(err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 40<<20 {
		t.Errorf("%d bytes were allocated for 16 bytes", n)
	}
}

// TestServe_RandomFrames_NeverPanics sends frames with right headers and anything in them.
func TestServe_RandomFrames_NeverPanics(t *testing.T) {
	rng := testrand.New(t)
	for range 300 {
		p := newPipe()
		store := mem.New()
		s := newServer(p.here, store, anything{store}, nil)
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			for range 1 + rng.IntN(30) {
				payload := make([]byte, rng.IntN(60))
				for i := range payload {
					payload[i] = byte(rng.Uint32())
				}
				if rng.IntN(3) > 0 {
					payload, _ = wire.Marshal(&request{
						Op: op(rng.IntN(13)), Body: uint32(rng.IntN(3) * rng.IntN(40)), Name: "data/x", Length: int64(rng.IntN(5)) - 1,
					})
				}
				h := frames.Header{Type: frames.Type(1 + rng.IntN(7)), ID: uint32(rng.IntN(5)), Length: len(payload)}
				if _, err := p.there.Write(append(h.Append(nil), payload...)); err != nil {
					break
				}
			}
			p.there.out.close()
		}()
		go io.Copy(io.Discard, p.there)
		_ = s.serve(t.Context())
		p.there.Close()
		<-sent
	}
}

func FuzzDecodePlaces(f *testing.F) {
	f.Add(binary.AppendUvarint(make([]byte, 32), 0), 5)
	f.Fuzz(func(t *testing.T, b []byte, packs int) {
		found, err := decodePlaces(b, packs)
		if err != nil {
			return
		}
		for id, places := range found {
			again, err := decodePlaces(appendPlaces(nil, id, places), packs)
			if err != nil || fmt.Sprint(again[id]) != fmt.Sprint(places) {
				t.Fatalf("%v became %v: %v", places, again[id], err)
			}
		}
		if p, o, err := splitAnswer(b); err == nil && len(p)+len(o) > len(b) {
			t.Fatal("longer than it was")
		}
	})
}

func FuzzDecodeInfo(f *testing.F) {
	f.Add(appendInfo(nil, &backends.Info{Name: "data/x", Size: 7}))
	f.Fuzz(func(t *testing.T, b []byte) {
		info, rest, err := decodeInfo(b)
		if err != nil {
			return
		}
		again, _, err := decodeInfo(appendInfo(nil, &info))
		if err != nil || again != info || len(rest) >= len(b) {
			t.Fatalf("%+v became %+v: %v", info, again, err)
		}
	})
}

func FuzzDecodeRequest(f *testing.F) {
	f.Add([]byte{0xa1, 1, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := decodeRequest(b)
		if err == nil && (q.Body > q.Op.maxBody() || q.Op > opOutput) {
			t.Fatalf("%+v", q)
		}
	})
}
