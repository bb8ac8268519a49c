package main

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/kura-backup/kura/internal/testserver"
)

// TestPostgres_DumpAsAStream_RestoresIntoAFreshServer runs what docs/streams.md says about PostgreSQL: what comes back into
// another server is what was there, and a dump of it is the same to the byte.
func TestPostgres_DumpAsAStream_RestoresIntoAFreshServer(t *testing.T) {
	t.Parallel()
	first, second := testserver.NewPostgres(t), testserver.NewPostgres(t)
	home := t.TempDir()
	run := func(s *testserver.Postgres, script string) (string, error) {
		cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", script)
		cmd.Dir = home
		cmd.Env = slices.Concat(os.Environ(), []string{"HOME=" + home, "TZ=UTC", "KURA_REPOSITORY=" + home + "/repo", "KURA_PASSWORD=a"}, s.Env())
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	must := func(s *testserver.Postgres, script string) string {
		t.Helper()
		out, err := run(s, script)
		if err != nil {
			t.Fatalf("%s: %v\n%s", script, err, out)
		}
		return out
	}
	must(first, `kura init -q
		createuser shopkeeper
		createdb --owner shopkeeper shop
		psql -q shop <<'END'
create table orders (id int primary key, what text, at timestamptz default now());
alter table orders owner to shopkeeper;
insert into orders select i, repeat('ü' || i, 5) from generate_series(1, 20000) i;
create index on orders (what);
create function f() returns int language sql as 'select 1';
select lo_from_bytea(4711, 'large object');
END`)
	scripts := map[string]string{}
	for _, b := range blocks(t, "streams.md") {
		scripts[b.name] = b.text
	}
	if scripts["pgbackup"] == "" || scripts["pgrestore"] == "" {
		t.Fatal("the page has no commands for PostgreSQL")
	}
	must(first, scripts["pgbackup"])
	t.Log(must(second, scripts["pgrestore"]))
	const look = `psql -At shop -c "select count(*), md5(string_agg(what || at, ',' order by id)) from orders" -c "select f()" -c "select tableowner from pg_tables where tablename = 'orders'"
		pg_dump shop | grep -v '^.\(un\)\?restrict ' | sha256sum`
	want, got := must(first, look), must(second, look)
	if t.Log(want); got != want || !strings.HasPrefix(want, "20000|") {
		t.Errorf("restored: %s, there was: %s", got, want)
	}

	// Rows that were added cost about what they are; a database that is gone is a failure, and nothing is saved.
	must(first, `psql -q shop -c "insert into orders select i, 'more' from generate_series(30001, 30010) i"`)
	if out := must(first, scripts["pgbackup"]); !strings.Contains(out, "2 changed") && !strings.Contains(out, "1 changed") {
		t.Errorf("%s", out)
	}
	must(first, "dropdb shop")
	if out, err := run(first, scripts["pgbackup"]); err == nil {
		t.Errorf("a dump of no database was saved: %s", out)
	}
	if out := must(first, "kura snapshots"); !strings.Contains(out, "2 snapshots") {
		t.Errorf("%s", out)
	}
}
