package sshrun_test

import (
	"strings"
	"testing"

	"github.com/kura-backup/kura/internal/sshrun"
)

func TestParseURL_Table(t *testing.T) {
	for text, want := range map[string]string{
		"ssh://host/srv":                   "ssh://host|/srv",
		"ssh://host":                       "ssh://host|",
		"ssh://host/":                      "ssh://host|/",
		"ssh://me@host:2222/srv/a%20b":     "ssh://me@host:2222|/srv/a b",
		"ssh://host/50%25":                 "ssh://host|/50%",
		"ssh://me@[2001:db8::1]:22/srv":    "ssh://me@[2001:db8::1]:22|/srv",
		"ssh://[fe80::1%25eth0]/x":         "ssh://[fe80::1%25eth0]|/x",
		"ssh://host/~":                     "ssh://host|.",
		"ssh://host/~/":                    "ssh://host|.",
		"ssh://host/~/mail":                "ssh://host|./mail",
		"ssh://host/~/-rf":                 "ssh://host|./-rf",
		"ssh://host/~bak":                  "ssh://host|/~bak",
		"ssh://me%40corp@host/x":           "ssh://me%40corp@host|/x",
		"ssh://host/a%3Fb%23c":             "ssh://host|/a?b#c",
		"http://host/x":                    "!does not begin with",
		"ssh://":                           "!host is missing",
		"ssh:///srv":                       "!host is missing",
		"ssh://-oProxyCommand=touch%20x/y": "!",
		"ssh://-oProxyCommand=x/y":         "!starts with a -",
		"ssh://-oProxyCommand=x@host/y":    "!starts with a -",
		"ssh://a;b@host/y":                 "!character",
		"ssh://$(touch x)@host/y":          "!",
		"ssh://me:secret@host/x":           "!no place for a password",
		"ssh://me:s%zz@host/x":             "!special characters",
		"ssh://host:0/x":                   "!not a port",
		"ssh://host:70000/x":               "!not a port",
		"ssh://host/x?y":                   "!%3F",
		"ssh://host/x#y":                   "!%23",
		"ssh://host/x#":                    "!%23",
		"ssh://host/a%00b":                 "!zero byte",
	} {
		m, path, err := sshrun.ParseURL(text)
		if why, bad := strings.CutPrefix(want, "!"); bad {
			if err == nil || !strings.Contains(err.Error(), why) || strings.Contains(err.Error(), "s%zz") || strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: %v, %q, %v", text, m, path, err)
			}
			continue
		}
		if got := m.String() + "|" + path; err != nil || got != want {
			t.Errorf("%s: %s, %v", text, got, err)
		}
		if again, _, err := sshrun.ParseURL(m.String()); err != nil || again != m {
			t.Errorf("%s: %v comes back as %v, %v", text, m, again, err)
		}
	}
}

func FuzzParseURL(f *testing.F) {
	f.Add("ssh://me@host:22/srv")
	f.Add("ssh://[::1]/~/x")
	f.Fuzz(func(t *testing.T, text string) {
		m, _, err := sshrun.ParseURL(text)
		if err != nil {
			return
		}
		if strings.HasPrefix(m.Host, "-") || strings.HasPrefix(m.User, "-") || strings.ContainsAny(m.Host+m.User, " \n;$`'\"") {
			t.Errorf("%q: %+v", text, m)
		}
	})
}
