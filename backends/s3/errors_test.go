package s3_test

import (
	"crypto/md5"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"html"
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
		{400, "ThrottlingException", none, transient, transient},
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
		{403, "RequestRateLimitExceeded", none, transient, transient}, // Wasabi
		{400, "ClientDisconnect", none, transient, unclear},           // Cloudflare R2
		{410, "ConnectionClosed", none, transient, unclear},           // Wasabi
		{401, "Unauthorized", backends.ErrDenied, permanent, permanent},
		{403, "InvalidAccessKeyId", backends.ErrDenied, permanent, permanent},
		{403, "SignatureDoesNotMatch", backends.ErrDenied, permanent, permanent},
		{400, "ExpiredToken", backends.ErrDenied, permanent, permanent},
		{400, "TokenRefreshRequired", backends.ErrDenied, permanent, permanent},
		{403, "RequestTimeTooSkewed", s3.ErrClock, permanent, permanent},
		{403, "InvalidObjectState", s3.ErrArchived, permanent, permanent},
		{403, "QuotaExceeded", none, permanent, permanent}, // Ceph: no permission helps
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
				if e, ok := errors.AsType[*backends.Error](err); !ok || kind != permanent && e.Answered != (c.code != "") {
					t.Errorf("%s: %v is said to be the answer of a store: %v", op, err, ok && e.Answered)
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

// The permission that is missing may be one for a lock, or for the key with which the bucket encrypts.
func TestPut_Denied_NamesWhatElseItNeeds(t *testing.T) {
	const kms = "User: arn:aws:iam::1:user/kura is not authorized to perform: kms:GenerateDataKey on resource: arn:aws:kms:eu-test-1:1:key/2"
	message := "Access Denied"
	s := fake(t, s3.Options{LockDays: 10}, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		refuses(w, http.StatusForbidden, "AccessDenied", message)
	})
	for name, c := range map[string]struct{ message, needs string }{
		"config":       {"Access Denied", "it needs s3:PutObject and s3:PutObjectRetention:"},
		"sessions/1-1": {"Access Denied", "it needs s3:PutObject:"},
		"data/aa":      {kms, "it needs kms:GenerateDataKey:"},
	} {
		message = c.message
		if err := s.Put(t.Context(), name, []byte("x")); !errors.Is(err, backends.ErrDenied) || !strings.Contains(err.Error(), c.needs) {
			t.Errorf("%s: %v, want %q in it", name, err, c.needs)
		}
	}
}

// What is malformed may be the region or the key.
func TestErrors_MalformedAuthorization_Table(t *testing.T) {
	for message, is := range map[string]error{
		"The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'eu-test-1'":                 s3.ErrRegion,
		"Authorization header malformed, unexpected scope: 20260101/us-east-1/s3/aws4_request":                          s3.ErrRegion,
		"The authorization header is malformed; a non-empty Access Key (AKID) must be provided in the credential.":      backends.ErrDenied,
		"The authorization header is malformed; the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REST\".": backends.ErrDenied,
	} {
		s := fake(t, s3.Options{}, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			refuses(w, http.StatusBadRequest, "AuthorizationHeaderMalformed", html.EscapeString(message))
		})
		for _, err := range s.List(t.Context(), "", "") {
			if !errors.Is(err, is) || backends.KindOf(err) != backends.Permanent {
				t.Errorf("%v, want %v", err, is)
			}
		}
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

// refuses answers as a server that does not know a header.
func refuses(w http.ResponseWriter, status int, code, message string) {
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `<?xml version="1.0"?><Error><Code>%s</Code><Message>%s</Message></Error>`, code, message)
}

// Which header it is decides what a user has to do: only one of them keeps several writers apart.
func TestPut_ServerRefusesAHeader_Table(t *testing.T) {
	for _, c := range []struct {
		status        int
		code, message string
		noCreateOnly  bool
	}{
		{501, "NotImplemented", "A header you provided implies functionality that is not implemented", true},
		{501, "NotImplemented", "Header 'If-None-Match' with value '*' not implemented", true},
		{400, "InvalidArgument", "Unsupported header 'if-none-match' received for this API call.", true},
		{501, "NotImplemented", "Header 'x-amz-storage-class' with value 'COLD' not implemented", false},
		{501, "NotImplemented", "Header 'x-amz-object-lock-mode' with value 'GOVERNANCE' not implemented", false},
		{400, "InvalidArgument", "Unsupported header 'x-amz-storage-class' received for this API call.", false},
	} {
		s := fake(t, s3.Options{}, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			refuses(w, c.status, c.code, c.message)
		})
		err := s.Put(t.Context(), "config", []byte("x"))
		if errors.Is(err, backends.ErrNoCreateOnly) != c.noCreateOnly || backends.KindOf(err) != backends.Permanent || !strings.Contains(err.Error(), c.message) {
			t.Errorf("%v of kind %v", err, backends.KindOf(err))
		}
	}
}

// Some servers turn away what has a header of checksums: they get the older one, which all know.
func TestChecksums_ServerDoesNotKnowThem_MD5(t *testing.T) {
	for name, c := range map[string]struct {
		status  int
		message string
	}{
		"Backblaze B2":     {400, "Unsupported header '%s' received for this API call."},
		"Cloudflare R2":    {501, "Header '%s' with value 'x' not implemented"},
		"MD5 and no other": {400, "Content-MD5 HTTP header is required for Put Object requests with Object Lock parameters (%.0s)"},
	} {
		t.Run(name, func(t *testing.T) {
			var requests []string
			objects := map[string][]byte{}
			o := s3.Options{LockDays: 1}
			s := fake(t, o, func(w http.ResponseWriter, r *http.Request) {
				requests = append(requests, r.Method)
				data, _ := io.ReadAll(r.Body)
				for _, h := range []string{"x-amz-checksum-crc32c", "x-amz-checksum-mode"} {
					if r.Header.Get(h) != "" {
						refuses(w, c.status, "InvalidRequest", fmt.Sprintf(c.message, h))
						return
					}
				}
				if r.Method == http.MethodGet {
					w.Header().Set("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT")
					_, _ = w.Write(objects[r.URL.Path])
					return
				}
				sum := md5.Sum(data)
				if r.Header.Get("Content-MD5") != base64.StdEncoding.EncodeToString(sum[:]) || r.Header.Get("If-None-Match") != "*" {
					w.WriteHeader(http.StatusBadRequest)
					return
				}
				objects[r.URL.Path] = data
			})
			put(t, s, "config", "log/0000000000000001")
			for range 2 {
				if got, err := s.Get(t.Context(), "config", 0, -1, nil); err != nil || string(got) != "config" {
					t.Fatalf("%q, %v", got, err)
				}
			}
			if got := strings.Join(requests, " "); got != "PUT PUT PUT GET GET" {
				t.Errorf("requests: %s", got)
			}
			reader := open(t, parse(t, s.Place()), s3.Options{})
			requests = nil
			for range 2 {
				if got, err := reader.Get(t.Context(), "config", 0, -1, nil); err != nil || string(got) != "config" {
					t.Fatalf("%q, %v", got, err)
				}
			}
			if got := strings.Join(requests, " "); got != "GET GET GET" {
				t.Errorf("requests of a reader: %s", got)
			}
		})
	}
}

// What a server says to one of several deletions has a code and no status.
func TestDeleteMany_OneFails_KindIsThatOfItsCode(t *testing.T) {
	for _, c := range []struct {
		code string
		key  string // which some servers leave out
		kind backends.Kind
	}{
		{"InternalError", "data/aa", backends.Unclear},
		{"ServiceUnavailable", "data/aa", backends.Unclear},
		{"ServiceUnavailable", "", backends.Unclear},
		{"SlowDown", "data/aa", backends.Transient},
		{"OperationAborted", "data/aa", backends.Transient},
		{"TooManyRequests", "data/aa", backends.Transient},
		{"AccessDenied", "data/aa", backends.Permanent},
	} {
		s := fake(t, s3.Options{}, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			if r.URL.Query().Has("versioning") {
				_, _ = io.WriteString(w, `<VersioningConfiguration></VersioningConfiguration>`)
				return
			}
			_, _ = fmt.Fprintf(w, `<DeleteResult><Deleted><Key>data/ab</Key></Deleted><Error><Key>%s</Key><Code>%s</Code><Message>it was said</Message></Error></DeleteResult>`, c.key, c.code)
		})
		got := map[string]error{}
		err := s.DeleteMany(t.Context(), []string{"data/aa", "data/ab"}, func(name string, err error) { got[name] = err })
		if err != nil || got["data/ab"] != nil || got["data/aa"] == nil || backends.KindOf(got["data/aa"]) != c.kind {
			t.Errorf("%s of %q: %v of kind %v, %v", c.code, c.key, got["data/aa"], backends.KindOf(got["data/aa"]), err)
		}
	}
}

// A proxy that wants https, say, is not a bucket in another region.
func TestErrors_ServerIsElsewhere_SaysWhere(t *testing.T) {
	for _, status := range []int{301, 302, 307, 308} {
		var requests atomic.Int32
		s := fake(t, s3.Options{}, func(w http.ResponseWriter, r *http.Request) {
			requests.Add(1)
			http.Redirect(w, r, "https://store.example.com"+r.URL.Path+"?token=secret", status)
		})
		check := func(op string, err error) {
			t.Helper()
			if !errors.Is(err, s3.ErrMoved) || errors.Is(err, s3.ErrRegion) || backends.KindOf(err) != backends.Permanent {
				t.Errorf("%d, %s: %v of kind %v", status, op, err, backends.KindOf(err))
			}
			if err != nil && (!strings.Contains(err.Error(), "https://store.example.com:") || strings.Contains(err.Error(), "secret")) {
				t.Errorf("%d, %s: %v", status, op, err)
			}
		}
		_, err := s.Get(t.Context(), "config", 0, -1, nil)
		check("get", err)
		check("put", s.Put(t.Context(), "config", []byte("x")))
		for _, err := range s.List(t.Context(), "", "") {
			check("list", err)
		}
		_, err = s3.Create(t.Context(), parse(t, s.Place()), s3.Options{})
		check("create", err)
		if n := requests.Load(); n != 4 {
			t.Errorf("%d: %d requests", status, n)
		}
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

// What a server says is shown in a line; a page is not one.
func TestErrors_PageOfAProxy_IsNotShown(t *testing.T) {
	for _, status := range []int{400, 413, 500, 502, 503, 504} {
		s := fake(t, s3.Options{}, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "\n<html><head><title>Sorry</title></head><body>"+strings.Repeat("<p>we are busy</p>\n", 100)+"</body></html>")
		})
		err := s.Put(t.Context(), "config", []byte("x"))
		if err == nil || len(err.Error()) > 200 || strings.Contains(err.Error(), "<") || !strings.Contains(err.Error(), strconv.Itoa(status)) {
			t.Errorf("%v", err)
		}
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
