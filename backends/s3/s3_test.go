package s3_test

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/minio/minio-go/v7"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/s3"
	"github.com/kura-backup/kura/backends/storetest"
	"github.com/kura-backup/kura/internal/testserver"
	"github.com/kura-backup/kura/internal/testsys"
)

func TestMain(m *testing.M) {
	defer testserver.Keep()()
	m.Run()
}

// onEach runs a test against each server: versitygw, and MinIO where the environment asks for it.
func onEach(t *testing.T, test func(t *testing.T, srv *testserver.S3)) {
	for name, start := range map[string]func(testing.TB) *testserver.S3{"versitygw": testserver.Versitygw, "minio": testserver.MinIO} {
		t.Run(name, func(t *testing.T) {
			srv := start(t)
			srv.Setenv(t)
			test(t, srv)
		})
	}
}

func parse(t *testing.T, location string) s3.Location {
	t.Helper()
	loc, err := s3.ParseLocation(location)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

// place is a location in a bucket that is not there yet.
func place(t *testing.T, srv *testserver.S3) s3.Location {
	t.Helper()
	return parse(t, srv.Endpoint+"/"+srv.Bucket(t)+"/some/prefix")
}

func open(t *testing.T, loc s3.Location, o s3.Options) *s3.Store {
	t.Helper()
	s, err := s3.Open(t.Context(), loc, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func create(t *testing.T, loc s3.Location, o s3.Options) *s3.Store {
	t.Helper()
	s, err := s3.Create(t.Context(), loc, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func put(t *testing.T, s backends.Store, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := s.Put(t.Context(), name, []byte(name)); err != nil {
			t.Fatal(err)
		}
	}
}

func names(t *testing.T, s backends.Store) []string {
	t.Helper()
	var out []string
	for info, err := range s.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, info.Name)
	}
	return out
}

func client(t *testing.T, srv *testserver.S3) *minio.Client {
	t.Helper()
	c, err := srv.Client()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestStore_KeepsTheContract(t *testing.T) {
	onEach(t, func(t *testing.T, srv *testserver.S3) {
		storetest.Run(t, func(t *testing.T) backends.Store { return create(t, place(t, srv), s3.Options{}) })
	})
}

func TestStore_AfterClose_NothingIsLeftRunning(t *testing.T) {
	srv := testserver.Versitygw(t)
	srv.Setenv(t)
	leaks := goleak.IgnoreCurrent()
	s, err := s3.Create(t.Context(), place(t, srv), s3.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if err := s.Put(t.Context(), fmt.Sprintf("data/%d", i), make([]byte, 100_000)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := len(names(t, s)); n != 20 {
		t.Errorf("%d objects", n)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	testsys.VerifyNone(t, leaks)
}

func TestOpen_NoBucket_EveryOperationSaysSo(t *testing.T) {
	onEach(t, func(t *testing.T, srv *testserver.S3) {
		s := open(t, place(t, srv), s3.Options{})
		check := func(op string, err error) {
			t.Helper()
			if !errors.Is(err, backends.ErrNoStore) || backends.KindOf(err) != backends.Permanent {
				t.Errorf("%s: %v", op, err)
			}
		}
		_, err := s.Get(t.Context(), "config", 0, -1, nil)
		check("get", err)
		check("put", s.Put(t.Context(), "config", []byte("x")))
		check("delete", s.Delete(t.Context(), "config"))
		for _, err := range s.List(t.Context(), "", "") {
			check("list", err)
		}
	})
}

func TestCreate_BucketIsThere_IsUsed(t *testing.T) {
	onEach(t, func(t *testing.T, srv *testserver.S3) {
		loc := place(t, srv)
		put(t, create(t, loc, s3.Options{}), "config")
		s := create(t, loc, s3.Options{})
		if err := s.Put(t.Context(), "config", []byte("other")); !errors.Is(err, backends.ErrExist) {
			t.Errorf("Put: %v", err)
		}
	})
}

func TestCreate_SeveralAtOnce_AllHaveTheBucket(t *testing.T) {
	onEach(t, func(t *testing.T, srv *testserver.S3) {
		loc := place(t, srv)
		var wg sync.WaitGroup
		for i := range 6 {
			wg.Go(func() {
				s, err := s3.Create(t.Context(), loc, s3.Options{})
				if err != nil {
					t.Error(err)
					return
				}
				defer s.Close()
				if err := s.Put(t.Context(), fmt.Sprintf("data/%d", i), []byte("x")); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	})
}

func TestCreate_MayNotMakeBuckets_SaysSo(t *testing.T) {
	onEach(t, func(t *testing.T, srv *testserver.S3) {
		other := place(t, srv)
		create(t, other, s3.Options{})
		buckets := "*"
		if srv.Name == "versitygw" {
			buckets = other.Bucket // its policies belong to a bucket
		}
		srv.Restricted(t, other.Bucket, policy(buckets, "s3:ListBucket", "s3:GetObject", "s3:PutObject")).Setenv(t)
		_, err := s3.Create(t.Context(), place(t, srv), s3.Options{})
		if !errors.Is(err, backends.ErrDenied) || !strings.Contains(err.Error(), "s3:CreateBucket") {
			t.Errorf("%v", err)
		}
	})
}

func TestList_ForeignObjects_AreLeftOut(t *testing.T) {
	onEach(t, func(t *testing.T, srv *testserver.S3) {
		loc := place(t, srv)
		s := create(t, loc, s3.Options{})
		put(t, s, "config", "data/aa")
		c := client(t, srv)
		for _, key := range []string{"some/prefix/README.md", "some/prefix/data/x/y", "some/prefix/data/Ünïcode & more?", "some/prefixed", "else"} {
			if _, err := c.PutObject(t.Context(), loc.Bucket, key, strings.NewReader("x"), 1, minio.PutObjectOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		if got := strings.Join(names(t, s), " "); got != "config data/aa" {
			t.Errorf("listed: %s", got)
		}
	})
}

// putMany puts small objects, several at a time.
func putMany(t *testing.T, s backends.Store, all []string) {
	t.Helper()
	var g errgroup.Group
	g.SetLimit(16)
	for _, name := range all {
		g.Go(func() error { return s.Put(t.Context(), name, []byte(name)) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

// quiet is where servers in tests say what the tests provoke.
var quiet = log.New(io.Discard, "", 0)

func TestCreate_ServerIsBusy_TriedAgain(t *testing.T) {
	testserver.Keys{AccessKey: "key", SecretKey: "secret"}.Setenv(t)
	var requests []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests = append(requests, r.Method)
		switch {
		case len(requests) < 3:
			w.WriteHeader(http.StatusServiceUnavailable)
		case r.Method == http.MethodHead:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer srv.Close()
	create(t, parse(t, srv.URL+"/bucket"), s3.Options{})
	if got := strings.Join(requests, " "); got != "HEAD HEAD HEAD PUT" {
		t.Errorf("requests: %s", got)
	}
}

// A HEAD has no text: Garage, which wants its own region, says no more than 400 to it.
func TestCreate_HeadSaysNoReason_ItIsAskedFor(t *testing.T) {
	const region = `<Error><Code>AuthorizationHeaderMalformed</Code><Message>unexpected scope</Message><Region>garage</Region></Error>`
	for _, c := range []struct {
		head, get int
		text      string
		requests  string
		ok        bool
	}{
		{400, 400, region, "HEAD GET", false},
		{301, 400, region, "HEAD GET", false},
		{400, 404, `<Error><Code>NoSuchBucket</Code></Error>`, "HEAD GET PUT", true},
		{400, 200, `<ListBucketResult></ListBucketResult>`, "HEAD GET", true},
	} {
		testserver.Keys{AccessKey: "key", SecretKey: "secret"}.Setenv(t)
		var requests []string
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			requests = append(requests, r.Method)
			switch r.Method {
			case http.MethodHead:
				w.WriteHeader(c.head)
			case http.MethodGet:
				w.WriteHeader(c.get)
				_, _ = io.WriteString(w, c.text)
			}
		}))
		s, err := s3.Create(t.Context(), parse(t, srv.URL+"/bucket"), s3.Options{})
		if s != nil {
			s.Close()
		}
		if c.ok != (err == nil) || !c.ok && (!errors.Is(err, s3.ErrRegion) || !strings.Contains(err.Error(), "-o s3.region=garage")) {
			t.Errorf("%+v: %v", c, err)
		}
		if got := strings.Join(requests, " "); got != c.requests {
			t.Errorf("%+v: requests %s", c, got)
		}
		srv.Close()
	}
}

func TestCreate_HeadSaysOnlyTheRegion_SaysSo(t *testing.T) {
	testserver.Keys{AccessKey: "key", SecretKey: "secret"}.Setenv(t)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Amz-Bucket-Region", "eu-test-1")
		w.WriteHeader(http.StatusBadRequest)
	}))
	defer srv.Close()
	if _, err := s3.Create(t.Context(), parse(t, srv.URL+"/bucket"), s3.Options{}); !errors.Is(err, s3.ErrRegion) || !strings.Contains(err.Error(), "eu-test-1") {
		t.Errorf("%v", err)
	}
}
