package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kura-backup/kura/internal/testserver"
)

// redisSystemctl stops and starts a real server, the only unit there is.
const redisSystemctl = `#!/bin/sh
alive() { redis-cli -s "$BASE/s" ping 2>/dev/null | grep -q PONG; }
case $1 in
is-active) if alive; then echo active; else echo inactive; exit 3; fi ;;
show) echo loaded ;;
stop) redis-cli -s "$BASE/s" shutdown nosave; while alive; do sleep 0.05; done ;;
start) redis-server "$BASE/redis.conf" --daemonize yes > /dev/null; until alive; do sleep 0.05; done ;;
esac
`

// redisMachine is one with a server that keeps append-only files.
type redisMachine struct {
	*user
	base string // short enough for a socket
}

func newRedisMachine(t *testing.T) *redisMachine {
	testserver.RedisServer(t)
	if _, err := exec.LookPath("redis-cli"); err != nil {
		t.Skip(err)
	}
	base, err := os.MkdirTemp("", "kura-redis-")
	if err != nil {
		t.Fatal(err)
	}
	m := &redisMachine{user: newUser(t, "KURA_PASSWORD=a", "BASE="+base), base: base}
	m.env = append(m.env, "KURA_REPOSITORY="+m.home+"/repo", "PATH="+base+"/bin:"+os.Getenv("PATH"))
	// What ends the server and removes its folder does so also when this process is killed: its input is at an end then.
	end := exec.Command("sh", "-c", `cat; redis-cli -s "$0/s" shutdown nosave; rm -rf "$0"`, base)
	alive, err := end.StdinPipe()
	if err == nil {
		err = end.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(alive.Close(), end.Wait()); err != nil {
			t.Error(err)
		}
	})
	write(t, base+"/bin/systemctl", redisSystemctl)
	if err := os.Chmod(base+"/bin/systemctl", 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, base+"/redis.conf", fmt.Sprintf("port 0\nunixsocket %[1]s/s\ndir %[1]s/data\nsave \"\"\nappendonly yes\nlogfile %[1]s/log\n", base))
	if err := os.Mkdir(base+"/data", 0o700); err != nil {
		t.Fatal(err)
	}
	m.systemctl("start")
	return m
}

func (m *redisMachine) systemctl(verb string) {
	m.t.Helper()
	cmd := exec.Command(m.base+"/bin/systemctl", verb, "redis")
	cmd.Env = m.env
	if out, err := cmd.CombinedOutput(); err != nil {
		m.t.Fatalf("%v: %s", err, out)
	}
}

// cli asks the server.
func (m *redisMachine) cli(args ...string) string {
	m.t.Helper()
	out, err := exec.Command("redis-cli", append([]string{"-s", m.base + "/s"}, args...)...).CombinedOutput()
	if err != nil {
		m.t.Fatalf("%v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

func (m *redisMachine) plan(keys string) {
	write(m.t, filepath.Join(m.home, "cache.toml"), fmt.Sprintf(`
[snapshots]
cache = { tags = ["nightly"] }
[[step]]
name = "stop"
kind = "stop"
units = ["redis"]
[[step]]
name = "restore"
kind = "redis-restore"
from = "cache"
dir = "%[1]s/data"
args = ["--config", "%[1]s/redis.conf", "--check"]
%[2]s
[[step]]
name = "start"
kind = "start"
units = ["redis"]
[[step]]
name = "check"
kind = "check"
command = ["sh", "-c", "redis-cli -s %[1]s/s get of | grep -qx 'the backup'"]
within = "5m"
every = "50ms"
`, m.base, keys))
}

// A plan brings back the data of a real server: it is refused while that runs, and would replace what is there only if it says so; then it goes on, and the
// server has what was backed up.
func TestRunbook_Redis_IsBroughtBack(t *testing.T) {
	m := newRedisMachine(t)
	m.cli("set", "of", "the backup")
	m.cli("eval", "for i = 1, 1000 do redis.call('set', 'key' .. i, i) end", "0")
	m.run(exitOK, "init", "-q")
	m.run(exitOK, "redis", "backup", "-q", "--socket", m.base+"/s", "--tag", "nightly")
	m.cli("flushall")
	m.cli("set", "of", "later")

	m.plan("")
	out, _ := m.run(exitOK, "runbook", "cache.toml", "--dry-run")
	if !strings.Contains(out, "systemctl stop redis") || !strings.Contains(out, " --dir "+m.base+"/data --config "+m.base+"/redis.conf --check\n") {
		t.Errorf("%s", out)
	}
	if got := m.cli("get", "of"); got != "later" {
		t.Errorf("the dry run has changed something: %q", got)
	}
	_, said := m.run(exitError, "runbook", "cache.toml", "--only", "restore")
	if !strings.Contains(said, "a server runs on this folder") || m.cli("get", "of") != "later" {
		t.Errorf("%s", said)
	}
	_, said = m.run(exitError, "runbook", "cache.toml", "--new")
	if !strings.Contains(said, "[2/4] restore: FAILED") || !strings.Contains(said, "--yes") || !strings.Contains(said, "kura runbook cache.toml --continue\n") {
		t.Errorf("%s", said)
	}

	m.plan("replace = true")
	if out, said = m.run(exitOK, "runbook", "cache.toml", "--continue"); !strings.Contains(out, "was carried out") || strings.Contains(said, "systemctl stop") {
		t.Errorf("%s%s", out, said)
	}
	if of, n := m.cli("get", "of"), m.cli("dbsize"); of != "the backup" || n != "1001" {
		t.Errorf("the server has %q, and %s keys", of, n)
	}
	m.systemctl("stop")
	m.systemctl("start") // and has it on its disk
	if of, n := m.cli("get", "of"), m.cli("dbsize"); of != "the backup" || n != "1001" {
		t.Errorf("after a restart the server has %q, and %s keys", of, n)
	}
	aside, err := filepath.Glob(m.base + "/data/*")
	if err != nil || len(aside) < 2 {
		t.Errorf("what was there was not moved aside: %q, %v", aside, err)
	}

	_, said = m.run(exitIncomplete, "runbook", "cache.toml", "--undo", "--yes")
	if !strings.Contains(said, "restore can not be taken back") || !strings.Contains(said, "moved aside") {
		t.Errorf("%s", said)
	}
	if got := m.cli("get", "of"); got != "the backup" { // it ran before, and runs again
		t.Errorf("%q", got)
	}
}
