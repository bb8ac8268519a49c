package transfer_test

import (
	"testing"

	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/repo"
)

func TestRun_Details_AreKept(t *testing.T) {
	from, _ := testrepo.New(t)
	to, _ := testrepo.New(t)
	s, err := from.NewSession(t.Context(), repo.SessionOptions{})
	must(t, err)
	m := testrepo.Manifest(t, s, []byte("x"))
	m.Details, m.Source = `{"gtid":"0-1-7"}`, "mysql"
	_, err = s.Commit(repo.CommitOptions{Manifest: m})
	must(t, err)
	copyAll(t, from, to)
	if got := snapshots(t, to); len(got) != 1 || got[0].Details != m.Details || got[0].Source != m.Source {
		t.Errorf("%+v", got[0].Manifest)
	}
}
