package netfault

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/retry"
	"github.com/kura-backup/kura/backends/s3"
	"github.com/kura-backup/kura/backends/storetest"
	"github.com/kura-backup/kura/internal/s3proxy"
	"github.com/kura-backup/kura/internal/testserver"
	"github.com/kura-backup/kura/internal/testsys"
)

// openStore opens a fresh place behind a proxy.
func openStore(t *testing.T, server *testserver.S3, p *s3proxy.Proxy, bucket, prefix string, o retry.Options) backends.Store {
	t.Helper()
	loc, err := s3.ParseLocation(p.URL + "/" + bucket + "/" + prefix)
	if err != nil {
		t.Fatal(err)
	}
	inner, err := s3.Open(t.Context(), loc, s3.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return retry.New(inner, o)
}

// A Put whose outcome is unclear is its caller's to settle; all else is settled below the contract.
func TestStore_OneRequestInTenFails_KeepsTheContract(t *testing.T) {
	server := testserver.Versitygw(t)
	server.Setenv(t)
	seed := seedOf(t)
	bucket := newBucket(t, server)
	reads := s3proxy.On(s3proxy.Get, s3proxy.Head, s3proxy.List)
	removals := s3proxy.On(s3proxy.Delete, s3proxy.Batch)
	var proxies []*s3proxy.Proxy
	storetest.Run(t, func(t *testing.T) backends.Store {
		p := s3proxy.New(t, server.Endpoint)
		for i, rule := range []s3proxy.Rule{
			reads.Answer(500, ""), reads.CutResponse(50), reads.Short(1), reads.Reset(),
			removals.AnswerAfter(500, ""), removals.ResetAfter(), removals.Again(20 * time.Millisecond),
			s3proxy.On().Answer(503, ""), s3proxy.On(s3proxy.Put).Answer(409, ""), s3proxy.On(s3proxy.Put).CorruptRequest(),
		} {
			p.Add(rule.Rate(0.025, seed+uint64(i)))
		}
		proxies = append(proxies, p)
		return openStore(t, server, p, bucket, fmt.Sprint(len(proxies)), stubborn(false))
	})
	fired := 0
	for _, p := range proxies {
		fired += p.Fired()
	}
	if fired < len(proxies) {
		t.Errorf("%d requests tampered with in %d places: that shows nothing", fired, len(proxies))
	}
}

// TestStore_ServerOnlyFails_RequestsAreBounded counts what is sent for one call when nothing ever succeeds.
func TestStore_ServerOnlyFails_RequestsAreBounded(t *testing.T) {
	server := testserver.Versitygw(t)
	server.Setenv(t)
	bucket := newBucket(t, server)
	leaks := goleak.IgnoreCurrent()
	const most = 5
	calls := map[string]struct {
		ops  []s3proxy.Op
		call func(s backends.Store) error
	}{
		"put": {[]s3proxy.Op{s3proxy.Put}, func(s backends.Store) error { return s.Put(t.Context(), "data/a", []byte("x")) }},
		"get": {[]s3proxy.Op{s3proxy.Get}, func(s backends.Store) error {
			_, err := s.Get(t.Context(), "data/a", 0, -1, nil)
			return err
		}},
		"list": {[]s3proxy.Op{s3proxy.List}, func(s backends.Store) error {
			for _, err := range s.List(t.Context(), "data/", "") {
				if err != nil {
					return err
				}
			}
			return nil
		}},
		"delete": {[]s3proxy.Op{s3proxy.Delete, s3proxy.Batch}, func(s backends.Store) error { return s.Delete(t.Context(), "data/a") }},
		"delete many": {[]s3proxy.Op{s3proxy.Delete, s3proxy.Batch}, func(s backends.Store) error {
			var last error
			err := backends.DeleteMany(t.Context(), s, []string{"data/a", "data/b"}, 1, func(_ string, err error) { last = err })
			return errors.Join(err, last)
		}},
	}
	faults := []struct {
		name string
		rule func(ops ...s3proxy.Op) s3proxy.Rule
		put  int // requests for a Put
	}{
		{"503", func(ops ...s3proxy.Op) s3proxy.Rule { return s3proxy.On(ops...).Answer(503, "") }, most},
		{"500", func(ops ...s3proxy.Op) s3proxy.Rule { return s3proxy.On(ops...).Answer(500, "") }, 1},
		{"reset", func(ops ...s3proxy.Op) s3proxy.Rule { return s3proxy.On(ops...).Reset() }, 1},
		{"stall", func(ops ...s3proxy.Op) s3proxy.Rule { return s3proxy.On(ops...).Stall(time.Hour) }, 1},
	}
	t.Run("calls", func(t *testing.T) {
		for _, fault := range faults {
			for name, c := range calls {
				t.Run(fault.name+" "+name, func(t *testing.T) {
					t.Parallel()
					p := s3proxy.New(t, server.Endpoint)
					p.Add(fault.rule(c.ops...).Always())
					o := stubborn(false)
					o.Tries = most
					if fault.name == "stall" {
						o.Idle = patience / 4
					}
					s := openStore(t, server, p, bucket, "bounds", o)
					err := c.call(s)
					if err == nil || backends.KindOf(err) == backends.Permanent {
						t.Errorf("err = %v", err)
					}
					if err := s.Close(); err != nil {
						t.Error(err)
					}
					p.Close()
					requests := s3proxy.Sum(p.Requests(), func(r s3proxy.Request) bool { return r.Tampered }).Requests
					want := most
					if name == "put" {
						want = fault.put
					}
					// On a busy machine one may be given up before it has arrived.
					if requests > want || requests < want && fault.name != "stall" {
						t.Errorf("%d requests, want %d: %v", requests, want, err)
					}
					if name != "put" && !strings.Contains(err.Error(), fmt.Sprintf("given up after %d tries", most)) {
						t.Errorf("it does not say how often it tried: %v", err)
					}
				})
			}
		}
	})
	testsys.VerifyNone(t, leaks)
}

func TestStore_ServerRestarts_IsSurvived(t *testing.T) {
	server := testserver.Versitygw(t)
	server.Setenv(t)
	bucket := newBucket(t, server)
	p := s3proxy.New(t, server.Endpoint)
	o := stubborn(false)
	o.Tries = 1_000_000 // how long it takes until the server is up is not known
	notified := make(chan struct{}, 1000)
	o.Notify = func(string, string, error, time.Duration) {
		select {
		case notified <- struct{}{}:
		default:
		}
	}
	s := openStore(t, server, p, bucket, "restart", o)
	defer s.Close()
	if err := s.Put(t.Context(), "data/a", []byte("x")); err != nil {
		t.Fatal(err)
	}
	p.Add(s3proxy.On().Always().Answer(503, ""))
	done := make(chan error)
	go func() { done <- s.Put(t.Context(), "data/b", []byte("y")) }()
	go func() { _, err := s.Get(t.Context(), "data/a", 0, -1, nil); done <- err }()
	for range 6 { // at least two tries of one of them, before it is up again
		<-notified
	}
	p.Clear()
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// TestStall_ThirtySeconds_IsWaitedOut has the client's real patience.
func TestStall_ThirtySeconds_IsWaitedOut(t *testing.T) {
	if !*all {
		t.Skip("takes half a minute; -netfault.all runs it")
	}
	server := testserver.Versitygw(t)
	server.Setenv(t)
	bucket := newBucket(t, server)
	p := s3proxy.New(t, server.Endpoint)
	tried := make(chan error, 100)
	s := openStore(t, server, p, bucket, "stall", retry.Options{
		Notify: func(_, _ string, err error, _ time.Duration) { tried <- err },
	})
	defer s.Close()
	data := make([]byte, 16<<20)
	if err := s.Put(t.Context(), "data/a", data); err != nil {
		t.Fatal(err)
	}
	p.Add(s3proxy.On(s3proxy.Put).Stall(30*time.Second), s3proxy.On(s3proxy.Get).StallResponse(30*time.Second))
	done := make(chan error)
	go func() { done <- s.Put(t.Context(), "data/b", data) }()
	go func() { _, err := s.Get(t.Context(), "data/a", 0, -1, nil); done <- err }()
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if len(tried) > 0 || p.Fired() != 2 {
		t.Errorf("%d stalls, tried again %d times", p.Fired(), len(tried))
	}
}
