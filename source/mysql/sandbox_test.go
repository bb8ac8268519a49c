package mysql

import (
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

	dir := fakeProgram(t, "mariadb", `dir=${0%/*}
cat >"$dir/sql"
echo >>"$dir/runs"
if grep -n '^/\*M*!999999' "$dir/sql" >"$dir/found"; then
	echo "ERROR at line $(cut -d: -f1 "$dir/found"): Unknown command '\-'." >&2
	exit 1
fi
exec /usr/bin/mariadb "$@" <"$dir/sql"
`)
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
