package s3_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/s3"
	"github.com/kura-backup/kura/internal/testserver"
)

// fake opens a store on a server that answers as it is told.
func fake(t *testing.T, o s3.Options, answer http.HandlerFunc) *s3.Store {
	t.Helper()
	testserver.Keys{AccessKey: "key", SecretKey: "secret"}.Setenv(t)
	srv := httptest.NewServer(answer)
	t.Cleanup(srv.Close)
	return open(t, parse(t, srv.URL+"/bucket"), o)
}

func xmlError(code string) string {
	return fmt.Sprintf(`<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>it was said</Message><Region>eu-test-1</Region></Error>`, code)
}

func TestErrors_AnswersOfServers_Table(t *testing.T) {
	const transient, unclear, permanent = backends.Transient, backends.Unclear, backends.Permanent
	none := errors.New("none")
	for _, c := range []struct {
		status   int
		code     string
		is       error // what the errors wrap
		get, put backends.Kind
	}{
		{500, "InternalError", none, transient, unclear},
		{503, "SlowDown", none, transient, transient},
		{503, "SlowDownWrite", none, transient, unclear}, // MinIO: some of its disks have written it
		{503, "ServiceUnavailable", none, transient, unclear},
		{502, "", none, transient, unclear},
		{504, "", none, transient, unclear},
		{507, "XMinioStorageFull", none, transient, unclear},
		{200, "InternalError", none, transient, unclear}, // success with an error inside
		{429, "TooManyRequests", none, transient, transient},
		{409, "ConditionalRequestConflict", none, transient, transient},
		{409, "OperationAborted", none, transient, transient},
		{400, "BadDigest", none, transient, transient},
		{400, "RequestTimeout", none, transient, transient},
		{400, "InvalidArgument", none, permanent, permanent},
		{400, "", none, transient, unclear}, // not S3: the server has lost track of the connection
		{431, "", none, transient, unclear},
		{400, "RequestHeaderSectionTooLarge", none, transient, unclear},
		{403, "AccessDenied", backends.ErrDenied, permanent, permanent},
		{403, "", backends.ErrDenied, permanent, permanent},
		{403, "InvalidAccessKeyId", backends.ErrDenied, permanent, permanent},
		{403, "SignatureDoesNotMatch", backends.ErrDenied, permanent, permanent},
		{400, "ExpiredToken", backends.ErrDenied, permanent, permanent},
		{403, "RequestTimeTooSkewed", s3.ErrClock, permanent, permanent},
		{403, "InvalidObjectState", s3.ErrArchived, permanent, permanent},
		{404, "NoSuchBucket", backends.ErrNoStore, permanent, permanent},
		{301, "PermanentRedirect", s3.ErrRegion, permanent, permanent},
		{400, "AuthorizationHeaderMalformed", s3.ErrRegion, permanent, permanent},
	} {
		t.Run(fmt.Sprint(c.status, c.code), func(t *testing.T) {
			var requests atomic.Int32
			s := fake(t, s3.Options{}, func(w http.ResponseWriter, r *http.Request) {
				requests.Add(1)
				_, _ = io.Copy(io.Discard, r.Body)
				w.WriteHeader(c.status)
				if c.code != "" {
					_, _ = io.WriteString(w, xmlError(c.code))
				}
			})
			check := func(op string, err error, kind backends.Kind) {
				t.Helper()
				if err == nil || backends.KindOf(err) != kind || c.is != none && !errors.Is(err, c.is) {
					t.Errorf("%s: %v, of kind %v, want %v of kind %v", op, err, backends.KindOf(err), c.is, kind)
				}
				for _, other := range []error{backends.ErrExist, backends.ErrNotExist, backends.ErrDenied, backends.ErrNoStore} {
					if errors.Is(err, other) && !errors.Is(c.is, other) {
						t.Errorf("%s: %v is %v", op, err, other)
					}
				}
				if errors.Is(c.is, s3.ErrRegion) && !strings.Contains(err.Error(), "eu-test-1") {
					t.Errorf("%s: the region is not named: %v", op, err)
				}
			}
			if c.status != http.StatusOK {
				_, err := s.Get(t.Context(), "config", 0, -1, nil)
				check("get", err, c.get)
				if n := requests.Load(); n != 1 {
					t.Errorf("%d requests", n)
				}
			}
			check("put", s.Put(t.Context(), "config", []byte("x")), c.put)
			for _, err := range s.List(t.Context(), "", "") {
				check("list", err, c.get)
			}
		})
	}
}

func TestErrors_Denied_NamesThePermission(t *testing.T) {
	s := fake(t, s3.Options{}, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, xmlError("AccessDenied"))
	})
	check := func(err error, permission string) {
		t.Helper()
		if !errors.Is(err, backends.ErrDenied) || !strings.Contains(err.Error(), permission) {
			t.Errorf("%v, want %s in it", err, permission)
		}
	}
	_, err := s.Get(t.Context(), "config", 0, -1, nil)
	check(err, "s3:GetObject")
	check(s.Put(t.Context(), "config", []byte("x")), "s3:PutObject")
	check(s.Delete(t.Context(), "config"), "s3:DeleteObject")
	for _, err := range s.List(t.Context(), "", "") {
		check(err, "s3:ListBucket")
	}
}

func TestPut_ServerWithoutCreateOnly_PermanentAndSaysWhy(t *testing.T) {
	answer := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.Header.Get("If-None-Match") != "" {
			w.WriteHeader(http.StatusNotImplemented)
			_, _ = io.WriteString(w, xmlError("NotImplemented"))
		}
	}
	err := fake(t, s3.Options{}, answer).Put(t.Context(), "config", []byte("x"))
	if !errors.Is(err, backends.ErrNoCreateOnly) || backends.KindOf(err) != backends.Permanent {
		t.Errorf("%v", err)
	}
	if err := fake(t, s3.Options{NoCreateOnly: true}, answer).Put(t.Context(), "config", []byte("x")); err != nil {
		t.Errorf("without the header: %v", err)
	}
}

func TestErrors_Connections(t *testing.T) {
	testserver.Keys{AccessKey: "key", SecretKey: "secret"}.Setenv(t)
	s := open(t, parse(t, fmt.Sprintf("http://127.0.0.1:%d/bucket", testserver.FreePort(t))), s3.Options{})
	if err := s.Put(t.Context(), "config", []byte("x")); !backends.IsTransient(err) {
		t.Errorf("refused: %v of kind %v", err, backends.KindOf(err))
	}

	reset := fake(t, s3.Options{}, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		panic(http.ErrAbortHandler)
	})
	if err := reset.Put(t.Context(), "config", []byte("x")); !backends.IsUnclear(err) {
		t.Errorf("hung up after the body: %v of kind %v", err, backends.KindOf(err))
	}
	if _, err := reset.Get(t.Context(), "config", 0, -1, nil); !backends.IsTransient(err) {
		t.Errorf("hung up: %v of kind %v", err, backends.KindOf(err))
	}
}

// The caller's buffer is its own again when Put returns, even if the server has answered early and the
// client has not noticed: the race detector watches.
func TestPut_ServerAnswersEarly_DataIsNotTouchedAfterwards(t *testing.T) {
	s := fake(t, s3.Options{}, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusPreconditionFailed)
	})
	data := make([]byte, 8<<20)
	for range 10 {
		if err := s.Put(t.Context(), "config", data); err == nil {
			t.Error("no error")
		}
		for i := range data {
			data[i]++
		}
	}
}

func TestGet_AnswersThatAreWrong_NoBytes(t *testing.T) {
	content := "0123456789"
	// range 2-5 of ten bytes, and the whole of them
	for name, c := range map[string]struct {
		answer func(w http.ResponseWriter, r *http.Request)
		kind   backends.Kind
	}{
		"short": {func(w http.ResponseWriter, r *http.Request) {
			size, body := 10, content[:3]
			if r.Header.Get("Range") != "" {
				w.Header().Set("Content-Range", "bytes 2-5/10")
				size = 4
			}
			w.Header().Set("Content-Length", strconv.Itoa(size))
			if size == 4 {
				w.WriteHeader(http.StatusPartialContent)
			}
			_, _ = io.WriteString(w, body)
		}, backends.Transient},
		"other range": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Range", "bytes 3-6/10")
			w.Header().Set("Content-Length", "4")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = io.WriteString(w, content[3:7])
		}, backends.Transient},
		"range ignored": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "10")
			if r.Header.Get("Range") == "" {
				w.Header().Set("Content-Length", "11")
			}
			_, _ = io.WriteString(w, content)
		}, backends.Transient},
		"no time": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Del("Last-Modified")
			w.Header().Set("Content-Length", "10")
			_, _ = io.WriteString(w, content)
		}, backends.Transient},
		"no length": {func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			_, _ = io.WriteString(w, content)
		}, backends.Transient},
	} {
		t.Run(name, func(t *testing.T) {
			s := fake(t, s3.Options{}, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT")
				c.answer(w, r)
			})
			for _, rng := range [][2]int64{{2, 4}, {0, -1}} {
				got, err := s.Get(t.Context(), "config", rng[0], rng[1], nil)
				if err == nil && rng[1] < 0 && name == "other range" {
					continue // it was not asked for a range, and has sent an object of four bytes
				}
				if err == nil || got != nil || backends.KindOf(err) != c.kind {
					t.Errorf("%v: %q, %v of kind %v", rng, got, err, backends.KindOf(err))
				}
			}
		})
	}
}

// A proxy whose server is away, or that wants somebody to log in, says nothing of objects.
func TestAnswers_PageOfAProxy_SaysNothingOfObjects(t *testing.T) {
	const page = "<!DOCTYPE html><html><body>404 page not found</body></html>"
	for name, c := range map[string]struct {
		status int
		body   string
	}{
		"not found":       {http.StatusNotFound, page},
		"not found, text": {http.StatusNotFound, "404 page not found\n"},
		"page":            {http.StatusOK, page},
		"text":            {http.StatusOK, "welcome"},
		"created":         {http.StatusCreated, page},
		"no content":      {http.StatusNoContent, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := fake(t, s3.Options{}, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			})
			if err := s.Put(t.Context(), "config", []byte("x")); !errors.Is(err, s3.ErrServer) || !backends.IsUnclear(err) {
				t.Errorf("put: %v of kind %v", err, backends.KindOf(err))
			}
			if c.status != http.StatusNotFound {
				return
			}
			if _, err := s.Get(t.Context(), "config", 0, -1, nil); errors.Is(err, backends.ErrNotExist) || !backends.IsTransient(err) {
				t.Errorf("get: %v of kind %v", err, backends.KindOf(err))
			}
			for _, err := range s.List(t.Context(), "", "") {
				if errors.Is(err, backends.ErrNoStore) || !backends.IsTransient(err) {
					t.Errorf("list: %v of kind %v", err, backends.KindOf(err))
				}
			}
		})
	}
}

func TestGet_NotFoundWithoutABody_IsMissing(t *testing.T) {
	s := fake(t, s3.Options{}, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNotFound) })
	if _, err := s.Get(t.Context(), "config", 0, -1, nil); !errors.Is(err, backends.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func TestGet_TooLarge_IsNotRead(t *testing.T) {
	s := fake(t, s3.Options{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT")
		w.Header().Set("Content-Length", strconv.Itoa(backends.MaxObject+1))
		w.WriteHeader(http.StatusOK)
	})
	if _, err := s.Get(t.Context(), "config", 0, -1, nil); !errors.Is(err, backends.ErrTooLarge) {
		t.Errorf("%v", err)
	}
}

// What is altered on its way comes right the second time. What is altered where it is kept comes as it is:
// its reader can tell what is damaged, and may be able to mend it.
func TestGet_ChecksumDiffers_AskedAgain(t *testing.T) {
	good, bad := []byte("as it was put"), []byte("as it was cut")
	for name, c := range map[string]struct {
		first, second []byte
		want          string // empty: an error
	}{
		"on its way":   {bad, good, string(good)},
		"in the store": {bad, bad, string(bad)},
		"both times":   {bad, []byte("as it was hit"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			gets := 0
			s := fake(t, s3.Options{}, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT")
				w.Header().Set("x-amz-checksum-crc32c", s3.Checksum(good))
				w.Header().Set("Content-Length", strconv.Itoa(len(good)))
				if r.Method == http.MethodHead {
					return
				}
				if gets++; gets == 1 {
					_, _ = w.Write(c.first)
				} else {
					_, _ = w.Write(c.second)
				}
			})
			got, err := s.Get(t.Context(), "config", 0, -1, nil)
			if string(got) != c.want || (err != nil) != (c.want == "") || c.want == "" && !backends.IsTransient(err) || gets != 2 {
				t.Errorf("%q, %v after %d requests", got, err, gets)
			}
		})
	}
}

func TestList_AnswerThatIsNoList_IsNoEmptyStore(t *testing.T) {
	for name, body := range map[string]string{
		"a page":       "<!DOCTYPE html><html><body>Welcome to the hotel</body></html>",
		"nothing":      "",
		"another list": `<ListAllMyBucketsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"></ListAllMyBucketsResult>`,
		"half a list":  `<?xml version="1.0"?><ListBucketResult><IsTruncated>false</IsTruncated>`,
	} {
		t.Run(name, func(t *testing.T) {
			s := fake(t, s3.Options{}, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, body) })
			n := 0
			for _, err := range s.List(t.Context(), "", "") {
				if n++; !backends.IsTransient(err) {
					t.Errorf("%v", err)
				}
			}
			if n != 1 {
				t.Errorf("%d results", n)
			}
		})
	}
}

func TestList_OutOfOrder_IsAnError(t *testing.T) {
	s := fake(t, s3.Options{}, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `<ListBucketResult><Contents><Key>data/b</Key></Contents><Contents><Key>data/a</Key></Contents></ListBucketResult>`)
	})
	var last error
	for _, err := range s.List(t.Context(), "", "") {
		last = err
	}
	if !errors.Is(last, s3.ErrServer) {
		t.Errorf("%v", last)
	}
}

// A server that lists other keys than those asked for, or in another spelling, may have left ours out.
func TestList_KeysOutsideOfThePrefix_AreAnError(t *testing.T) {
	testserver.Keys{AccessKey: "key", SecretKey: "secret"}.Setenv(t)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `<ListBucketResult><EncodingType>url</EncodingType><Contents><Key>a+b/config</Key></Contents></ListBucketResult>`)
	}))
	defer srv.Close()
	s := open(t, parse(t, srv.URL+"/bucket/a+b"), s3.Options{})
	var last error
	for _, err := range s.List(t.Context(), "", "") {
		last = err
	}
	if !errors.Is(last, s3.ErrServer) {
		t.Errorf("%v", last)
	}
}

// An alert in the middle, as after a byte that was changed on its way, is no judgement of certificates.
func TestPut_AlertAfterItWasSent_Unclear(t *testing.T) {
	s := fake(t, s3.Options{}, nil)
	for _, err := range []error{
		&net.OpError{Op: "remote error", Err: tls.AlertError(20)},
		tls.RecordHeaderError{Msg: "received record with version 1 when expecting version 303"},
	} {
		if got := s3.Fail(s, true, err); !backends.IsUnclear(got) {
			t.Errorf("%v is %v", got, backends.KindOf(got))
		}
	}
	if got := s3.Fail(s, true, &net.OpError{Op: "remote error", Err: tls.AlertError(116)}); backends.KindOf(got) != backends.Permanent {
		t.Errorf("%v is %v", got, backends.KindOf(got))
	}
}
