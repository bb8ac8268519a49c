package redis

import (
	"testing"

	"github.com/kura-backup/kura/backup"
	"github.com/kura-backup/kura/internal/testrepo"
	"github.com/kura-backup/kura/internal/testserver"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/restore"
)

// stored backs up into a repository and returns how many bytes that has added to it.
func stored(t *testing.T, r *repo.Repository, o Options) (*repo.Snapshot, uint64) {
	t.Helper()
	src, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	res, err := backup.Run(t.Context(), r, backup.Options{Host: "h", Source: src}, backup.Events{})
	if err != nil {
		t.Fatal(err)
	}
	return res.Snapshot, res.Summary.BytesStored
}

// A restart changes the order of all keys. The second backup adds under 2 % of what the first one did, and one after a change of 1 % of
// the keys little more than those; each is restored as it was.
func TestRepository_Restart_AddsAlmostNothing(t *testing.T) {
	server := testserver.NewRedis(t)
	c := connect(t, server)
	c.fill(0, *keys)
	r, _ := testrepo.New(t)
	o := Options{Server: &Server{Socket: server.Socket}}
	_, first := stored(t, r, o)
	before := load(t, server)

	server.Stop()
	server.Start(t)
	c = connect(t, server)
	_, second := stored(t, r, o)
	if same := load(t, server); string(same[200:]) == string(before[200:]) {
		t.Fatal("the server saves in the same order after a restart: the test shows nothing")
	}
	if second*50 > first {
		t.Errorf("the second backup adds %d bytes, the first had %d", second, first)
	}

	b := new(bulk)
	for i := 0; i < *keys; i += 99 { // of every type
		c.key(b, i, "later")
	}
	c.send(b)
	c.do("SAVE")
	server.Stop()
	server.Start(t)
	c = connect(t, server)
	snap, third := stored(t, r, o)
	t.Logf("%d keys, %d bytes as saved: %d bytes stored, %d after a restart (%.2f %%), %d after a change of 1 %% of the keys (%.2f %%)",
		*keys, len(before), first, second, 100*float64(second)/float64(first), third, 100*float64(third)/float64(first))
	want := c.state()

	fresh, target := stopped(t)
	d, err := ReadDetails([]byte(snap.Details))
	if err != nil {
		t.Fatal(err)
	}
	staged, err := target.Stage()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := restore.Run(t.Context(), r, snap, restore.Options{Target: staged.Path, Path: d.Folder()}, restore.Events{}); err != nil {
		t.Fatal(err)
	}
	in, err := target.Install(t.Context(), staged.Path, d)
	if err != nil {
		t.Fatal(err)
	}
	if err := staged.Close(); err != nil {
		t.Error(err)
	}
	if tried, err := target.Try(t.Context(), t.TempDir(), in); err != nil || tried.Keys() != uint64(len(want)) {
		t.Errorf("%+v, %v", tried, err)
	}
	fresh.Start(t)
	same(t, connect(t, fresh).state(), want)
}
