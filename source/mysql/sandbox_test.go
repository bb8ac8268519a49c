package mysql

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kura-backup/kura/internal/testserver"
	"github.com/kura-backup/kura/source/sourcetest"
)

// A client that is older than the line with which newer dumps begin, and takes it for a command of its own that it does not know, loads
// such a dump all the same.
func TestLoad_ClientThatDoesNotKnowTheFirstLine_LoadsTheDump(t *testing.T) {
	s := testserver.SharedMariaDB(t)
	schema(t, s)
	out := sourcetest.NewWriter()
	backUp(t, &Logical{Config: configOf(s)}, out)
	m, d := manifest(t, out)
	const line = "/*M!999999\\- enable the sandbox mode */"
	if header := string(out.Bytes(d.Root + "/" + m.Parts[0].Path())); !strings.HasPrefix(header, line) {
		t.Fatalf("the dump does not begin with that line: %.200q", header)
	}
	before := exact(t, s)
	wipe(t, s)

	dir := t.TempDir()
	script := fmt.Sprintf(`#!/bin/sh
case "$*" in *--version) exec /usr/bin/mariadb --version;; esac
cat >'%[1]s/sql'
echo >>'%[1]s/runs'
if grep -n '^/\*M*!999999' '%[1]s/sql' >'%[1]s/found'; then
	echo "ERROR at line $(cut -d: -f1 '%[1]s/found'): Unknown command '\\-'." >&2
	exit 1
fi
exec /usr/bin/mariadb "$@" <'%[1]s/sql'
`, dir)
	if err := os.WriteFile(filepath.Join(dir, "mariadb"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	if err := loadUsers(t, out, configOf(s)); err != nil {
		t.Error(err)
	}
	load(t, out, configOf(s), Selection{})
	if runs, err := os.ReadFile(filepath.Join(dir, "runs")); err != nil || len(runs) != 2 {
		t.Errorf("that client ran %d times: %v", len(runs), err)
	}
	if exact(t, s) != before {
		t.Error("the dump of what was restored differs")
	}
}
