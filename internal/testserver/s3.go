package testserver

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// S3 is a running object store. It is safe for concurrent use.
type S3 struct {
	Name      string // "versitygw" or "minio"
	Endpoint  string // http://127.0.0.1:port
	AccessKey string // of the administrator
	SecretKey string
	Region    string

	program string
	process *process
}

const (
	versitygwVar = "KURA_TEST_VERSITYGW"
	minioVar     = "KURA_TEST_MINIO"
	region       = "us-east-1"
)

var (
	versitygwServer = &shared[*S3]{start: startVersitygw}
	minioServer     = &shared[*S3]{start: startMinIO}
)

// Versitygw returns a running Versity S3 Gateway on a folder. Its buckets can have versions and locks.
func Versitygw(t testing.TB) *S3 {
	t.Helper()
	requireProgram(t, versitygwVar, "versitygw")
	return versitygwServer.use(t)
}

// HasVersitygw reports whether Versitygw would not skip.
func HasVersitygw() bool {
	_, err := program(versitygwVar, "versitygw")
	return err == nil || os.Getenv(versitygwVar) != ""
}

// MinIO returns a running MinIO, or skips the test unless the environment asks for it.
func MinIO(t testing.TB) *S3 {
	t.Helper()
	if os.Getenv(minioVar) == "" {
		t.Skipf("MinIO runs only with %s=1", minioVar)
	}
	requireProgram(t, minioVar, "minio")
	return minioServer.use(t)
}

// requireProgram skips the test where a server has not been built.
func requireProgram(t testing.TB, envVar, name string) {
	t.Helper()
	if _, err := program(envVar, name); err != nil {
		if os.Getenv(envVar) != "" {
			t.Fatalf("testserver: %v", err)
		}
		t.Skipf("%v; `make servers` builds it", err)
	}
}

// program finds a server: the path that the environment names, or the newest in the cache folder.
func program(envVar, name string) (string, error) {
	if path := os.Getenv(envVar); path != "" && path != "1" {
		_, err := os.Stat(path)
		return path, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	pattern := filepath.Join(cache, "kura-tools", name+"-v*")
	found, err := filepath.Glob(pattern)
	if err != nil {
		return "", err
	}
	var newest string
	var built time.Time
	for _, path := range found {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.ModTime().After(built) {
			newest, built = path, info.ModTime()
		}
	}
	if newest == "" {
		return "", fmt.Errorf("there is no %s", pattern)
	}
	return newest, nil
}

// startS3 starts a server in a folder of its own. command returns its arguments, its environment and the
// address that tells that it is ready.
func startS3(envVar, name string, command func(s *S3, addr string) (args, env []string, ready string, err error)) (*S3, func(), error) {
	path, err := program(envVar, name)
	if err != nil {
		return nil, nil, err
	}
	s := &S3{Name: name, AccessKey: "kura" + random(4), SecretKey: random(16), Region: region, program: path}
	for try := 1; ; try++ {
		err := s.launch(command)
		if err == nil {
			return s, s.stop, nil
		}
		if try == startTries {
			return nil, nil, fmt.Errorf("%s: %w", path, err)
		}
	}
}

func (s *S3) launch(command func(s *S3, addr string) (args, env []string, ready string, err error)) error {
	dir, err := os.MkdirTemp("", "kura-"+s.Name+"-")
	if err != nil {
		return err
	}
	s.process = &process{dir: dir}
	err = func() error {
		port, err := freePort()
		if err != nil {
			return err
		}
		addr := "127.0.0.1:" + strconv.Itoa(port)
		s.Endpoint = "http://" + addr
		args, env, ready, err := command(s, addr)
		if err != nil {
			return err
		}
		p, err := start(dir, s.program, args, env)
		if err != nil {
			return err
		}
		s.process = p
		if err := p.await(func(ctx context.Context) error { return httpOK(ctx, s.Endpoint+ready) }); err != nil {
			p.stop()
			return err
		}
		// One that answers may still be busy with itself.
		if err := p.await(s.listBuckets); err != nil {
			p.stop()
			return err
		}
		return nil
	}()
	if err != nil {
		os.RemoveAll(dir)
	}
	return err
}

func (s *S3) listBuckets(ctx context.Context) error {
	c, err := s.Client()
	if err != nil {
		return err
	}
	_, err = c.ListBuckets(ctx)
	return err
}

// Client is another way to the server than the one under test, with all rights.
func (s *S3) Client() (*minio.Client, error) {
	return minio.New(strings.TrimPrefix(s.Endpoint, "http://"), &minio.Options{
		Creds:  credentials.NewStaticV4(s.AccessKey, s.SecretKey, ""),
		Region: s.Region, MaxRetries: 1,
	})
}

// stop ends the server and removes what it has stored.
func (s *S3) stop() {
	s.process.stop()
	os.RemoveAll(s.process.dir)
}

// path is a place in the server's folder.
func (s *S3) path(name string) string { return filepath.Join(s.process.dir, name) }

func (s *S3) mkdirs(names ...string) error {
	for _, name := range names {
		if err := os.Mkdir(s.path(name), 0o700); err != nil {
			return err
		}
	}
	return nil
}

func startVersitygw() (*S3, func(), error) {
	return startS3(versitygwVar, "versitygw", func(s *S3, addr string) (args, env []string, ready string, err error) {
		args = []string{
			"--port", addr, "--iam-dir", s.path("iam"), "--iam-cache-disable", "--keep-alive", "--quiet", "--health", "/health",
			"posix", "--versioning-dir", s.path("versions"), s.path("data"),
		}
		env = []string{"ROOT_ACCESS_KEY_ID=" + s.AccessKey, "ROOT_SECRET_ACCESS_KEY=" + s.SecretKey}
		return args, env, "/health", s.mkdirs("iam", "versions", "data")
	})
}

func startMinIO() (*S3, func(), error) {
	return startS3(minioVar, "minio", func(s *S3, addr string) (args, env []string, ready string, err error) {
		args = []string{"server", "--quiet", "--address", addr, "--certs-dir", "certs", "data"}
		env = []string{
			"MINIO_ROOT_USER=" + s.AccessKey, "MINIO_ROOT_PASSWORD=" + s.SecretKey,
			"MINIO_BROWSER=off", "MINIO_UPDATE=off", "MINIO_CALLHOME_ENABLE=off",
		}
		return args, env, "/minio/health/ready", s.mkdirs("certs", "data")
	})
}

// Env is the environment with which a client finds its credentials, and no others than these.
func (s *S3) Env() []string {
	return Keys{AccessKey: s.AccessKey, SecretKey: s.SecretKey}.Env()
}

// Setenv sets Env until the test ends.
func (s *S3) Setenv(t testing.TB) {
	t.Helper()
	Keys{AccessKey: s.AccessKey, SecretKey: s.SecretKey}.Setenv(t)
}

// Bucket returns a name that no bucket of the server has.
func (s *S3) Bucket(t testing.TB) string {
	t.Helper()
	return "kura-" + random(8)
}

// Keys are credentials.
type Keys struct{ AccessKey, SecretKey, Token string }

// Env is the environment with which a client has these credentials and no others.
func (k Keys) Env() []string {
	return []string{
		"AWS_ACCESS_KEY_ID=" + k.AccessKey, "AWS_SECRET_ACCESS_KEY=" + k.SecretKey, "AWS_SESSION_TOKEN=" + k.Token,
		"AWS_PROFILE=", "AWS_REGION=", "AWS_DEFAULT_REGION=", "AWS_CA_BUNDLE=",
		"AWS_SHARED_CREDENTIALS_FILE=" + os.DevNull, "AWS_CONFIG_FILE=" + os.DevNull,
		"AWS_EC2_METADATA_DISABLED=true",
	}
}

// Setenv sets Env until the test ends.
func (k Keys) Setenv(t testing.TB) {
	t.Helper()
	for _, kv := range k.Env() {
		name, value, _ := strings.Cut(kv, "=")
		t.Setenv(name, value)
	}
}

func random(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
