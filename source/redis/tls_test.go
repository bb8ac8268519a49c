package redis

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kura-backup/kura/internal/testserver"
)

// certificate writes a certificate of this machine and its key.
func certificate(t *testing.T) (cert, key string) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	of, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	write(t, cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	write(t, key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: of}))
	return cert, key
}

func TestBackup_TLS_TrustedServersOnly(t *testing.T) {
	cert, key := certificate(t)
	port := testserver.FreePort(t)
	r := testserver.NewRedis(t, "--tls-port", strconv.Itoa(port), "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert,
		"--tls-auth-clients", "no")
	connect(t, r).fill(0, 100)
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	for _, via := range []Via{BGSave, Replica} {
		mustBackup(t, Options{Server: &Server{Addr: addr, TLS: true, CA: cert}, Via: via})
	}
	if _, err := tryBackup(t, Options{Server: &Server{Addr: addr, TLS: true}}); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("%v", err)
	}
	other, _ := certificate(t)
	if _, err := tryBackup(t, Options{Server: &Server{Addr: addr, TLS: true, CA: other}}); err == nil {
		t.Error("a server that nobody vouches for was trusted")
	}
	if _, err := tryBackup(t, Options{Server: &Server{Addr: addr}}); err == nil {
		t.Error("a server that wants TLS was talked to without")
	}
}
