package s3_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/s3"
	"github.com/kura-backup/kura/internal/testserver"
)

func file(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const (
	processOutput   = `{"Version":1,"AccessKeyId":"process-key","SecretAccessKey":"secret"}`
	credentialsFile = `
[default]
aws_access_key_id = default-key
aws_secret_access_key = secret
[other]
aws_access_key_id = other-key
aws_secret_access_key = secret
aws_session_token = other-token
[half]
aws_access_key_id = half-key
[process]
credential_process = cat %s
`
	configFile = `
[default]
region = eu-default-1
[profile other]
region = eu-other-1
`
)

func TestCredentials_Found_Table(t *testing.T) {
	machine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"AccessKeyId":"container-key","SecretAccessKey":"secret","Token":"container-token","Expiration":"2100-01-01T00:00:00Z"}`)
	}))
	defer machine.Close()
	credentials, config := file(t, fmt.Sprintf(credentialsFile, file(t, processOutput))), file(t, configFile)
	for name, c := range map[string]struct {
		env     []string
		options s3.Options
		want    string // access key and token; empty: ErrNoCredentials
	}{
		"environment":               {[]string{"AWS_ACCESS_KEY_ID=env-key", "AWS_SECRET_ACCESS_KEY=secret"}, s3.Options{}, "env-key "},
		"environment with a token":  {[]string{"AWS_ACCESS_KEY_ID=env-key", "AWS_SECRET_ACCESS_KEY=secret", "AWS_SESSION_TOKEN=env-token"}, s3.Options{}, "env-key env-token"},
		"environment without a key": {[]string{"AWS_ACCESS_KEY_ID=env-key", "AWS_SHARED_CREDENTIALS_FILE=" + credentials}, s3.Options{}, ""},
		"environment before file":   {[]string{"AWS_ACCESS_KEY_ID=env-key", "AWS_SECRET_ACCESS_KEY=secret", "AWS_SHARED_CREDENTIALS_FILE=" + credentials}, s3.Options{}, "env-key "},
		"option before environment": {[]string{"AWS_ACCESS_KEY_ID=env-key", "AWS_SECRET_ACCESS_KEY=secret", "AWS_SHARED_CREDENTIALS_FILE=" + credentials}, s3.Options{Profile: "other"}, "other-key other-token"},
		"default profile":           {[]string{"AWS_SHARED_CREDENTIALS_FILE=" + credentials}, s3.Options{}, "default-key "},
		"AWS_PROFILE":               {[]string{"AWS_SHARED_CREDENTIALS_FILE=" + credentials, "AWS_PROFILE=other"}, s3.Options{}, "other-key other-token"},
		"a process":                 {[]string{"AWS_SHARED_CREDENTIALS_FILE=" + credentials}, s3.Options{Profile: "process"}, "process-key "},
		"no such profile":           {[]string{"AWS_SHARED_CREDENTIALS_FILE=" + credentials}, s3.Options{Profile: "none"}, ""},
		"half a profile":            {[]string{"AWS_SHARED_CREDENTIALS_FILE=" + credentials}, s3.Options{Profile: "half"}, ""},
		"a container":               {[]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI=" + machine.URL}, s3.Options{}, "container-key container-token"},
		"nothing":                   {nil, s3.Options{}, ""},
		"nothing, and none wanted":  {nil, s3.Options{Anonymous: true}, " "},
	} {
		t.Run(name, func(t *testing.T) {
			testserver.Keys{}.Setenv(t)
			t.Setenv("AWS_CONFIG_FILE", config)
			for _, kv := range c.env {
				k, v, _ := strings.Cut(kv, "=")
				t.Setenv(k, v)
			}
			var auth, token atomic.Value
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				auth.Store(r.Header.Get("Authorization"))
				token.Store(r.Header.Get("X-Amz-Security-Token"))
				w.WriteHeader(http.StatusNotFound)
			}))
			defer srv.Close()
			s, err := s3.Open(t.Context(), parse(t, srv.URL+"/bucket"), c.options)
			if c.want == "" {
				if !errors.Is(err, s3.ErrNoCredentials) || !strings.Contains(err.Error(), "AWS_ACCESS_KEY_ID") {
					t.Errorf("%v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if _, err := s.Get(t.Context(), "config", 0, -1, nil); !errors.Is(err, backends.ErrNotExist) {
				t.Fatal(err)
			}
			wantKey, wantToken, _ := strings.Cut(c.want, " ")
			_, key, _ := strings.Cut(auth.Load().(string), "Credential=")
			key, _, _ = strings.Cut(key, "/")
			if key != wantKey || token.Load() != wantToken {
				t.Errorf("the request has the key %q and the token %q", key, token.Load())
			}
		})
	}
}

// What a process gives without an end lasts: it may ask somebody for a key or a finger each time.
func TestCredentials_ProcessWithoutAnEnd_RunsOnce(t *testing.T) {
	testserver.Keys{}.Setenv(t)
	runs := filepath.Join(t.TempDir(), "runs")
	script := file(t, fmt.Sprintf("echo run >>%s\necho '%s'\n", runs, processOutput))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file(t, fmt.Sprintf("[default]\ncredential_process = sh %s\n", script)))
	var expired atomic.Bool
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if expired.Swap(false) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, xmlError("ExpiredToken"))
			return
		}
		w.WriteHeader(http.StatusNotFound)
	}))
	defer srv.Close()
	s := open(t, parse(t, srv.URL+"/bucket"), s3.Options{})
	get := func() error {
		_, err := s.Get(t.Context(), "config", 0, -1, nil)
		return err
	}
	check := func(want int) {
		t.Helper()
		if out, err := os.ReadFile(runs); err != nil || strings.Count(string(out), "run") != want {
			t.Errorf("%d runs, want %d: %v", strings.Count(string(out), "run"), want, err)
		}
	}
	for range 3 {
		if err := get(); !errors.Is(err, backends.ErrNotExist) {
			t.Fatal(err)
		}
	}
	check(1)
	expired.Store(true)
	if err := get(); !backends.IsTransient(err) {
		t.Errorf("expired: %v", err)
	}
	if err := get(); !errors.Is(err, backends.ErrNotExist) {
		t.Error(err)
	}
	check(2)
}

// Who gives them may hang. That ends by itself, also for requests that wait for another one's renewal.
func TestCredentials_GiverHangs_RequestsEnd(t *testing.T) {
	testserver.Keys{}.Setenv(t)
	defer s3.SetGiverWait(100 * time.Millisecond)()
	stop := make(chan struct{})
	var hangs atomic.Bool
	giver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if hangs.Load() {
			<-stop
		}
		_, _ = io.WriteString(w, `{"AccessKeyId":"key","SecretAccessKey":"secret","Token":"token","Expiration":"2001-01-01T00:00:00Z"}`)
	}))
	defer giver.Close()
	defer close(stop)
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", giver.URL)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNotFound) }))
	defer srv.Close()
	s := open(t, parse(t, srv.URL+"/bucket"), s3.Options{})
	hangs.Store(true)
	done := make(chan error, 3)
	for range cap(done) {
		go func() {
			_, err := s.Get(t.Context(), "config", 0, -1, nil)
			done <- err
		}()
	}
	for range cap(done) {
		select {
		case err := <-done:
			if !backends.IsTransient(err) || !strings.Contains(err.Error(), "could not be renewed") {
				t.Errorf("%v of kind %v", err, backends.KindOf(err))
			}
		case <-time.After(time.Minute):
			t.Fatal("a request waits for credentials without end")
		}
	}
}

// giveTokens has credentials given anew whenever they are asked for: first with token-1, then with token-2.
func giveTokens(t *testing.T) {
	t.Helper()
	testserver.Keys{}.Setenv(t)
	var given atomic.Int32
	giver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, `{"AccessKeyId":"key","SecretAccessKey":"secret","Token":"token-%d","Expiration":"2100-01-01T00:00:00Z"}`, given.Add(1))
	}))
	t.Cleanup(giver.Close)
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", giver.URL)
}

// The answer to a HEAD has no text: that it was the token's end is not said.
func TestCredentials_HeadSays400_TheyAreAskedForAgain(t *testing.T) {
	giveTokens(t)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Amz-Security-Token") == "token-1" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.Header().Set("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT")
		w.Header().Set("X-Amz-Object-Lock-Mode", "GOVERNANCE")
		w.Header().Set("X-Amz-Object-Lock-Retain-Until-Date", "2100-01-01T00:00:00Z")
	}))
	defer srv.Close()
	s := open(t, parse(t, srv.URL+"/bucket"), s3.Options{LockDays: 10})
	if _, err := s.ExtendLock(t.Context(), "config"); !backends.IsTransient(err) {
		t.Errorf("%v of kind %v", err, backends.KindOf(err))
	}
	if extended, err := s.ExtendLock(t.Context(), "config"); err != nil || extended {
		t.Errorf("%v, %v", extended, err)
	}
}

func TestCredentials_WrongOnes_SaysSo(t *testing.T) {
	onEach(t, func(t *testing.T, srv *testserver.S3) {
		loc := place(t, srv)
		create(t, loc, s3.Options{})
		for name, keys := range map[string]testserver.Keys{
			"no such key":  {AccessKey: "nobody", SecretKey: srv.SecretKey},
			"wrong secret": {AccessKey: srv.AccessKey, SecretKey: "wrong-secret"},
		} {
			keys.Setenv(t)
			_, err := open(t, loc, s3.Options{}).Get(t.Context(), "config", 0, -1, nil)
			if !errors.Is(err, backends.ErrDenied) || !strings.Contains(err.Error(), "secret") || backends.KindOf(err) != backends.Permanent {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestCredentials_ThatMayLittle_Denied(t *testing.T) {
	onEach(t, func(t *testing.T, srv *testserver.S3) {
		loc := place(t, srv)
		put(t, create(t, loc, s3.Options{}), "config")
		srv.Restricted(t, loc.Bucket, policy(loc.Bucket, "s3:GetObject", "s3:ListBucket")).Setenv(t)
		// It need not be told whether the bucket is there.
		s := create(t, loc, s3.Options{})
		if _, err := s.Get(t.Context(), "config", 0, -1, nil); err != nil {
			t.Error(err)
		}
		if err := s.Put(t.Context(), "data/aa", []byte("x")); !errors.Is(err, backends.ErrDenied) || !strings.Contains(err.Error(), "s3:PutObject") {
			t.Errorf("Put: %v", err)
		}
		if err := s.Delete(t.Context(), "config"); !errors.Is(err, backends.ErrDenied) || !strings.Contains(err.Error(), "s3:DeleteObject") {
			t.Errorf("Delete: %v", err)
		}
	})
}

func TestFindRegion_Table(t *testing.T) {
	credentials, config := file(t, fmt.Sprintf(credentialsFile, file(t, processOutput))), file(t, configFile)
	for _, c := range []struct {
		location, env string
		options       s3.Options
		want          string
	}{
		{"https://s3.amazonaws.com/bucket", "", s3.Options{}, "eu-default-1"},
		{"https://s3.amazonaws.com/bucket", "", s3.Options{Profile: "other"}, "eu-other-1"},
		{"https://s3.amazonaws.com/bucket", "", s3.Options{Profile: "none"}, ""}, // the server is asked
		{"https://s3.amazonaws.com/bucket", "AWS_REGION", s3.Options{}, "eu-env-1"},
		{"https://s3.amazonaws.com/bucket", "AWS_DEFAULT_REGION", s3.Options{}, "eu-env-1"},
		{"https://s3.amazonaws.com/bucket", "AWS_REGION", s3.Options{Region: "eu-option-1"}, "eu-option-1"},
		{"https://s3.eu-host-1.amazonaws.com/bucket", "AWS_REGION", s3.Options{}, "eu-host-1"},
		{"https://s3.dualstack.eu-host-1.amazonaws.com/bucket", "", s3.Options{}, "eu-host-1"},
		{"https://s3.eu-host-1.amazonaws.com/bucket", "", s3.Options{Region: "eu-option-1"}, "eu-option-1"},
		{"http://127.0.0.1:9000/bucket", "", s3.Options{Profile: "none"}, "us-east-1"},
		{"https://minio.example.com/bucket", "", s3.Options{Profile: "none"}, "us-east-1"},
		{"https://s3.fr-par.scw.cloud/bucket", "", s3.Options{Profile: "none"}, "fr-par"},
		{"https://fsn1.your-objectstorage.com/bucket", "", s3.Options{Profile: "none"}, "fsn1"},
		{"https://account.r2.cloudflarestorage.com/bucket", "", s3.Options{Profile: "none"}, "us-east-1"},
	} {
		testserver.Keys{AccessKey: "key", SecretKey: "secret"}.Setenv(t)
		t.Setenv("AWS_CONFIG_FILE", config)
		t.Setenv("AWS_SHARED_CREDENTIALS_FILE", credentials)
		if c.env != "" {
			t.Setenv(c.env, "eu-env-1")
		}
		if got := s3.FindRegion(parse(t, c.location), c.options); got != c.want {
			t.Errorf("%s with %s, %+v: %q, want %q", c.location, c.env, c.options, got, c.want)
		}
	}
}
