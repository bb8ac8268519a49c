package mysql

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func writeOptions(t testing.TB, name, text string, mode os.FileMode) string {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestReadDefaults_OptionFiles_AsTheVendorsRead(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "conf.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	writeOptions(t, filepath.Join(dir, "conf.d", "a.cnf"), "[client]\nuser=included\nport=3307\n", 0o644)
	writeOptions(t, filepath.Join(dir, "conf.d", "b.txt"), "[client]\nuser=nobody\n", 0o644)
	main := writeOptions(t, filepath.Join(dir, "my.cnf"), `# a comment
!includedir conf.d
; another
[mysqld]
socket=/server/only
user = mysql
[client]
password = "a#b \"c\" \\ d"  # why not
host=db1.example.com # there
ssl_ca = '/etc/ca.pem'
loose-unknown
[mysqldump]
user=other
[client-mariadb]
user = me\sand\tyou
`, 0o600)
	c, err := ReadDefaults(main)
	want := Config{Host: "db1.example.com", Port: 3307, User: "me and\tyou", Password: `a#b "c" \ d`, CA: "/etc/ca.pem"}
	if err != nil || c != want {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestReadDefaults_BadFiles_Refused(t *testing.T) {
	dir := t.TempDir()
	loop := filepath.Join(dir, "loop.cnf")
	for name, path := range map[string]string{
		"everybody may read": writeOptions(t, filepath.Join(dir, "open.cnf"), "[client]\npassword=x\n", 0o644),
		"include one":        writeOptions(t, loop, "!include "+loop+"\n", 0o600),
		"no such file":       filepath.Join(dir, "none"),
		"not a number":       writeOptions(t, filepath.Join(dir, "port.cnf"), "[client]\nport=x\n", 0o600),
		"[client":            writeOptions(t, filepath.Join(dir, "section.cnf"), "[client\n", 0o600),
		"!wrong":             writeOptions(t, filepath.Join(dir, "wrong.cnf"), "!wrong x\n", 0o600),
	} {
		if _, err := ReadDefaults(path); !errors.Is(err, ErrDefaults) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ReadDefaults(writeOptions(t, filepath.Join(dir, "fine.cnf"), "[client]\nuser=x\n[mysqld]\npassword=y\n", 0o644)); err != nil {
		t.Errorf("a file without a password: %v", err)
	}
}

// What programs are handed over they read back as it was.
func TestOptionFile_AnyPassword_ReadBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "o.cnf")
	rapid.Check(t, func(r *rapid.T) {
		c := Config{
			User:     rapid.StringMatching(`[a-z "'\\#;=]{1,8}`).Draw(r, "user"),
			Password: rapid.OneOf(rapid.StringMatching(`[ -~\t\n]{0,20}`), rapid.StringMatching(`["'\\# ]{0,6}`)).Draw(r, "password"),
			Host:     "h", Port: 3306,
		}
		if strings.ContainsAny(c.User+c.Password, "\x00") {
			r.Skip("no text")
		}
		if err := os.WriteFile(path, []byte(c.optionFile(true)), 0o600); err != nil {
			r.Fatal(err)
		}
		got, err := ReadDefaults(path)
		if err != nil || got != c {
			r.Fatalf("%+v becomes %+v, %v:\n%s", c, got, err, c.optionFile(true))
		}
	})
}

func TestConfig_Name_IsOfTheServer(t *testing.T) {
	for _, c := range []struct {
		c             Config
		name, address string
	}{
		{Config{Socket: "/s"}, "local", "/s"},
		{Config{Host: "localhost", Socket: "/s"}, "local", "/s"},
		{Config{Host: "localhost", Port: 3307}, "localhost", "127.0.0.1:3307"},
		{Config{Host: "db1"}, "db1", "db1:3306"},
		{Config{Port: 3307}, "localhost", "127.0.0.1:3307"},
		{Config{Host: "::1", Port: 3307}, "::1", "[::1]:3307"},
	} {
		if c.c.Name() != c.name || c.c.Address() != c.address {
			t.Errorf("%+v is %s at %s", c.c, c.c.Name(), c.c.Address())
		}
	}
}
