package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/internal/testserver"
	"github.com/kura-backup/kura/runbook"
)

// fakeSystemctl keeps units as files, whose text is their state. A unit with a file NAME.broken does not start.
const fakeSystemctl = `#!/bin/sh
cd "$FAKES/units" || exit 9
case $1 in
is-active) test -e "$2" || { echo inactive; exit 4; }; cat "$2"; test "$(cat "$2")" = active ;;
show) if test -e "$4"; then echo loaded; else echo not-found; fi ;;
stop) echo "stop $2" >> ../calls; echo inactive > "$2" ;;
start) echo "start $2" >> ../calls; test ! -e "$2.broken" || { echo "$2 does not start" >&2; exit 1; }; echo active > "$2" ;;
*) exit 9 ;;
esac
`

// fakeNft has a table or not.
const fakeNft = `#!/bin/sh
cd "$FAKES" || exit 9
case $1 in
-f) echo "nft up" >> calls; cat > table ;;
list) test -e table ;;
delete) echo "nft down" >> calls; rm table ;;
*) exit 9 ;;
esac
`

// controller is a machine that is nearly an OpenStack controller.
type controller struct {
	*user
	server *testserver.MariaDB
	plan   string
	set    []string
}

func newController(t *testing.T) *controller {
	plan, err := filepath.Abs("../../examples/openstack-controller.toml")
	if err != nil {
		t.Fatal(err)
	}
	fakes := t.TempDir()
	u := newUser(t, "KURA_PASSWORD=a", "FAKES="+fakes)
	u.env = append(u.env, "KURA_REPOSITORY="+u.home+"/repo", "PATH="+fakes+"/bin:"+os.Getenv("PATH"))
	for name, script := range map[string]string{"systemctl": fakeSystemctl, "nft": fakeNft} {
		write(t, filepath.Join(fakes, "bin", name), script)
		if err := os.Chmod(filepath.Join(fakes, "bin", name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	c := &controller{user: u, server: testserver.NewMariaDB(t), plan: plan}
	for _, unit := range []string{"nova-api", "nova-scheduler", "nova-conductor", "nova-novncproxy"} {
		c.put("units/"+unit, "active\n")
	}
	c.put("units/nova-novncproxy", "failed\n")
	c.put("units/mariadb", "inactive\n")
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if c.unit("nova-api") != "active" {
			w.WriteHeader(http.StatusBadGateway)
		}
	}))
	t.Cleanup(api.Close)
	for _, set := range []string{"etc=" + u.home + "/etc", "lib=" + u.home + "/lib", "socket=" + c.server.Socket, "api=" + api.URL, "old_controller=ctl1"} {
		c.set = append(c.set, "--set", set)
	}
	return c
}

func (c *controller) fake(name string) string { return filepath.Join(c.fakes(), name) }

func (c *controller) fakes() string {
	for _, v := range c.env {
		if dir, ok := strings.CutPrefix(v, "FAKES="); ok {
			return dir
		}
	}
	return ""
}

func (c *controller) put(name, text string) { write(c.t, c.fake(name), text) }

func (c *controller) unit(name string) string {
	return strings.TrimSpace(c.read(c.fake("units/" + name)))
}

func (c *controller) calls() string { return c.read(c.fake("calls")) }

func (c *controller) read(path string) string {
	b, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		c.t.Fatal(err)
	}
	return string(b)
}

// back backs it up, and then breaks it.
func (c *controller) back() (checksum string) {
	c.server.SQL(c.t, `create database nova; use nova; create table nova.instances (id int primary key, host varchar(40));
insert into nova.instances select seq, concat('compute', seq % 7) from seq_1_to_2000;
create database nova_api; create table nova_api.flavors (id int primary key, name text); insert into nova_api.flavors values (1, 'm1.small');`)
	checksum = c.checksum()
	write(c.t, filepath.Join(c.home, "etc/nova/nova.conf"), "right")
	write(c.t, filepath.Join(c.home, "lib/nova/state"), "right")
	write(c.t, filepath.Join(c.home, "lib/nova/instances/disk"), "a disk")
	c.run(exitOK, "init", "-q")
	c.run(exitOK, "backup", "--tag", "controller", "etc/nova", "lib/nova", "--exclude", filepath.Join(c.home, "lib/nova/instances"))
	c.run(exitOK, "mysql", "backup", "--tag", "controller", "--socket", c.server.Socket, "--user", "root")
	c.server.SQL(c.t, "delete from nova.instances where id > 10; drop table nova_api.flavors")
	write(c.t, filepath.Join(c.home, "etc/nova/nova.conf"), "wrong")
	write(c.t, filepath.Join(c.home, "etc/nova/of-the-upgrade"), "left over")
	write(c.t, filepath.Join(c.home, "lib/nova/state"), "wrong")
	return checksum
}

func (c *controller) checksum() string {
	return c.server.SQL(c.t, "checksum table nova.instances, nova_api.flavors")
}

func (c *controller) runbook(want int, args ...string) (stdout, stderr string) {
	c.t.Helper()
	return c.run(want, append([]string{"runbook", c.plan}, args...)...)
}

// The plan for an OpenStack controller, against a real server and a real repository: it is looked at, fails, goes on, and is taken back.
func TestRunbook_OpenStackController_IsBroughtBack(t *testing.T) {
	t.Parallel()
	if !testserver.HasMariaDB() {
		t.Skip("there is no MariaDB server")
	}
	c := newController(t)
	checksum := c.back()

	// It is looked at.
	out, _ := c.runbook(exitOK, append([]string{"--dry-run"}, c.set...)...)
	at := -1
	for _, want := range []string{
		"asks: is the old controller \\(ctl1\\) switched off", "systemctl stop nova-api\n", "nft -f -", "systemctl start mariadb\n",
		"kura mysql restore [0-9a-f]{32,} --yes --database nova --database nova_api --socket " + c.server.Socket + " --user root --verify\n",
		"mv -nT " + c.home + "/etc/nova " + c.home + "/etc/nova.old-1\n",
		"kura restore [0-9a-f]{32,}:" + c.home + "/etc/nova --target " + c.home + "/etc/nova --verify\n",
		"kura restore [0-9a-f]{32,}:" + c.home + "/lib/nova --target " + c.home + "/lib/nova\n",
		"nft delete table inet kura_fence\n", "systemctl start nova-conductor\n", "GET http",
	} {
		found := regexp.MustCompile(want).FindStringIndex(out)
		if found == nil || found[0] < at {
			t.Errorf("the dry run has no %q behind what comes before it:\n%s", want, out)
			continue
		}
		at = found[0]
	}
	if c.calls() != "" || c.checksum() == checksum || c.read(filepath.Join(c.home, "etc/nova/nova.conf")) != "wrong" {
		t.Fatalf("the dry run has changed something: %s", c.calls())
	}

	// So is what steps want of the backup, and of the server.
	const load = "[[step]]\nname = %q\nkind = \"mysql-restore\"\nfrom = \"database\"\nargs = [\"--database\", %q, \"--socket\", %q, \"--user\", \"root\"]\n"
	write(t, filepath.Join(c.home, "wrong.toml"), "[snapshots]\ndatabase = { tags = [\"controller\"] }\n"+
		fmt.Sprintf(load, "there", "nova", c.server.Socket)+fmt.Sprintf(load, "typo", "nowa", c.server.Socket))
	_, wrong := c.run(exitError, "runbook", "wrong.toml")
	for _, want := range []string{"error: there: the server has already database nova with 1 table", "error: typo: no such database", "hint: nothing was done"} {
		if !strings.Contains(wrong, want) {
			t.Errorf("no %q in %s", want, wrong)
		}
	}

	// A service does not start.
	c.put("units/nova-api.broken", "")
	_, said := c.runbook(exitError, append([]string{"--yes"}, c.set...)...)
	if !strings.Contains(said, "error: step start-services: systemctl start nova-api: exit status 1") || !strings.Contains(said, "nova-api does not start") ||
		!strings.Contains(said, "kura runbook "+c.plan+" --continue") {
		t.Errorf("%s", said)
	}
	if got := c.checksum(); got != checksum {
		t.Errorf("the database is not what was backed up: %s, not %s", got, checksum)
	}
	if err := os.Remove(c.fake("units/nova-api.broken")); err != nil {
		t.Fatal(err)
	}
	if out, _ = c.runbook(exitOK, "--continue", "--yes"); !strings.Contains(out, "was carried out") {
		t.Errorf("%s", out)
	}
	calls := "stop nova-api\nstop nova-scheduler\nstop nova-conductor\nnft up\nstart mariadb\nnft down\n" +
		"start nova-conductor\nstart nova-scheduler\nstart nova-api\n"
	// Where it went on, the fence was put up again before, since there was something to write, and taken away.
	rest := "nft up\nnft down\nstart nova-api\nstart nova-novncproxy\n"
	if got := c.calls(); got != calls+rest {
		t.Errorf("in this order:\n%s\nnot:\n%s", got, calls+rest)
	}
	for path, want := range map[string]string{
		"etc/nova/nova.conf": "right", "etc/nova.old-1/of-the-upgrade": "left over", "lib/nova/state": "right", "lib/nova/instances/disk": "a disk",
	} {
		if got := c.read(filepath.Join(c.home, path)); got != want {
			t.Errorf("%s is %q", path, got)
		}
	}

	// It is taken back, as far as that goes.
	_, said = c.runbook(exitIncomplete, "--undo", "--yes")
	for _, want := range []string{"import-database can not be taken back", "restore-state can not be taken back"} {
		if !strings.Contains(said, want) {
			t.Errorf("no %q in %s", want, said)
		}
	}
	if c.unit("nova-api") != "active" || c.unit("mariadb") != "inactive" || c.unit("nova-novncproxy") != "inactive" {
		t.Errorf("the services are not as they were: %s", c.calls())
	}
	if got := c.read(filepath.Join(c.home, "etc/nova/nova.conf")); got != "wrong" {
		t.Errorf("the old folder is not back: %q", got)
	}
}

// Every plan that is shipped, or is in the documentation, can be read.
func TestExamples_Plans_AreValid(t *testing.T) {
	all, err := filepath.Glob("../../examples/*.toml")
	if err != nil || len(all) == 0 {
		t.Fatalf("%v, %v", all, err)
	}
	for _, file := range all {
		if _, err := runbook.Read(file); err != nil {
			t.Error(err)
		}
	}
	page, err := os.ReadFile("../../docs/runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	inDocs := regexp.MustCompile("(?ms)^```toml\n(.*?)^```$").FindAllSubmatch(page, -1)
	for _, m := range inDocs {
		if _, err := runbook.Parse("runbook.toml", m[1]); err != nil {
			t.Error(err)
		}
	}
	if len(inDocs) == 0 {
		t.Error("there is no plan in the documentation")
	}
}

// A plan is interrupted, and then killed, while a command runs.
func TestRunbook_InterruptedAndKilled_GoesOnByHand(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	write(t, filepath.Join(u.home, "plan.toml"), `
[[step]]
name = "long"
kind = "run"
command = "test ! -e go || exit 0; echo $$ > pid; exec sleep 1000"
`)
	started := func(args ...string) *exec.Cmd {
		t.Helper()
		_ = os.Remove(filepath.Join(u.home, "pid")) // of the one before
		cmd := u.command(append([]string{"runbook", "plan.toml", "--state", "state"}, args...)...)
		var said bytes.Buffer
		cmd.Stderr = &said
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no terminal
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		waitUntil(t, "a step that begins", func() bool { return u.pid() != 0 })
		return cmd
	}
	cmd := started()
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // its exit code says more
	if code, said := cmd.ProcessState.ExitCode(), fmt.Sprint(cmd.Stderr); code != exitInterrupted || !strings.Contains(said, "kura runbook plan.toml --continue --state state") {
		t.Errorf("%d: %s", code, said)
	}
	if _, said := u.run(exitError, "runbook", "plan.toml", "--state", "state", "--continue"); !strings.Contains(said, "it is not known what this step has done: it failed") {
		t.Errorf("%s", said)
	}
	cmd = started("--continue", "--from", "long")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	sleeping := u.pid()
	t.Cleanup(func() { _ = syscall.Kill(sleeping, syscall.SIGKILL) })
	if _, said := u.run(exitBusy, "runbook", "plan.toml", "--state", "state", "--continue", "--yes"); !strings.Contains(said, "what this step has started is still running") {
		t.Errorf("%s", said)
	}
	if err := syscall.Kill(sleeping, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	log, err := os.Open(filepath.Join(u.home, "state/plan/run-0001/long.log"))
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(log.Fd()), unix.LOCK_EX); err != nil { // until it has ended
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if _, said := u.run(exitError, "runbook", "plan.toml", "--state", "state", "--continue"); !strings.Contains(said, "it was cut off") {
		t.Errorf("%s", said)
	}
	write(t, filepath.Join(u.home, "go"), "")
	u.run(exitOK, "runbook", "plan.toml", "--state", "state", "--continue", "--yes")
}

// pid is what a command of a plan has written, or 0.
func (u *user) pid() int {
	b, err := os.ReadFile(filepath.Join(u.home, "pid"))
	if err != nil || !strings.HasSuffix(string(b), "\n") {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		u.t.Fatal(err)
	}
	return pid
}

// At a terminal the plan's questions are asked, and a password once.
func TestRunbook_AtATerminal_Asks(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	u.env = append(u.env, "KURA_REPOSITORY="+u.home+"/repo")
	env := u.env
	u.env = append(slices.Clone(env), "KURA_PASSWORD=a b")
	u.run(exitOK, "init", "-q")
	u.run(exitOK, "backup", "files")
	u.env = env
	write(t, filepath.Join(u.home, "plan.toml"), fmt.Sprintf(`
[snapshots.s]
[[step]]
name = "unknown"
kind = "run"
command = "test -z \"$KURA_PASSWORD\""
again = true
[[step]]
name = "sure"
kind = "confirm"
ask = "is it dark?"
[[step]]
name = "one"
kind = "restore"
from = "s:%[1]s/files"
target = "%[1]s/one"
[[step]]
name = "two"
kind = "restore"
from = "s:%[1]s/files"
target = "%[1]s/two"
[[step]]
name = "itself"
kind = "run"
command = ["kura", "ls", "-q", "{{snapshot.s}}"]
`, u.home))
	p := u.atTerminal(nil, "runbook", "plan.toml")
	p.expect("password for the repository:")
	p.send("a b\n")
	p.expect("is it dark? (y/N)")
	p.send("n\n")
	p.expect("step sure: the answer was no")
	p.wait(exitError)
	p = u.atTerminal(nil, "runbook", "plan.toml", "--continue")
	p.expect("password for the repository:")
	p.send("a b\n")
	p.expect("is it dark? (y/N)")
	p.send("y\n")
	p.expect("was carried out")
	p.wait(exitOK)
	for _, dir := range []string{"one", "two"} {
		if b, err := os.ReadFile(filepath.Join(u.home, dir, "a")); err != nil || string(b) != "hello" {
			t.Errorf("%q, %v", b, err)
		}
	}
}
