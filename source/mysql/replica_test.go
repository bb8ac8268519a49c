package mysql

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kura-backup/kura/internal/testserver"
	"github.com/kura-backup/kura/source/sourcetest"
)

// A backup of a replica says where it was in its own log, and in that of the server that it follows.
func TestLogical_OfAReplica_HasBothCoordinates(t *testing.T) {
	port := testserver.FreePort(t)
	first := testserver.NewMariaDB(t, "--skip-networking=0", "--bind-address=127.0.0.1", fmt.Sprintf("--port=%d", port))
	first.SQL(t, "CREATE USER follower@'%' IDENTIFIED BY 'x'; GRANT REPLICATION SLAVE ON *.* TO follower@'%'; CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY); INSERT INTO shop.t VALUES (1)")
	second := testserver.NewMariaDB(t, "--server-id=2", "--log-slave-updates", "--log-bin=replica")
	second.SQL(t, fmt.Sprintf("CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT=%d, MASTER_USER='follower', MASTER_PASSWORD='x', MASTER_USE_GTID=slave_pos; START SLAVE", port))
	for want := first.SQL(t, "SELECT @@gtid_binlog_pos"); second.SQL(t, "SELECT @@gtid_slave_pos") != want; {
		time.Sleep(20 * time.Millisecond)
	}
	out := sourcetest.NewWriter()
	backUp(t, &Logical{Config: configOf(second), NoUsers: true}, out)
	_, d := manifest(t, out)
	if !strings.HasPrefix(d.At.File, "replica.") || len(d.Replicas) != 1 {
		t.Fatalf("%+v", d)
	}
	at, err := open(t, configOf(first)).coordinates(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r := d.Replicas[0]; r.Source != fmt.Sprintf("127.0.0.1:%d", port) || !r.Exact || r.At != at {
		t.Errorf("%+v, and the server that it follows is at %+v", r, at)
	}
}

// What the dump program gets in with is not in its arguments or environment, where everybody on the machine could read it.
func TestLogical_Password_NotWhereOthersSeeIt(t *testing.T) {
	s := testserver.SharedMariaDB(t)
	schema(t, s)
	s.SQL(t, "CREATE USER secretive@localhost IDENTIFIED BY 'hunter2hunter2'; GRANT ALL ON *.* TO secretive@localhost")
	seen := filepath.Join(t.TempDir(), "seen")
	fakeDump(t, fmt.Sprintf("{ echo \"$@\"; env; tr '\\0' ' ' </proc/$PPID/cmdline; } >%s; exec /usr/bin/mariadb-dump \"$@\"\n", seen))
	backUp(t, &Logical{Config: Config{Socket: s.Socket, User: "secretive", Password: "hunter2hunter2"}, NoUsers: true}, sourcetest.NewWriter())
	text, err := os.ReadFile(seen)
	if err != nil || !strings.Contains(string(text), "--single-transaction") || strings.Contains(string(text), "hunter2") {
		t.Errorf("%v: %s", err, text)
	}
}
