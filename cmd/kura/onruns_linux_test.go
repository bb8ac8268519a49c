package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kura-backup/kura/internal/testserver"
	"github.com/kura-backup/kura/internal/testsys"
	"github.com/kura-backup/kura/internal/treecmp"
)

// farBox is a box whose source is reached through an sshd.
type farBox struct {
	*box
	server *testserver.SSH
	there  string // where private folders are made
	ssh    string // command
}

const farMachine = "ssh://kura-test"

// newFarBox starts a server on which programs are kept in a folder.
func newFarBox(t *testing.T, kept string) *farBox {
	t.Helper()
	there := t.TempDir()
	b := &farBox{box: newBox(t), there: there}
	b.server = testserver.Sshd(t, "SetEnv XDG_RUNTIME_DIR="+there+" TMPDIR="+there+" XDG_CACHE_HOME="+kept)
	b.ssh = "ssh -F " + b.server.Config
	return b
}

// backupArgs are those of a backup of the tree there.
func (b *farBox) backupArgs(more ...string) []string {
	return append([]string{"backup", "--json", "--keep-agent", "--pack-size", "4", "--ssh", b.ssh, farMachine + b.tree}, more...)
}

// traffic is what kura says of its connections.
type traffic struct {
	MessageType string `json:"message_type"`
	Received    int64  `json:"bytes_received"`
	Sent        int64  `json:"bytes_sent"`
	Program     int64  `json:"bytes_program"`
	Connections int    `json:"connections"`
}

func trafficOf(t *testing.T, stdout string) (c traffic) {
	t.Helper()
	for line := range strings.Lines(stdout) {
		if err := json.Unmarshal([]byte(line), &c); err == nil && c.MessageType == "connection" {
			return c
		}
	}
	t.Fatalf("nothing about the connection in %s", stdout)
	return c
}

// wantNothingLeft waits until the other side is as it was before.
func (b *farBox) wantNothingLeft() {
	b.t.Helper()
	waitUntil(b.t, "an empty folder there", func() bool { return len(leftIn(b.there)) == 0 })
}

// fill makes files of noise, of the same size.
func fill(t *testing.T, dir string, files, size int, seed uint64) {
	t.Helper()
	for i := range files {
		name := filepath.Join(dir, fmt.Sprintf("d%d", i%7), fmt.Sprintf("f%d", i))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, randomBytes(size, seed+uint64(i)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// bytesBelow is how many bytes there are in the files below a folder.
func bytesBelow(t *testing.T, dir string) (n int64) {
	t.Helper()
	err := filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			n += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestOn_EveryKindOfEntry_ComesBackEqual: there and back, both times over ssh.
func TestOn_EveryKindOfEntry_ComesBackEqual(t *testing.T) {
	t.Parallel()
	b := newFarBox(t, keptAgents)
	for _, lack := range testsys.Gallery(t, b.tree) {
		t.Logf("not here: %s", lack)
	}
	b.kura(b.backupArgs()...)
	target := filepath.Join(b.dir, "restored")
	b.kura("restore", "latest:"+b.tree, "--keep-agent", "--ssh", b.ssh, "--target", farMachine+target)
	t.Cleanup(func() { testsys.Unlock(t, target) })
	n := treecmp.MustEqual(t, b.tree, target, treecmp.Options{})
	t.Logf("%d entries are equal", n)
	b.wantNothingLeft()
}

// TestOn_SlowLine_SecondBackupSendsLittle: 20 ms there and back, 100 Mbit/s.
func TestOn_SlowLine_SecondBackupSendsLittle(t *testing.T) {
	t.Parallel()
	b := newFarBox(t, t.TempDir())
	host, through := "127.0.0.1", ""
	ns, err := newNamespaces(t)
	if err == nil {
		host, through = ns.host, "ip netns exec "+ns.name+" "
	}
	n := newLine(t, host, b.server)
	switch {
	case err != nil:
		t.Logf("shaped by a proxy alone: %v", err)
		n.delay, n.rate = 10*time.Millisecond, 100_000_000/8
	case ns.delayed:
		t.Log("between two network namespaces, shaped by netem")
	default:
		t.Log("between two network namespaces, shaped by tbf, delayed by a proxy: there is no netem")
		n.delay = 10 * time.Millisecond
	}
	b.ssh = through + n.ssh(b.server, host)

	const files, size = 100, 100_000
	fill(t, b.tree, files, size, 1)
	run := func(what string) (traffic, int64) {
		t.Helper()
		before, start := n.fromServer.Load(), time.Now()
		c := trafficOf(t, b.kura(b.backupArgs()...))
		wire := n.fromServer.Load() - before
		t.Logf("%s: %v; %d bytes from there (%d on the wire), %d to there, beside %d of program", what, time.Since(start).Round(10*time.Millisecond), c.Received, wire, c.Sent, c.Program)
		return c, wire
	}
	first, wire := run("first")
	if first.Program == 0 || first.Received < files*size {
		t.Errorf("first: %+v", first)
	}
	fill(t, b.tree, files/100, size, 1_000_000) // 1 % of the files
	second, wire2 := run("second, 1 % changed")
	if second.Program != 0 {
		t.Errorf("%d bytes of a program that was kept there", second.Program)
	}
	if second.Received*100 >= first.Received*3 || wire2*100 >= wire*3 {
		t.Errorf("the second one sent %.2f %% of the first, on the wire %.2f %%", 100*float64(second.Received)/float64(first.Received), 100*float64(wire2)/float64(wire))
	}
	third, _ := run("third, nothing changed")
	if third.Received >= second.Received {
		t.Errorf("%d bytes for a backup of what is there, %d with 1 %% changed", third.Received, second.Received)
	}
	b.wantRestored("latest", list(t, b.tree))
	b.wantNothingLeft()
}

// TestOn_ConnectionIsCut_ResumesAndStoresNothingTwice cuts the connection in the middle, twice.
func TestOn_ConnectionIsCut_ResumesAndStoresNothingTwice(t *testing.T) {
	t.Parallel()
	whole := newFarBox(t, keptAgents)
	const files, size = 240, 100_000
	fill(t, whole.tree, files, size, 1)
	want := trafficOf(t, whole.kura(whole.backupArgs()...))
	stored := bytesBelow(t, filepath.Join(whole.dir, "repo"))

	b := newFarBox(t, keptAgents)
	fill(t, b.tree, files, size, 1)
	n := newLine(t, "127.0.0.1", b.server)
	b.ssh = n.ssh(b.server, "127.0.0.1")
	n.rate = 30 << 20 // so that packs arrive while others are on their way
	n.cutAfter(want.Received/2, want.Received/4)
	out := b.kura(b.backupArgs()...)
	got := trafficOf(t, out)
	t.Logf("uncut: %d bytes came, %d are stored; cut %d times: %d came over %d connections, %d are stored",
		want.Received, stored, n.cuts.Load(), n.fromServer.Load(), got.Connections, bytesBelow(t, filepath.Join(b.dir, "repo")))
	if n.cuts.Load() != 2 || got.Connections != 3 {
		t.Errorf("cut %d times, %d connections", n.cuts.Load(), got.Connections)
	}
	// What is in the middle of its way is sent again; what has arrived is not. Packs that are not full are padded, by 3 % at most.
	if now := bytesBelow(t, filepath.Join(b.dir, "repo")); now > stored+2<<20 {
		t.Errorf("%d bytes are stored, and %d if nobody cuts the connection", now, stored)
	}
	if lines := strings.Count(b.kura("snapshots", "--json"), `"short_id"`); lines != 1 {
		t.Errorf("%d snapshots", lines)
	}
	b.wantRestored("latest", list(t, b.tree))
	b.wantNothingLeft()
	b.wantNoGarbage()
}

// startHeld starts a backup that takes a while: commands there say when it has begun, and hold it.
func (b *farBox) startHeld(more ...string) (cmd *exec.Cmd, stderr *bytes.Buffer) {
	b.t.Helper()
	began := filepath.Join(b.dir, "began")
	args := append(b.backupArgs(more...), "--before", "touch "+began+"; echo before >>"+b.dir+"/after; while [ ! -e "+b.dir+"/go ]; do sleep 0.05; done",
		"--after", "sleep 0.5; echo $KURA_RESULT >>"+filepath.Join(b.dir, "after"))
	cmd, stderr = b.command(args...), new(bytes.Buffer)
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	await(b.t, began)
	if err := os.Remove(began); err != nil {
		b.t.Fatal(err)
	}
	return cmd, stderr
}

func await(t *testing.T, path string) {
	t.Helper()
	waitUntil(t, "a file "+path, func() bool {
		_, err := os.Stat(path)
		return err == nil
	})
}

// agents are the processes of the program there.
func (b *farBox) agents() (pids []int) {
	for _, pid := range b.server.Sessions() {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err == nil && strings.HasPrefix(string(line), b.there) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// TestOn_Ended_HooksRunAndNothingIsLeft ends a run in the middle in every way. What --before has begun is ended by --after, which
// is run there.
func TestOn_Ended_HooksRunAndNothingIsLeft(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		end   func(b *farBox, cmd *exec.Cmd) error
		exit  int    // -1: it was killed
		said  string // of standard error
		hooks int    // how often --after was run
	}{
		"interrupt here":  {func(_ *farBox, cmd *exec.Cmd) error { return cmd.Process.Signal(os.Interrupt) }, exitInterrupted, "interrupted", 1},
		"kill here":       {func(_ *farBox, cmd *exec.Cmd) error { return cmd.Process.Kill() }, -1, "", 1},
		"terminate there": {func(b *farBox, _ *exec.Cmd) error { return syscall.Kill(b.agents()[0], syscall.SIGTERM) }, exitInterrupted, "interrupted", 1},
		"kill there":      {func(b *farBox, _ *exec.Cmd) error { return syscall.Kill(b.agents()[0], syscall.SIGKILL) }, exitError, "ended with status 137", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newFarBox(t, keptAgents)
			b.write(rand.New(rand.NewPCG(1, 1)), 10, 10, 1000)
			cmd, stderr := b.startHeld()
			if err := c.end(b, cmd); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait() // the state says how it ended
			if got := cmd.ProcessState.ExitCode(); got != c.exit || !strings.Contains(stderr.String(), c.said) {
				t.Errorf("exit code %d, %s", got, stderr)
			}
			b.wantNothingLeft()
			if after, err := os.ReadFile(filepath.Join(b.dir, "after")); err != nil || strings.Count(string(after), "\n") != 1+c.hooks {
				t.Errorf("--before and --after: %q, %v", after, err)
			}
			write(t, filepath.Join(b.dir, "go"), "")
			if err := os.RemoveAll(filepath.Join(b.dir, "after")); err != nil {
				t.Fatal(err)
			}
			b.kura(b.backupArgs()...)
			b.wantRestored("latest", list(t, b.tree))
		})
	}
}

// TestOn_SshIsKilled_RunsAgain: the commands beside the run are run again, too.
func TestOn_SshIsKilled_RunsAgain(t *testing.T) {
	t.Parallel()
	b := newFarBox(t, keptAgents)
	b.write(rand.New(rand.NewPCG(1, 1)), 10, 10, 1000)
	cmd, stderr := b.startHeld()
	for _, pid := range testserver.Children(cmd.Process.Pid) {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	await(t, filepath.Join(b.dir, "began"))
	write(t, filepath.Join(b.dir, "go"), "")
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	b.wantRestored("latest", list(t, b.tree))
	b.wantNothingLeft()
	after, err := os.ReadFile(filepath.Join(b.dir, "after"))
	if want := regexp.MustCompile(`^before\n\w+\nbefore\nsuccess\n$`); err != nil || !want.Match(after) {
		t.Errorf("the commands were run in this order, and told: %q, %v", after, err)
	}
}

// A file system in which no program can be executed is passed over, and named if there is no other.
func TestOn_NoExec_SaysSo(t *testing.T) {
	t.Parallel()
	if !testsys.AsMounter(t) {
		return
	}
	b := newFarBox(t, keptAgents)
	if err := syscall.Mount("tmpfs", b.there, "tmpfs", syscall.MS_NOEXEC, "size=256m"); err != nil {
		t.Skipf("no tmpfs here: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(b.there, 0) })
	b.write(rand.New(rand.NewPCG(1, 1)), 10, 10, 1000)
	b.kura(b.backupArgs()...)
	b.wantNothingLeft()
}

// TestOn_RestoreOfLatestIsCut_GoesOnWithTheSame: a newer snapshot is saved while the line is down.
func TestOn_RestoreOfLatestIsCut_GoesOnWithTheSame(t *testing.T) {
	t.Parallel()
	b := newFarBox(t, keptAgents)
	fill(t, b.tree, 40, 250_000, 1)
	backup := b.backupArgs()
	b.kura(backup...)
	want := list(t, b.tree)

	n := newLine(t, "127.0.0.1", b.server)
	const some = 3_000_000
	n.stallAfter(some)
	first, second, on := filepath.Join(b.dir, "first"), filepath.Join(b.dir, "second"), filepath.Join(b.dir, "on")
	wrapper := filepath.Join(b.dir, "ssh")
	write(t, wrapper, fmt.Sprintf("[ -e %[1]s ] || { touch %[1]s; exec %[4]s \"$@\"; }\ntouch %[2]s\nwhile [ ! -e %[3]s ]; do sleep 0.05; done\nexec %[4]s \"$@\"\n",
		first, second, on, n.ssh(b.server, "127.0.0.1")))
	target := filepath.Join(b.dir, "restored")
	cmd, stderr := b.command("restore", "latest:"+b.tree, "--keep-agent", "--ssh", "sh "+wrapper, "--target", farMachine+target, "--delete"), new(bytes.Buffer)
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "the middle of it", func() bool { return n.toServer.Load() > some-64<<10 })
	for _, pid := range testserver.Children(cmd.Process.Pid) {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	await(t, second)
	fill(t, b.tree, 40, 250_000, 1000)
	b.kura(backup...)
	write(t, on, "")
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	got := list(t, target)
	delete(got, ".") // the folder itself was there for neither
	delete(want, ".")
	if !maps.Equal(got, want) {
		t.Errorf("%d entries were restored, and are not the %d of the first snapshot", len(got), len(want))
	}
	b.wantNothingLeft()
}

// An agent whose connection is cut says so by its status, for which the other side connects again.
func TestAgent_Cut_StatusOfItsOwn(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	folder := t.TempDir()
	write(t, filepath.Join(folder, "kura"), "")
	cmd := b.command("agent", "--folder", folder, "--work", folder)
	cmd.Stdin = nil
	out, _ := cmd.CombinedOutput() // the state says how it ended
	if got := cmd.ProcessState.ExitCode(); got != exitCut {
		t.Errorf("exit code %d, %q", got, out)
	}
	if text, err := os.ReadFile(filepath.Join(folder, "program")); err != nil || string(text) != fmt.Sprintln(cmd.ProcessState.Pid()) {
		t.Errorf("who it was: %q, %v", text, err)
	}
}

// What sudo prints, say, before a connection breaks is not what answers there. If it breaks before that has got here, there was none: then it
// is held for longer.
func TestOn_CutBehindALecture_IsACut(t *testing.T) {
	t.Parallel()
	b := newFarBox(t, keptAgents)
	program := filepath.Join(b.dir, "program")
	for held := 1; ; held *= 2 {
		write(t, program, fmt.Sprintf("#!/bin/sh\necho We trust you have received the usual lecture.\nsleep %d\nset -- $(cat /proc/$PPID/stat)\nkill -9 $4\n", held))
		cmd := b.command("backup", "--ssh", b.ssh, "--reconnect", "0", "--agent-binary", program, farMachine+b.tree)
		out, err := cmd.CombinedOutput()
		if err != nil && strings.Contains(string(out), "the connection was cut") {
			return
		}
		if err == nil || held > 30 || !strings.Contains(string(out), "no connection to") {
			t.Fatalf("%v: %s", err, out)
		}
	}
}
