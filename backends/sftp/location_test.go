package sftp_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/kura-backup/kura/backends/sftp"
)

func TestParseLocation_Table(t *testing.T) {
	for _, c := range []struct {
		in   string
		want sftp.Location
		full string
	}{
		{"host:/srv/kura", sftp.Location{Host: "host", Path: "/srv/kura"}, "host:/srv/kura"},
		{"me@host:/srv//kura/", sftp.Location{User: "me", Host: "host", Path: "/srv/kura"}, "me@host:/srv/kura"},
		{"host:kura", sftp.Location{Host: "host", Path: "kura"}, "host:kura"},
		{"host:.", sftp.Location{Host: "host", Path: "."}, "host:."},
		{"host:/a:b", sftp.Location{Host: "host", Path: "/a:b"}, "host:/a:b"},
		{"host:/with space/ü", sftp.Location{Host: "host", Path: "/with space/ü"}, "host:/with space/ü"},
		{"me@corp@host:/x", sftp.Location{User: "me@corp", Host: "host", Path: "/x"}, "me@corp@host:/x"},
		{"me@[fe80::1]:/x", sftp.Location{User: "me", Host: "fe80::1", Path: "/x"}, "me@[fe80::1]:/x"},
		{"host:/a/[1]:x", sftp.Location{Host: "host", Path: "/a/[1]:x"}, "host:/a/[1]:x"},
		{"//me@host:2222/kura", sftp.Location{User: "me", Host: "host", Port: 2222, Path: "kura"}, "//me@host:2222/kura"},
		{"//me@host:2222//srv/kura", sftp.Location{User: "me", Host: "host", Port: 2222, Path: "/srv/kura"}, "//me@host:2222//srv/kura"},
		{"//[::1]:22//srv", sftp.Location{Host: "::1", Port: 22, Path: "/srv"}, "//[::1]:22//srv"},
		{"//me@host//srv", sftp.Location{User: "me", Host: "host", Path: "/srv"}, "me@host:/srv"},
		{"//host:22//with%20space", sftp.Location{Host: "host", Port: 22, Path: "/with space"}, "//host:22//with%20space"},
	} {
		l, err := sftp.ParseLocation(c.in)
		if err != nil || l != c.want || l.String() != c.full {
			t.Errorf("%q = %+v, %s, %v", c.in, l, l, err)
			continue
		}
		if again, err := sftp.ParseLocation(l.String()); err != nil || again != l {
			t.Errorf("%q is not stable: %+v, %v", l, again, err)
		}
	}
	for in, want := range map[string]string{
		"":                       "is not user@host:path",
		"host":                   "is not user@host:path",
		"host:":                  "the path is empty",
		":/x":                    "the host is missing",
		"me@:/x":                 "the host is missing",
		"-oProxyCommand=x:/x":    "starts with a -",
		"-x@host:/x":             "starts with a -",
		"host:~/kura":            `so write "kura"`,
		"ho st:/x":               "no space",
		"a/b:/x":                 "no slash",
		"[::1:/x":                "is not user@host:path",
		"//me:secret@host//x":    "no place for a password",
		"//host:0//x":            "is not a port",
		"//host:99999//x":        "is not a port",
		"//host:x//x":            "invalid port",
		"//host//x?y":            "? or #",
		"//host":                 "the path is empty",
		"//-oProxyCommand=x//x":  "starts with a -",
		"host:/a\x00b":           "zero byte",
		"//host:22/~/kura":       `so write "kura"`,
		"me\n@host:/x":           "no space",
		"me:secret@host:/x":      "no place for a password",
		"me:sec/secret@host:x":   "no place for a password",
		"//me:secret/x@host/x":   "nor //user@host:port/path",
		"//me@host:2222/#fragme": "? or #",
	} {
		l, err := sftp.ParseLocation(in)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q = %+v, %v, want %q", in, l, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the error has the password: %v", in, err)
		}
	}
}

func TestOptions_Commands(t *testing.T) {
	l := sftp.Location{User: "me", Host: "host", Port: 2222, Path: "x"}
	for _, c := range []struct {
		o    sftp.Options
		want string // the words, with | between; or what the error says
	}{
		{sftp.Options{}, "ssh|…|-p|2222|-l|me|-s|--|host|sftp"},
		{sftp.Options{Args: `-i '/a key' -J gate`}, "ssh|-i|/a key|-J|gate|…|-p|2222|-l|me|-s|--|host|sftp"},
		{sftp.Options{Command: `ssh "two words" \'x\ y -s sftp`, Args: "ignored"}, "ssh|two words|'x y|-s|sftp"},
		{sftp.Options{Command: `a "" 'b\c'`}, `a||b\c`},
		{sftp.Options{Command: " "}, "has no words"},
		{sftp.Options{Args: `-i "x`}, "within quotes"},
		{sftp.Options{Args: `-i x\`}, "within quotes"},
	} {
		argv, err := c.o.Argv(l)
		if err != nil {
			if !errors.Is(err, sftp.ErrOptions) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%+v: %v", c.o, err)
			}
			continue
		}
		got := strings.Join(argv, "|")
		if head, rest, ok := strings.Cut(c.want, "…"); got != c.want && (!ok || !strings.HasPrefix(got, head) || !strings.HasSuffix(got, rest)) {
			t.Errorf("%+v: %s, want %s", c.o, got, c.want)
		}
		if c.o.Command == "" && !slices.Contains(argv, "ServerAliveInterval=15") {
			t.Errorf("no keepalives: %q", argv)
		}
	}
}
