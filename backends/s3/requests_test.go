package s3_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/s3"
	"github.com/kura-backup/kura/internal/testserver"
)

// count is a transparent server in front of one, which notes what it is asked.
func count(t *testing.T, srv *testserver.S3) (location string, requests func() []string) {
	t.Helper()
	target, err := url.Parse(srv.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var seen []string
	front := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // is part of what was signed
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, r.In.Method)
	}})
	t.Cleanup(front.Close)
	return front.URL + "/" + srv.Bucket(t), func() []string {
		mu.Lock()
		defer mu.Unlock()
		defer func() { seen = nil }()
		return seen
	}
}

func TestRequests_NoMoreThanNeeded(t *testing.T) {
	onEach(t, func(t *testing.T, srv *testserver.S3) {
		location, requests := count(t, srv)
		create(t, parse(t, location), s3.Options{})
		requests()
		s := open(t, parse(t, location), s3.Options{})
		check := func(what, want string) {
			t.Helper()
			if got := strings.Join(requests(), " "); got != want {
				t.Errorf("%s: %s, want %s", what, got, want)
			}
		}
		check("open", "")
		if err := s.Put(t.Context(), "data/aa", make([]byte, 20<<20)); err != nil {
			t.Fatal(err)
		}
		check("put", "PUT")
		put(t, s, "data/ab", "data/ac")
		requests()
		for _, r := range [][2]int64{{0, -1}, {100, 1000}, {100, -1}} {
			if _, err := s.Get(t.Context(), "data/aa", r[0], r[1], nil); err != nil {
				t.Fatal(err)
			}
			check("get", "GET")
		}
		names(t, s)
		check("list", "GET")
		if err := s.Delete(t.Context(), "data/aa"); err != nil {
			t.Fatal(err)
		}
		check("first delete", "GET POST") // has the bucket versions?
		if err := s.Delete(t.Context(), "data/ab"); err != nil {
			t.Fatal(err)
		}
		check("delete", "POST")
	})
}

// told notes what it is told of requests.
type told struct{ waits, begins, moved atomic.Int64 }

func (p *told) Waiting() { p.waits.Add(1) }

func (p *told) Moved(n int) {
	if n == 0 {
		p.begins.Add(1)
	}
	p.moved.Add(int64(n))
}

func TestRequests_ProgressIsTold(t *testing.T) {
	srv := testserver.Versitygw(t)
	srv.Setenv(t)
	s := create(t, place(t, srv), s3.Options{})
	const size = 1 << 20
	for what, f := range map[string]func(context.Context) error{
		"put": func(ctx context.Context) error { return s.Put(ctx, "data/aa", make([]byte, size)) },
		"get": func(ctx context.Context) error {
			put := s.Put(t.Context(), "data/ab", make([]byte, size))
			_, err := s.Get(ctx, "data/ab", 0, -1, nil)
			return errors.Join(put, err)
		},
	} {
		p := new(told)
		if err := f(backends.WithProgress(t.Context(), p)); err != nil {
			t.Fatal(err)
		}
		if p.waits.Load() == 0 || p.begins.Load() == 0 || p.moved.Load() < size {
			t.Errorf("%s: waits %d, begins %d, moved %d", what, p.waits.Load(), p.begins.Load(), p.moved.Load())
		}
	}
}

func TestRequests_ContextEnds_TheyEnd(t *testing.T) {
	stop := make(chan struct{})
	s := fake(t, s3.Options{Connections: 1}, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-stop:
		case <-r.Context().Done():
		}
	})
	defer close(stop)
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(50*time.Millisecond, func() { cancel(why) })
	done := make(chan error, 2)
	for range cap(done) { // the second waits for a connection
		go func() { done <- s.Put(ctx, "config", []byte("x")) }()
	}
	for range cap(done) {
		if err := <-done; !errors.Is(err, why) {
			t.Errorf("%v", err)
		}
	}
}

// No more connections than the options say, and no fewer.
func TestRequests_Connections_AreBounded(t *testing.T) {
	const connections, puts = 3, 20
	var running, most atomic.Int32
	full := make(chan struct{})
	var once sync.Once
	s := fake(t, s3.Options{Connections: connections}, func(w http.ResponseWriter, r *http.Request) {
		n := running.Add(1)
		defer running.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		if n == connections {
			once.Do(func() { close(full) })
		}
		select {
		case <-full:
		case <-time.After(time.Minute):
		}
		_, _ = io.Copy(io.Discard, r.Body)
	})
	var wg sync.WaitGroup
	for range puts {
		wg.Go(func() {
			if err := s.Put(t.Context(), "config", []byte("x")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if most.Load() != connections {
		t.Errorf("%d at once, want %d", most.Load(), connections)
	}
}

// The bucket is in the host's name or in the path.
func TestRequests_Lookup_Table(t *testing.T) {
	for _, c := range []struct{ location, lookup, host, path string }{
		{"http://store.example.com/bucket/some", "", "store.example.com", "/bucket/some/config"},
		{"http://store.example.com:9000/bucket/some", "auto", "store.example.com:9000", "/bucket/some/config"},
		{"http://store.example.com/bucket/some", "path", "store.example.com", "/bucket/some/config"},
		{"http://store.example.com/bucket/some", "dns", "bucket.store.example.com", "/some/config"},
		{"http://s3.eu-west-1.amazonaws.com/bucket", "", "bucket.s3.dualstack.eu-west-1.amazonaws.com", "/config"},
		{"http://s3.eu-west-1.amazonaws.com/bucket", "path", "s3.dualstack.eu-west-1.amazonaws.com", "/bucket/config"},
	} {
		testserver.Keys{AccessKey: "key", SecretKey: "secret"}.Setenv(t)
		var got atomic.Value
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			got.Store(r.Host + " " + r.URL.Path)
		}))
		s := open(t, parse(t, c.location), s3.Options{Lookup: c.lookup})
		s.Dial(srv.Listener.Addr().String())
		put(t, s, "config")
		if want := c.host + " " + c.path; got.Load() != want {
			t.Errorf("%s, %q: %v, want %s", c.location, c.lookup, got.Load(), want)
		}
		srv.Close()
	}
}

// A pack is neither copied on its way out nor allocated once more on its way in.
func TestRequests_LargeObjects_AreNotCopied(t *testing.T) {
	srv := testserver.Versitygw(t)
	srv.Setenv(t)
	s := create(t, place(t, srv), s3.Options{})
	const size, rounds = 8 << 20, 3
	data := make([]byte, size)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, name := range []string{"data/a", "data/b", "data/c"}[:rounds] {
		if err := s.Put(t.Context(), name, data); err != nil {
			t.Fatal(err)
		}
		for _, offset := range []int64{0, 1} {
			if _, err := s.Get(t.Context(), name, offset, -1, data); err != nil {
				t.Fatal(err)
			}
		}
	}
	runtime.ReadMemStats(&after)
	// Copies of all that is put, or of all that is got once, would be as many bytes. Connections have small buffers.
	if n := after.TotalAlloc - before.TotalAlloc; n >= rounds*size {
		t.Errorf("%d bytes were allocated to move %d of %d bytes", n, 3*rounds, size)
	}
}
