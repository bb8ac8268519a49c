package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kura-backup/kura/backends/lease"
	"github.com/kura-backup/kura/internal/s3proxy"
	"github.com/kura-backup/kura/internal/testserver"
)

// far is a repository in a real object store behind a proxy, used through the real program.
type far struct {
	t     *testing.T
	proxy *s3proxy.Proxy
	dir   string
	env   []string
}

func newFar(t *testing.T, rules ...s3proxy.Rule) *far {
	t.Helper()
	server := testserver.Versitygw(t)
	f := &far{t: t, proxy: s3proxy.New(t, server.Endpoint), dir: t.TempDir()}
	f.proxy.Sign(server.AccessKey, server.SecretKey, server.Region)
	f.proxy.Add(rules...)
	f.env = append(server.Env(),
		"KURA_REPOSITORY=s3:"+f.proxy.URL+"/"+server.Bucket(t)+"/host", "KURA_PASSWORD=a", "HOME="+f.dir, "KURA_CACHE_DIR="+filepath.Join(f.dir, "cache"))
	f.write("tree/a", "hello")
	f.write("tree/b/c", string(randomBytes(3<<20, 1)))
	return f
}

func (f *far) write(name, text string) {
	f.t.Helper()
	path := filepath.Join(f.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		f.t.Fatal(err)
	}
}

// kura runs kura, which must end with the exit code, and returns all that it prints.
func (f *far) kura(code int, args ...string) string {
	f.t.Helper()
	cmd := exec.Command("kura", args...)
	cmd.Env = append(os.Environ(), f.env...)
	cmd.Dir = f.dir
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		f.t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		f.t.Fatalf("kura %s ended with %d, want %d:\n%s", strings.Join(args, " "), got, code, out)
	}
	return string(out)
}

func (f *far) wants(out string, parts ...string) {
	f.t.Helper()
	for _, part := range parts {
		if !strings.Contains(out, part) {
			f.t.Errorf("%q is not in:\n%s", part, out)
		}
	}
}

// leases counts those that were put.
func (f *far) leases() int {
	f.t.Helper()
	n := 0
	for _, r := range f.proxy.Requests() {
		if r.Op == s3proxy.Put && strings.Contains(r.Path, "/lease/") {
			n++
		}
	}
	return n
}

func TestSingleWriter_StoreWithoutCreateOnly_NeedsTheFlagAndWorks(t *testing.T) {
	t.Parallel()
	for name, rule := range map[string]s3proxy.Rule{
		"ignores the header": s3proxy.On(s3proxy.Put).Always().IgnoreCreateOnly(),
		"answers 501":        s3proxy.On(s3proxy.Put).Always().RefuseCreateOnly(),
	} {
		t.Run(name, func(t *testing.T) {
			f := newFar(t, rule)
			f.wants(f.kura(1, "init"), "does not keep writers apart", "hint: kura init --single-writer", "hint: kura doctor -r s3:")
			f.wants(f.kura(1, "doctor"), "fatal: ", "create-only")
			f.wants(f.kura(0, "doctor", "--single-writer"), "all is well")
			f.kura(10, "snapshots")

			f.kura(0, "init", "--single-writer")
			f.kura(0, "backup", "tree")
			f.write("tree/d", "more")
			f.kura(0, "backup", "tree")
			f.wants(f.kura(0, "snapshots"), "2 snapshots")
			f.kura(0, "forget", "--keep-last", "1", "--prune")
			f.kura(0, "restore", "latest:"+f.dir+"/tree", "--target", "out")
			if out, err := exec.Command("diff", "-r", filepath.Join(f.dir, "tree"), filepath.Join(f.dir, "out")).CombinedOutput(); err != nil {
				t.Errorf("%v:\n%s", err, out)
			}
			f.kura(0, "check", "--read-data")
			f.wants(f.kura(0, "unlock"), "nothing to do")
			if f.leases() == 0 {
				t.Error("nobody took a lease")
			}
		})
	}
}

// A backup that is killed keeps others out until the lease is taken from it.
func TestSingleWriter_KilledClient_KeepsOthersOutUntilUnlock(t *testing.T) {
	t.Parallel()
	f := newFar(t, s3proxy.On(s3proxy.Put).Always().IgnoreCreateOnly())
	f.kura(0, "init", "--single-writer")
	f.proxy.Clear()
	f.proxy.Add(s3proxy.On(s3proxy.Put).Key("/log/").Always().Stall(time.Hour), s3proxy.On(s3proxy.Put).Always().IgnoreCreateOnly())
	cmd := exec.Command("kura", "backup", "tree")
	cmd.Env, cmd.Dir = append(os.Environ(), f.env...), f.dir
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for i := 0; f.leases() < 2; i++ { // the first is that of init
		if time.Sleep(10 * time.Millisecond); i > 18_000 {
			t.Fatal("the backup takes no lease")
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // which says that it was killed
	f.proxy.Clear()
	f.proxy.Add(s3proxy.On(s3proxy.Put).Always().IgnoreCreateOnly())

	f.wants(f.kura(11, "backup", "tree"), "another client is writing: process ", "kura unlock")
	f.wants(f.kura(0, "snapshots"), "no snapshots")
	f.wants(f.kura(11, "unlock"), "there is no such process any more")
	f.kura(0, "unlock", "--force")
	f.kura(0, "backup", "tree")
	f.wants(f.kura(0, "snapshots"), "1 snapshot")
}

// A machine or container of the same name may have the process.
func TestDeadHere_SameName_IsNoProof(t *testing.T) {
	t.Parallel()
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	ended := exec.Command("true")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		holder lease.Holder
		want   string
	}{
		{lease.Holder{Host: host + "x", PID: ended.Process.Pid}, ""},
		{lease.Holder{Host: host, PID: os.Getpid()}, ", as this one is called; here there is a process of that number"},
		{lease.Holder{Host: host, PID: ended.Process.Pid}, ", as this one is called; if no other machine or container is, there is no such process any more"},
	} {
		if got := deadHere(c.holder); got != c.want {
			t.Errorf("%+v: %q", c.holder, got)
		}
	}
}

func TestInit_SoundStore_NeedsNoFlagAndLeavesNoProbe(t *testing.T) {
	t.Parallel()
	f := newFar(t)
	f.kura(0, "init")
	probes := 0
	for _, r := range f.proxy.Requests() {
		if strings.Contains(r.Path, "/probe/") {
			probes++
		}
	}
	if probes == 0 || probes > 30 {
		t.Errorf("%d requests to try out the store", probes)
	}
	f.wants(f.kura(0, "doctor"), "all is well")
	f.wants(f.kura(1, "init"), "there is a repository at ")
	f.kura(0, "backup", "tree")
	if n := f.leases(); n > 0 {
		t.Errorf("%d leases", n)
	}
}

func TestDoctor_NoSuchBucket_EndsWith10(t *testing.T) {
	t.Parallel()
	f := newFar(t)
	f.wants(f.kura(10, "doctor"), "hint: kura doctor looks at a place that is there")
}
