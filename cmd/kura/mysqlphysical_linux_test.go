package main

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kura-backup/kura/internal/testserver"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/ui"
)

// TestMySQLPhysical_SecondBackup_CostsWhatChanged backs up a server's files once more when one row in a hundred has been updated, all over
// a table: then half of its pages are others, by a few bytes each. Each of the two is a whole one, also without the other.
func TestMySQLPhysical_SecondBackup_CostsWhatChanged(t *testing.T) {
	if _, err := exec.LookPath("mariadb-backup"); err != nil {
		t.Skipf("%v; `make apt` installs it", err)
	}
	t.Parallel()
	s := testserver.NewMariaDB(t, "--innodb-max-dirty-pages-pct=0", "--innodb-max-dirty-pages-pct-lwm=0", "--innodb-io-capacity=20000")
	b := newBox(t)
	repository := filepath.Join(b.dir, "repo")
	const look = "CHECKSUM TABLE shop.orders; SELECT COUNT(*), SUM(n) FROM shop.orders"
	type backup struct {
		ID     string `json:"snapshot_id"`
		New    int64  `json:"data_added"` // bytes of chunks that were not there
		stored int64  // by which the repository grew
		state  string
	}
	backUp := func(what string) (made backup) {
		t.Helper()
		// What the server has in memory alone is not in the files, but in its log.
		waitUntil(t, "a moment in which all pages are written", func() bool {
			return s.SQL(t, "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'INNODB_BUFFER_POOL_PAGES_DIRTY'") == "0"
		})
		before := bytesBelow(t, repository)
		lines := strings.Split(strings.TrimSpace(b.kura("mysql", "backup", "--physical", "--socket", s.Socket, "--user", "root", "--json")), "\n")
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &made); err != nil || made.ID == "" {
			t.Fatalf("%v: %q", err, lines)
		}
		made.stored, made.state = bytesBelow(t, repository)-before, s.SQL(t, look)
		t.Logf("%s: %d bytes of chunks that are new, the repository grew by %d; %q", what, made.New, made.stored, made.state)
		return made
	}
	// Values that do not compress, in a table that the server can not keep in memory.
	s.SQL(t, `CREATE DATABASE shop; USE shop;
		CREATE TABLE orders (id INT PRIMARY KEY, n INT NOT NULL, what VARBINARY(192) NOT NULL);
		INSERT INTO orders SELECT seq, 0, CONCAT(UNHEX(SHA2(seq, 512)), UNHEX(SHA2(CONCAT('b', seq), 512)), UNHEX(SHA2(CONCAT('c', seq), 512))) FROM seq_1_to_160000`)
	first := backUp("first")
	s.SQL(t, "UPDATE shop.orders SET n = n + 1 WHERE CRC32(id) % 100 = 0")
	second := backUp("second, 1 % of the rows updated")
	if info, err := os.Stat(filepath.Join(s.Data, "shop/orders.ibd")); err != nil || info.Size() < 36<<20 || second.New < info.Size()/2 || first.stored < 32<<20 {
		t.Errorf("the table is too small, or what was updated lies together: %v, %v", info, err)
	}
	// 1.0 to 2.0 MB of 34.5 were measured, and 35 without deltas. All but 90 kB of it is where the server writes pages before it writes them
	// to their places: two MiB in ibdata1, whatever the table has.
	if second.stored > 3<<20 {
		t.Errorf("the second backup takes %.1f %% of what the first one does", 100*float64(second.stored)/float64(first.stored))
	}

	restored := func(of backup, name string) {
		t.Helper()
		dir := filepath.Join(b.dir, name)
		b.kura("mysql", "restore", of.ID, "--target", dir, "--prepare")
		r := testserver.MariaDBOn(t, dir)
		if got := r.SQL(t, look); got != of.state {
			t.Errorf("%s: restored %q, there was %q", name, got, of.state)
		}
		r.Remove()
	}
	restored(first, "first")
	b.kura("forget", first.ID, "--prune", "-q")
	restored(second, "second")
	if second.state == first.state {
		t.Error("nothing was updated")
	}
}

// Where something is mounted below a folder, that would go with it when it is moved aside, and a server would find its log no more.
func TestAlone_SomethingIsMountedBelow_Refused(t *testing.T) {
	if !testsys.AsMounter(t) {
		return
	}
	a := &app{term: ui.NewPlain(io.Discard, io.Discard)}
	volume := testsys.Mount(t, "tmpfs", 1<<20)
	if err := a.alone(filepath.Dir(volume)); err == nil || !strings.Contains(err.Error(), volume) {
		t.Errorf("%v", err)
	}
	if err := a.alone(volume); err != nil { // renaming it says why it can not be
		t.Errorf("the volume itself: %v", err)
	}
}
