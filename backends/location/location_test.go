package location_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/location"
)

func TestParse_Table(t *testing.T) {
	t.Chdir(t.TempDir())
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		in, want string // want: the full form, or what the error says
		ok       bool
	}{
		{"/srv/kura", "local:/srv/kura", true},
		{"local:/srv/kura", "local:/srv/kura", true},
		{"/srv/with:colon", "local:/srv/with:colon", true},
		{"local:with:colon", "local:" + here + "/with:colon", true},
		{"./s3:bucket", "local:" + here + "/s3:bucket", true},
		{"repo", "local:" + here + "/repo", true},
		{"/srv//kura/../kura/", "local:/srv/kura", true},
		{"./~", "local:" + here + "/~", true},

		{"", "path is empty", false},
		{"local:", "path is empty", false},
		{"~/kura", "write the whole path", false},
		{"~", "write the whole path", false},
		{"s3:s3.example.com/bucket", "s3:https://s3.example.com/bucket", true},
		{"s3://host:9000/bucket/a/b/", "s3:https://host:9000/bucket/a/b", true},
		{"s3:http://Host:80//bucket/", "s3:http://host/bucket", true},
		{"s3:host", "no bucket", false},
		{"sftp:me@host:/srv//kura/", "sftp:me@host:/srv/kura", true},
		{"sftp:host:kura", "sftp:host:kura", true},
		{"sftp://me@host:2222//srv/kura", "sftp://me@host:2222//srv/kura", true},
		{"sftp:host", "is not user@host:path", false},
		{"ftp:host/folder", "only /path or local:path", false},
		{"C:repo", "write ./C:repo", false},
		{"https://key:secret@host/bucket", `no "https" stores`, false},
	} {
		l, err := location.Parse(c.in)
		if !c.ok {
			if !errors.Is(err, location.ErrLocation) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Parse(%q): err = %v, want %q in it", c.in, err, c.want)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("Parse(%q): the error has the secret: %v", c.in, err)
			}
			continue
		}
		if err != nil || l.String() != c.want {
			t.Errorf("Parse(%q) = %v, %v, want %s", c.in, l, err, c.want)
			continue
		}
		if again, err := location.Parse(l.String()); err != nil || again.String() != l.String() {
			t.Errorf("Parse(%q) is not stable: %v, %v", l, again, err)
		}
	}
}

func TestOpenAndCreate_Local(t *testing.T) {
	l, err := location.Parse(filepath.Join(t.TempDir(), "a/b"))
	if err != nil {
		t.Fatal(err)
	}
	if s, err := l.Open(t.Context(), location.Options{}); !errors.Is(err, backends.ErrNoStore) || s != nil {
		t.Fatalf("Open before Create = %v, %v", s, err)
	}
	for _, open := range []func() (backends.Store, error){
		func() (backends.Store, error) { return l.Create(t.Context(), location.Options{}) },
		func() (backends.Store, error) { return l.Open(t.Context(), location.Options{}) },
	} {
		s, err := open()
		if err != nil {
			t.Fatal(err)
		}
		_ = s.Put(t.Context(), "config", []byte("x")) // the second finds it taken
		if got, err := s.Get(t.Context(), "config", 0, -1, nil); err != nil || string(got) != "x" {
			t.Errorf("Get = %q, %v", got, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}
