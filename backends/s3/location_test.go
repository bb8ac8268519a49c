package s3_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/kura-backup/kura/backends/s3"
)

func TestParseLocation_Table(t *testing.T) {
	for _, c := range []struct {
		in, want string // want: the full form, or what the error says
		ok       bool
	}{
		{"https://s3.example.com/bucket", "https://s3.example.com/bucket", true},
		{"https://s3.example.com/bucket/", "https://s3.example.com/bucket", true},
		{"https://s3.example.com/bucket/a/b", "https://s3.example.com/bucket/a/b", true},
		{"https://s3.example.com/bucket//a//b//", "https://s3.example.com/bucket/a/b", true},
		{"https://s3.example.com:443/bucket", "https://s3.example.com/bucket", true},
		{"https://s3.example.com:80/bucket", "https://s3.example.com:80/bucket", true},
		{"http://S3.example.COM:80/bucket", "http://s3.example.com/bucket", true},
		{"http://127.0.0.1:9000/bucket/kura", "http://127.0.0.1:9000/bucket/kura", true},
		{"http://[::1]:9000/bucket", "http://[::1]:9000/bucket", true},
		{"http://[::1]/bucket", "http://[::1]/bucket", true},
		{"http://localhost/bucket", "http://localhost/bucket", true},
		{"s3.amazonaws.com/bucket", "https://s3.amazonaws.com/bucket", true},
		{"s3.amazonaws.com/bucket/prefix", "https://s3.amazonaws.com/bucket/prefix", true},
		{"//host:9000/bucket/prefix", "https://host:9000/bucket/prefix", true},
		{"host:9000/my.bucket-1/Prefix with Ünïcode", "https://host:9000/my.bucket-1/Prefix with Ünïcode", true},

		{"", "not a host", false},
		{"https://", "not a host", false},
		{"https:///bucket", "not a host", false},
		{"https://host", "no bucket", false},
		{"https://host/", "no bucket", false},
		{"host", "no bucket", false},
		{"ftp://host/bucket", "neither http nor https", false},
		{"https://key:secret@host/bucket", "AWS_ACCESS_KEY_ID", false},
		{"https://host:port/bucket", "not a port", false},
		{"https://key:secret/x@host/bucket", "not a port", false},
		{"https://ho st/bucket", "not a host", false},
		{"https://host?x/bucket", "not a host", false},
		{"https://host/b", "bucket", false},
		{"https://host/Bucket name", "bucket", false},
		{"https://host/bucket/a/../b", "part ..", false},
		{"https://host/bucket/a?b", "one of ?", false},
		{"https://host/bucket/a%2Fb", "one of ?", false},
		{"https://host/bucket/a\nb", "no key should have", false},
		{"https://host/bucket/\xff", "no key should have", false},
		{"https://host/bucket/" + strings.Repeat("x", 1000), "too long", false},
	} {
		loc, err := s3.ParseLocation(c.in)
		if !c.ok {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%q: %v, want %q in it", c.in, err, c.want)
			}
			if strings.Contains(c.in, ":secret") && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error has the secret: %v", err)
			}
			continue
		}
		if err != nil || loc.String() != c.want {
			t.Errorf("%q: %q, %v, want %q", c.in, loc, err, c.want)
			continue
		}
		if again, err := s3.ParseLocation(loc.String()); err != nil || again != loc {
			t.Errorf("%q is not stable: %q, %v", c.in, again, err)
		}
	}
}

func TestOpen_InvalidOptions_Refused(t *testing.T) {
	for name, o := range map[string]s3.Options{
		"lookup":             {Lookup: "host"},
		"connections":        {Connections: -1},
		"lock days":          {LockDays: -1},
		"lock mode":          {LockMode: "forever"},
		"key without a cert": {ClientKey: "key.pem"},
		"no such cert":       {ClientCert: "/no/such/file"},
		"no such CA":         {CACert: "/no/such/file"},
		"CA that is none":    {CACert: file(t, "not a certificate")},
	} {
		if _, err := s3.Open(t.Context(), parse(t, "host/bucket"), o); !errors.Is(err, s3.ErrOptions) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
