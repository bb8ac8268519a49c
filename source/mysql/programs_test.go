package mysql

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kura-backup/kura/internal/testserver"
	"github.com/kura-backup/kura/source/sourcetest"
)

// run runs one of the vendor's programs and returns what it prints.
func run(t *testing.T, c Config, name string, args ...string) (string, error) {
	t.Helper()
	program, err := findTool(t.Context(), true, name)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	_, err = program.pipe(t.Context(), &c, args, func(r io.Reader) error {
		_, err := io.Copy(&out, r)
		return err
	})
	return out.String(), err
}

// What the environment says to the vendor's programs, and their own files in the home directory, do not lead them to another server: the
// client goes to the host that $MYSQL_HOST names even when it is told a socket.
func TestPrograms_EnvironmentNamesAnotherServer_Ignored(t *testing.T) {
	s := testserver.SharedMariaDB(t)
	schema(t, s)
	server := open(t, configOf(s))
	for _, v := range []string{"MYSQL_HOST=127.0.0.9", "MYSQL_TCP_PORT=1", "MYSQL_UNIX_PORT=/nowhere", "MARIADB_UNIX_PORT=/nowhere", "MYSQL_PWD=wrong", "MYSQL_GROUP_SUFFIX=x"} {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
	out := sourcetest.NewWriter()
	backUp(t, &Logical{Config: configOf(s), Databases: []string{"other-db"}, NoUsers: true}, out)
	if err := server.exec(t.Context(), "DROP DATABASE `other-db`"); err != nil {
		t.Fatal(err)
	}
	load(t, out, configOf(s), Selection{}) // and counts the rows
	for _, v := range environment() {
		if strings.HasPrefix(v, "MYSQL_") && v != "MYSQL_TEST_LOGIN_FILE=/dev/null/none" || strings.HasPrefix(v, "MARIADB_") && !strings.HasPrefix(v, "MARIADB_PLUGIN_DIR=") {
			t.Errorf("programs are told %s", v)
		}
	}
}

// A client that was not installed where it was built for only knows from there where its plugins are.
func TestEnvironment_FolderOfPlugins_IsPassedOn(t *testing.T) {
	t.Setenv("MARIADB_PLUGIN_DIR", "/opt/plugin")
	t.Setenv("MARIADB_HOST", "elsewhere")
	if env := environment(); !slices.Contains(env, "MARIADB_PLUGIN_DIR=/opt/plugin") || slices.Contains(env, "MARIADB_HOST=elsewhere") {
		t.Errorf("%q", env)
	}
}

// However the client comes to another server than was looked at: nothing is executed there.
func TestClient_AnotherServer_NothingRuns(t *testing.T) {
	s, other := testserver.SharedMariaDB(t), testserver.NewMariaDB(t)
	server := open(t, configOf(s))
	server.Config = configOf(other)
	other.SQL(t, "CREATE DATABASE shop")
	err := server.Client(t.Context(), func(w io.Writer) error {
		_, err := io.WriteString(w, "DROP DATABASE shop;\n")
		return err
	})
	if !errors.Is(err, ErrOtherServer) || !strings.Contains(err.Error(), other.Socket) {
		t.Errorf("%v", err)
	}
	if got := other.SQL(t, "SHOW DATABASES LIKE 'shop'"); got != "shop" {
		t.Errorf("it was executed: %q", got)
	}
}

// authority signs certificates of servers.
type authority struct {
	dir  string
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	dir, err := os.MkdirTemp("", "kura-tls-") // which the server's user can read
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	a := &authority{dir: dir}
	a.cert = &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a.key = a.sign(t, "ca", a.cert)
	return a
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

// sign writes NAME.pem and NAME-key.pem.
func (a *authority) sign(t *testing.T, name string, c *x509.Certificate) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	c.Subject.CommonName = name
	signer := a.key
	if signer == nil {
		signer = key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{name + ".pem": {Type: "CERTIFICATE", Bytes: der}, name + "-key.pem": {Type: "PRIVATE KEY", Bytes: raw}} {
		if err := os.WriteFile(a.path(file), pem.EncodeToMemory(block), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return key
}

// overTCP starts a server that listens at a port of loopback.
func overTCP(t *testing.T, options ...string) Config {
	t.Helper()
	port := testserver.FreePort(t)
	s := testserver.NewMariaDB(t, append(options, "--skip-networking=0", "--bind-address=127.0.0.1", fmt.Sprintf("--port=%d", port))...)
	s.SQL(t, "CREATE DATABASE shop; CREATE TABLE shop.t (id INT); INSERT INTO shop.t VALUES (1)")
	return Config{Host: "127.0.0.1", Port: port, User: "root"}
}

const cipher = "--execute=SHOW STATUS LIKE 'Ssl_cipher'"

// With a CA, both the driver and the programs talk to nobody who has not proven who he is.
func TestTLS_CA_ServerHasToProveItsName(t *testing.T) {
	a := newAuthority(t)
	a.sign(t, "right", &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	a.sign(t, "wrong", &x509.Certificate{DNSNames: []string{"elsewhere.example.com"}})
	server := func(name string) Config {
		return overTCP(t, "--ssl-cert="+a.path(name+".pem"), "--ssl-key="+a.path(name+"-key.pem"), "--ssl-ca="+a.path("ca.pem"))
	}
	right, wrong := server("right"), server("wrong")

	right.CA = a.path("ca.pem")
	out := sourcetest.NewWriter()
	backUp(t, &Logical{Config: right, NoUsers: true}, out)
	s := open(t, right)
	if err := s.Client(t.Context(), func(w io.Writer) error { return nil }); err != nil {
		t.Error(err)
	}
	if got, err := run(t, right, "mariadb", cipher); err != nil || !strings.Contains(got, "TLS_") {
		t.Errorf("%q, %v", got, err)
	}

	wrong.CA = right.CA
	if _, err := Open(t.Context(), wrong); err == nil {
		t.Error("the driver trusts a server of another name")
	}
	for name, args := range map[string][]string{"mariadb": {cipher}, "mariadb-dump": {"shop"}, "mariadb-binlog": {"--read-from-remote-server", "binlog.000001"}} {
		if got, err := run(t, wrong, name, args...); err == nil {
			t.Errorf("%s trusts a server of another name: %.100q", name, got)
		} else {
			t.Logf("%s: %v", name, err)
		}
	}
	wrong.CA = "" // then nothing has to be proven, but TLS is used
	for name, args := range map[string][]string{"mariadb": {cipher}, "mariadb-dump": {"shop"}, "mariadb-binlog": {"--read-from-remote-server", "binlog.000001"}} {
		if got, err := run(t, wrong, name, args...); err != nil || name == "mariadb" && !strings.Contains(got, "TLS_") {
			t.Errorf("%s without a CA: %.100q, %v", name, got, err)
		}
	}
}

func TestTLS_ServerHasNone_OnlyWithoutCA(t *testing.T) {
	a := newAuthority(t)
	c := overTCP(t, "--skip-ssl")
	if got, err := run(t, c, "mariadb", cipher); err != nil || strings.Contains(got, "TLS_") {
		t.Errorf("%q, %v", got, err)
	}
	c.CA = a.path("ca.pem")
	if got, err := run(t, c, "mariadb", cipher); err == nil {
		t.Errorf("the client sends its password to somebody without TLS: %q", got)
	}
	if _, err := Open(t.Context(), c); err == nil {
		t.Error("so does the driver")
	}
}

// Servers that end idle connections after minutes do not end those that wait for a program, or programs that wait for the repository.
func TestConnections_Idle_OutlastTheServersTimeout(t *testing.T) {
	s := testserver.SharedMariaDB(t)
	schema(t, s)
	s.SQL(t, "CREATE TABLE shop.old (id INT PRIMARY KEY) ENGINE=MyISAM; CREATE DATABASE aside; SET GLOBAL wait_timeout = 3")
	t.Cleanup(func() { s.SQL(t, "DROP DATABASE aside; SET GLOBAL wait_timeout = DEFAULT") })
	out := &slowWriter{Writer: sourcetest.NewWriter(), reached: make(chan struct{}), goOn: make(chan struct{})}
	done := make(chan error, 1)
	go func() {
		done <- (&Logical{Config: configOf(s), Databases: []string{"shop"}, NoUsers: true, Tables: Lock, Limits: patient}).Write(t.Context(), out)
	}()
	<-out.reached
	server := open(t, configOf(s))
	err := server.Client(t.Context(), func(w io.Writer) error {
		if _, err := io.WriteString(w, "CREATE TABLE aside.before_it (id INT);\n"); err != nil {
			return err
		}
		time.Sleep(5 * time.Second)
		_, err := io.WriteString(w, "CREATE TABLE aside.after_it (id INT);\n")
		return err
	})
	if err != nil {
		t.Errorf("a restore: %v", err)
	}
	close(out.goOn)
	if err := <-done; err != nil {
		t.Errorf("a backup: %v", err)
	}
	if err := server.exec(t.Context(), "SELECT COUNT(*) FROM aside.after_it"); err != nil {
		t.Errorf("the connection that waited for it: %v", err)
	}
}

func TestRunning_ServerWorksThere_Refused(t *testing.T) {
	s := testserver.NewMariaDB(t)
	if err := Running(s.Data); !errors.Is(err, ErrRunning) {
		t.Errorf("%v", err)
	}
	if err := os.Remove(filepath.Join(s.Data, "ibdata1")); err != nil { // which it has open, and locked
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(s.Data, "aria_log_control")); err != nil {
		t.Fatal(err)
	}
	if err := Running(s.Data); !errors.Is(err, ErrRunning) {
		t.Errorf("without files that are locked: %v", err)
	}
	if err := Running(filepath.Dir(s.Data)); err != nil {
		t.Errorf("the folder above: %v", err)
	}
	s.Kill()
	if err := errors.Join(Running(s.Data), Running(filepath.Join(s.Data, "none"))); err != nil {
		t.Errorf("it has ended: %v", err)
	}
}
