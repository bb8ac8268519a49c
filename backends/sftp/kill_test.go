package sftp_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/retry"
	"github.com/kura-backup/kura/backends/sftp"
	"github.com/kura-backup/kura/internal/testrand"
	"github.com/kura-backup/kura/internal/testserver"
	"github.com/kura-backup/kura/internal/testsys"
)

// Several writers, while somebody kills the ssh processes, the server's sessions and now and then the server:
// what was put is there, what is there is whole, and what was refused for a broken connection never comes.
func TestStore_ConnectionsAndServerKilledInTheMidst_NothingLostNothingHalf(t *testing.T) {
	s, ssh := overSSH(t)
	defer testsys.VerifyNone(t, goleak.IgnoreCurrent(), goleak.IgnoreAnyFunction("github.com/kura-backup/kura/internal/testserver.start.func1"))
	s.options.Connections = 3
	inner := s.create(t)
	store := retry.New(inner, retry.Options{MaxPause: 200 * time.Millisecond})
	defer closed(t, store)
	each := 20
	if testing.Short() {
		each = 10
	}
	var failures atomic.Int64
	var progress atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	var writers, killer sync.WaitGroup
	killed := map[string]int{}
	killer.Go(func() { killed = killSome(ctx, t, inner, ssh, &progress) })
	content := func(name string) []byte { return bytes.Repeat([]byte(name+"\n"), 20_000) }
	// A link whose answer was lost may have been made or not, so the outcome is unclear until somebody looks, as all who put do.
	put := func(name string) {
		want := content(name)
		own, err := backends.Settle(t.Context(), store, name, want, func(got []byte) bool { return bytes.Equal(got, want) })
		if err != nil || !own {
			failures.Add(1)
			t.Errorf("%s: %v, %v", name, own, err)
		}
	}
	for w := range 4 {
		writers.Go(func() {
			for i := range each {
				progress.Add(1)
				put(fmt.Sprintf("data/%02x-%d", i*7%256, w))
				if i%5 == 0 {
					for info, err := range store.List(t.Context(), "data/", "") {
						if err != nil || info.Size != int64(len(content(info.Name))) {
							t.Errorf("listed: %+v, %v", info, err)
							break
						}
					}
				}
			}
		})
	}
	writers.Wait()
	stop()
	killer.Wait()
	n := 0
	for info, err := range store.List(t.Context(), "data/", "") {
		if err != nil {
			t.Fatal(err)
		}
		n++
		if got, err := store.Get(t.Context(), info.Name, 0, -1, nil); err != nil || !bytes.Equal(got, content(info.Name)) {
			t.Errorf("%s: %d bytes, %v", info.Name, len(got), err)
		}
	}
	t.Logf("%d objects, killed: %v, failed: %d", n, killed, failures.Load())
	if n != 4*each {
		t.Errorf("%d objects of %d", n, 4*each)
	}
}

// killSome kills what serves a store until ctx ends, each time after some progress.
func killSome(ctx context.Context, t *testing.T, s *sftp.Store, ssh *testserver.SSH, progress *atomic.Int64) map[string]int {
	killed := map[string]int{}
	random := testrand.New(t)
	for next := int64(4); ; next = progress.Load() + 2 + random.Int64N(5) {
		for progress.Load() < next {
			if ctx.Err() != nil {
				return killed
			}
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Duration(random.Int64N(20e6))) // any moment
		switch random.IntN(5) {
		case 0, 1:
			if pids := s.Processes(); len(pids) > 0 {
				killed["ssh"]++
				_ = syscall.Kill(pids[random.IntN(len(pids))], syscall.SIGKILL) // it may have ended
			}
		case 2, 3:
			if pids := ssh.Sessions(); len(pids) > 0 {
				killed["session"]++
				_ = syscall.Kill(pids[random.IntN(len(pids))], syscall.SIGKILL) // it may have ended
			}
		case 4:
			killed["server"]++
			ssh.Stop()
			if err := ssh.Start(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestOpen_Failures_SayWhatSSHSays(t *testing.T) {
	s, ssh := overSSH(t)
	defer testsys.VerifyNone(t, goleak.IgnoreCurrent())
	closed(t, s.create(t))
	otherKey := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(otherKey, []byte("no key\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		change func(s *server)
		says   string
		kind   backends.Kind
		is     error
	}{
		"unknown host key": {func(s *server) { s.options.Args = "-o UserKnownHostsFile=/dev/null " + s.options.Args }, "Host key verification failed", backends.Permanent, sftp.ErrConnection},
		"wrong user":       {func(s *server) { s.location.User = "nobody" }, "Permission denied", backends.Permanent, sftp.ErrConnection},
		"wrong key": {func(s *server) {
			s.options.Args = "-o IdentityFile=" + otherKey + " -F none -o IdentityAgent=none -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
		}, "Permission denied", backends.Permanent, sftp.ErrConnection},
		"nobody listens": {func(s *server) { s.location.Port = 1 }, "Connection refused", backends.Transient, sftp.ErrConnection},
		"unknown option": {func(s *server) { s.options.Args = "-o NoSuchOption=1" }, "Bad configuration option", backends.Permanent, sftp.ErrConnection},
		"no program":     {func(s *server) { s.options.Command = "/nonexistent/ssh" }, "no such file", backends.Permanent, sftp.ErrConnection},
		"no such folder": {func(s *server) { s.location.Path += "/missing" }, "has no folder", backends.Permanent, backends.ErrNoStore},
		"a file":         {func(s *server) { s.location.Path = ssh.Key }, "not a folder", backends.Permanent, backends.ErrNoStore},
		"not sftp":       {func(s *server) { s.options.Command = "echo Welcome to this server, dear user" }, "", backends.Transient, sftp.ErrConnection},
	} {
		wrong := s
		c.change(&wrong)
		store, err := sftp.Open(t.Context(), wrong.location, wrong.options)
		if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) || backends.KindOf(err) != c.kind || store != nil {
			t.Errorf("%s: %v (%v)", what, err, backends.KindOf(err))
		}
	}
}

func TestPut_FolderThatMayNotBeWritten_ErrDenied(t *testing.T) {
	// What the server refuses to all does not depend on who we are.
	s := directly(t, "-R")
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	store := s.open(t)
	defer closed(t, store)
	for what, err := range map[string]error{
		"Put": store.Put(t.Context(), "config", []byte("x")),
	} {
		if !errors.Is(err, backends.ErrDenied) || backends.KindOf(err) != backends.Permanent {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := os.WriteFile(filepath.Join(s.dir, "config"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := store.Delete(t.Context(), "config"); !errors.Is(err, backends.ErrDenied) {
		t.Errorf("Delete: %v", err)
	}
	if got, err := store.Get(t.Context(), "config", 0, -1, nil); err != nil || string(got) != "x" {
		t.Errorf("Get: %q, %v", got, err)
	}
}

func TestClose_LeavesNoProcess(t *testing.T) {
	s, ssh := overSSH(t)
	s.create(t).Close()
	for what, end := range map[string]func(s *sftp.Store){
		"idle":          func(*sftp.Store) {},
		"server hangs":  func(*sftp.Store) { signalAll(ssh.Sessions(), syscall.SIGSTOP) },
		"ssh was ended": func(s *sftp.Store) { signalAll(s.Processes(), syscall.SIGTERM) },
	} {
		ctx, cancel := context.WithCancel(t.Context())
		store, err := sftp.Open(ctx, s.location, s.options)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for i := range 8 { // enough for more connections
			wg.Go(func() { _ = store.Put(ctx, fmt.Sprintf("data/%d", i), make([]byte, 1<<20)) }) // taken the second time
		}
		wg.Wait()
		pids := store.Processes()
		end(store)
		cancel()
		closed(t, store)
		for _, pid := range pids {
			if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
				t.Errorf("%s: process %d is left: %v", what, pid, err)
			}
		}
		t.Logf("%s: %d processes", what, len(pids))
		signalAll(ssh.Sessions(), syscall.SIGCONT)
	}
}

func signalAll(pids []int, sig syscall.Signal) {
	for _, pid := range pids {
		_ = syscall.Kill(pid, sig) // it may have ended
	}
}

// A server that lets in only one connection at a time is served by one.
func TestStore_FurtherConnectionsRefused_OneHasToDo(t *testing.T) {
	s, ssh := overSSH(t)
	key := ssh.NewKey(t, "secret") // asks each time
	store := s.create(t)
	defer closed(t, store)
	// From now on the key that needs no passphrase is gone.
	if err := os.Rename(key, ssh.Key); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(ssh.Key + ".pub"); err != nil {
		t.Fatal(err)
	}
	before := len(store.Dialed()) // opening the store may have begun a second one, which may have had the key by now
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			if err := store.Put(t.Context(), fmt.Sprintf("data/%d", i), make([]byte, 1<<20)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := len(store.Processes()); n != before {
		t.Errorf("%d connections, want %d", n, before)
	}
}

// Even who is killed leaves no ssh behind: it notices that nobody writes to it any more.
func TestKilled_LeavesNoProcess(t *testing.T) {
	s, ssh := overSSH(t)
	closed(t, s.create(t))
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, "race", "ssh -F "+ssh.Config+" -s kura-test sftp", s.dir, "x")
	in, inErr := cmd.StdinPipe() // it waits for that before it begins
	out, outErr := cmd.StdoutPipe()
	if err := errors.Join(inErr, outErr, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("%q, %v", line, err)
	}
	children := testserver.Children(cmd.Process.Pid)
	if len(children) == 0 {
		t.Fatal("it has no ssh")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	for _, pid := range children {
		for deadline := time.Now().Add(5 * time.Minute); runs(pid); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("process %d is left", pid)
			}
		}
	}
}

// runs says whether a process has not ended, though nobody may have asked yet how it ended.
func runs(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !bytes.Contains(stat, []byte(") Z "))
}
