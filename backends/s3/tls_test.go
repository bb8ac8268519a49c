package s3_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/s3"
	"github.com/kura-backup/kura/internal/testserver"
)

// identity is a new certificate, signed by itself, with its key: files in PEM.
func identity(t *testing.T) (cert *x509.Certificate, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kura test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return cert, pemFile(t, "CERTIFICATE", der), pemFile(t, "PRIVATE KEY", raw)
}

func pemFile(t *testing.T, kind string, der []byte) string {
	t.Helper()
	return file(t, string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})))
}

// secured puts TLS in front of a server. Clients have to show a certificate if one is given.
func secured(t *testing.T, srv *testserver.S3, client *x509.Certificate) (location, caFile string) {
	t.Helper()
	target, err := url.Parse(srv.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewUnstartedServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // is part of what was signed
	}})
	front.TLS = &tls.Config{}
	if client != nil {
		front.TLS.ClientAuth = tls.RequireAndVerifyClientCert
		front.TLS.ClientCAs = x509.NewCertPool()
		front.TLS.ClientCAs.AddCert(client)
	}
	front.Config.ErrorLog = quiet
	front.StartTLS()
	t.Cleanup(front.Close)
	return front.URL + "/" + srv.Bucket(t), pemFile(t, "CERTIFICATE", front.Certificate().Raw)
}

func TestTLS_CertificateOfAnUnknownAuthority(t *testing.T) {
	srv := testserver.Versitygw(t)
	srv.Setenv(t)
	location, ca := secured(t, srv, nil)
	loc := parse(t, location)

	_, err := s3.Create(t.Context(), loc, s3.Options{})
	if !errors.Is(err, s3.ErrTLS) || !strings.Contains(err.Error(), "--cacert") || backends.KindOf(err) != backends.Permanent {
		t.Errorf("not trusted: %v", err)
	}
	put(t, create(t, loc, s3.Options{CACert: ca}), "config")
	put(t, create(t, loc, s3.Options{InsecureTLS: true}), "data/aa")
	t.Setenv("AWS_CA_BUNDLE", ca)
	put(t, create(t, loc, s3.Options{}), "data/ab")
}

func TestTLS_ServerWantsACertificate(t *testing.T) {
	srv := testserver.Versitygw(t)
	srv.Setenv(t)
	cert, certFile, keyFile := identity(t)
	location, ca := secured(t, srv, cert)
	loc := parse(t, location)

	_, err := s3.Create(t.Context(), loc, s3.Options{CACert: ca})
	if !errors.Is(err, s3.ErrTLS) || !strings.Contains(err.Error(), "--tls-client-cert") || backends.KindOf(err) != backends.Permanent {
		t.Errorf("without one: %v", err)
	}
	put(t, create(t, loc, s3.Options{CACert: ca, ClientCert: certFile, ClientKey: keyFile}), "config")
}

func TestTLS_ServerSpeaksNone_SaysWhatToWrite(t *testing.T) {
	srv := testserver.Versitygw(t)
	srv.Setenv(t)
	loc := place(t, srv)
	loc.Secure = true
	_, err := open(t, loc, s3.Options{}).Get(t.Context(), "config", 0, -1, nil)
	if !errors.Is(err, s3.ErrTLS) || !strings.Contains(err.Error(), "s3:http://") {
		t.Errorf("%v", err)
	}
}

// What goes over TLS is not hashed once more for the signature.
func TestTLS_PayloadIsNotSigned(t *testing.T) {
	testserver.Keys{AccessKey: "key", SecretKey: "secret"}.Setenv(t)
	var hash, sum, transfer string
	front := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hash, sum = r.Header.Get("X-Amz-Content-Sha256"), r.Header.Get("X-Amz-Checksum-Crc32c")
		transfer = strings.Join(r.TransferEncoding, ",") + r.Header.Get("Content-Encoding") + r.Header.Get("X-Amz-Trailer")
	}))
	defer front.Close()
	ca := pemFile(t, "CERTIFICATE", front.Certificate().Raw)
	put(t, open(t, parse(t, front.URL+"/bucket"), s3.Options{CACert: ca}), "config")
	if hash != "UNSIGNED-PAYLOAD" || sum != s3.Checksum([]byte("config")) || transfer != "" {
		t.Errorf("payload hash %q, checksum %q, transfer %q", hash, sum, transfer)
	}
}
