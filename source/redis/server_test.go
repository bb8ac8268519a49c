package redis

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/kura-backup/kura/internal/testserver"
	"github.com/kura-backup/kura/source/sourcetest"
)

var keys = flag.Int("redis.keys", 4000, "so many keys")

func content(t testing.TB, w *sourcetest.Writer, path string) []byte {
	t.Helper()
	e := w.Entry(path)
	if e == nil || e.Content == nil {
		t.Fatalf("%s was not written", path)
	}
	return e.Content.Bytes()
}

func TestBackup_ServerRestarted_SameBytes(t *testing.T) {
	r := testserver.NewRedis(t)
	c := connect(t, r)
	c.fill(0, *keys)
	c.do("SELECT 5")
	c.do("SET elsewhere 1")
	c.args("FUNCTION", "LOAD", "#!lua name=one\nredis.register_function('f', function() return 1 end)")
	want := c.state()
	o := Options{Server: &Server{Socket: r.Socket}}
	first := content(t, mustBackup(t, o), "/redis/local/dump.rdb")
	raw := load(t, r)
	r.Stop()
	r.Start(t)
	c = connect(t, r)
	same(t, c.state(), want)
	second := content(t, mustBackup(t, o), "/redis/local/dump.rdb")
	if again := load(t, r); bytes.Equal(raw[200:], again[200:]) {
		t.Fatal("the server saves in the same order after a restart: the test shows nothing")
	}
	if !bytes.Equal(first, second) {
		t.Errorf("%d bytes, %d after a restart, and not the same", len(first), len(second))
	}
	t.Logf("%d keys, %d bytes as saved, %d as stored", len(want), len(raw), len(first))

	fresh := testserver.NewRedis(t)
	fresh.Stop()
	write(t, filepath.Join(fresh.Dir, "dump.rdb"), first)
	fresh.Start(t)
	same(t, connect(t, fresh).state(), want)
}

func load(t testing.TB, r *testserver.Redis) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(r.Dir, "dump.rdb"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
