package redis

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/kura-backup/kura/internal/testserver"
)

// A standby does what its master does, also what was a mistake. A backup that was taken from it has what there was before.
func TestBackup_OfAStandbyBeforeFlushAll_HasWhatIsGoneFromBoth(t *testing.T) {
	t.Parallel()
	port := testserver.FreePort(t)
	m := connect(t, testserver.NewRedis(t, "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--repl-diskless-sync-delay", "0"))
	m.fill(0, 500)
	want := m.state()
	standby := testserver.NewRedis(t)
	c := connect(t, standby)
	c.do(fmt.Sprintf("REPLICAOF 127.0.0.1 %d", port))
	c.await("replication", "master_link_status:up")
	w := mustBackup(t, Options{Server: &Server{Socket: standby.Socket}})
	d := detailsOf(t, w)
	if d.Role != "slave" || d.MasterLink != "" {
		t.Errorf("%+v", d)
	}

	m.do("FLUSHALL")
	m.do("WAIT 1 60000")
	if left := len(m.state()) + len(c.state()); left != 0 {
		t.Fatalf("%d keys are left", left)
	}
	r, target := stopped(t)
	if _, err := target.Install(t.Context(), stage(t, w, d, target.Dir), d); err != nil {
		t.Fatal(err)
	}
	r.Start(t)
	same(t, connect(t, r).state(), want)
}
