package redis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/internal/testserver"
	"github.com/kura-backup/kura/source/sourcetest"
)

// saved is a backup of a server with some keys.
func saved(t testing.TB, o Options, keys int) (*sourcetest.Writer, *Details, map[string]string) {
	t.Helper()
	r := testserver.NewRedis(t)
	c := connect(t, r)
	c.fill(0, keys)
	c.do("SELECT 9")
	c.do("SET far 1")
	o.Server = &Server{Socket: r.Socket}
	w := mustBackup(t, o)
	c.do("SELECT 0")
	return w, detailsOf(t, w), c.state()
}

// stopped is the folder of a server that does not run, with the function that starts it.
func stopped(t testing.TB, args ...string) (*testserver.Redis, *Target) {
	t.Helper()
	r := testserver.NewRedis(t, args...)
	r.Stop()
	empty(t, r.Dir)
	return r, &Target{Dir: r.Dir}
}

func yes(b bool) *bool { return &b }

func TestInstall_AnyForm_ServerHasTheSame(t *testing.T) {
	for _, exact := range []bool{false, true} {
		w, d, want := saved(t, Options{Exact: exact}, 500)
		for _, appendOnly := range []bool{false, true} {
			r, target := stopped(t, "--appendonly", map[bool]string{true: "yes", false: "no"}[appendOnly])
			target.AppendOnly = yes(appendOnly)
			in, err := target.Install(t.Context(), stage(t, w, d, target.Dir), d)
			if err != nil {
				t.Fatal(err)
			}
			tried, err := target.Try(t.Context(), t.TempDir(), in)
			if err != nil || tried.Keys() != d.RDB.Keys {
				t.Errorf("%+v, %v", tried, err)
			}
			r.Start(t)
			same(t, connect(t, r).state(), want)
		}
	}
}

// hook replaces what makes names change places.
func hook(t *testing.T, f func(from, to string) error) {
	t.Helper()
	was := exchange
	t.Cleanup(func() { exchange = was })
	exchange = func(_ int, from string, _ int, to string, _ uint) error { return f(from, to) }
}

func swap(from, to string) error {
	return unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_EXCHANGE)
}

// What was there lay in the folder of what is fetched for a moment, and the next run deleted it if the first one was killed then.
func TestInstall_KilledWhenItHasExchanged_WhatWasThereStays(t *testing.T) {
	w, d, _ := saved(t, Options{}, 20)
	_, target := stopped(t)
	target.Replace = true
	write(t, filepath.Join(target.Dir, dumpFile), []byte("old"))
	s, err := target.Stage()
	if err != nil {
		t.Fatal(err)
	}
	staged := stage(t, w, d, s.Path)
	hook(t, func(from, to string) error {
		if err := swap(from, to); err != nil {
			t.Error(err)
		}
		panic("killed")
	})
	func() {
		defer func() {
			if recover() == nil {
				t.Error("nothing was exchanged")
			}
		}()
		_, _ = target.Install(t.Context(), staged, d)
	}()
	s.lock.Close()
	if s, err = target.Stage(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	kept := false
	entries, err := os.ReadDir(target.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(target.Dir, e.Name()))
		kept = kept || err == nil && string(b) == "old"
	}
	if !kept {
		t.Errorf("what was there is gone: %v", entries)
	}
}

// withOldDump is a server that stands still, and has a dump which is to be replaced.
func withOldDump(t *testing.T) (r *testserver.Redis, target *Target, dump string) {
	t.Helper()
	r, target = stopped(t)
	target.Replace = true
	dump = filepath.Join(target.Dir, dumpFile)
	write(t, dump, []byte("old"))
	return r, target, dump
}

func TestInstall_FileSystemCanNotExchange_MovedAside(t *testing.T) {
	w, d, want := saved(t, Options{}, 20)
	r, target, dump := withOldDump(t)
	hook(t, func(_, _ string) error { return unix.EINVAL })
	in, err := target.Install(t.Context(), stage(t, w, d, target.Dir), d)
	if err != nil || len(in.Aside) != 1 {
		t.Fatalf("%+v, %v", in, err)
	}
	if b, err := os.ReadFile(dump + ".old-1"); err != nil || string(b) != "old" {
		t.Errorf("%q, %v", b, err)
	}
	r.Start(t)
	same(t, connect(t, r).state(), want)
}

// A server that is started while the files are checked has the old data in memory, and saves them over the restored ones.
func TestInstall_ServerIsStartedMeanwhile_SaysSo(t *testing.T) {
	w, d, _ := saved(t, Options{}, 20)
	r, target, dump := withOldDump(t)
	hook(t, func(from, to string) error {
		err := swap(from, to)
		r.Start(t)
		return err
	})
	in, err := target.Install(t.Context(), stage(t, w, d, target.Dir), d)
	if !errors.Is(err, ErrStarted) || in == nil || len(in.Files) != 1 || len(in.Aside) != 1 {
		t.Fatalf("%+v, %v", in, err)
	}

	hook(t, swap)
	write(t, dump, []byte("old")) // and before anything is in its place
	from := filepath.Join(target.Dir, "from")
	write(t, from, []byte("new"))
	i := &install{t: target, ctx: t.Context(), out: new(Installed)}
	if err := i.place(from, dumpFile); !errors.Is(err, ErrRunning) {
		t.Errorf("%v", err)
	}
	if b, err := os.ReadFile(dump); err != nil || string(b) != "old" {
		t.Errorf("%q, %v", b, err)
	}
}

// Servers before Redis 7 know no append-only folder, and start from a single file, or empty.
func TestInstall_ServerOfBeforeRedis7_SingleFileToo(t *testing.T) {
	w, d, want := saved(t, Options{}, 50)
	r, target := stopped(t, "--appendonly", "yes")
	target.Replace = true
	single := filepath.Join(target.Dir, "appendonly.aof")
	write(t, single, []byte("old"))
	if err := target.Check(t.Context(), d); !errors.Is(err, ErrAppendOnly) {
		t.Errorf("of a server that may start from %s: %v", single, err)
	}
	target.AppendOnly = yes(true)
	aof := &Details{Name: "local", AOF: &AOFFolder{Manifest: "appendonly.aof.manifest", Files: []AOFFile{{Name: "f", Type: aofIncr}}}}
	if err := target.Check(t.Context(), aof); !errors.Is(err, ErrIgnored) {
		t.Errorf("a folder, for a server that has a file: %v", err)
	}
	in, err := target.Install(t.Context(), stage(t, w, d, target.Dir), d)
	if err != nil || len(in.Files) != 3 {
		t.Fatalf("%+v, %v", in, err)
	}
	for name, want := range map[string]string{single: "REDIS", single + ".old-1": "old"} {
		if b, err := os.ReadFile(name); err != nil || !strings.HasPrefix(string(b), want) {
			t.Errorf("%s: %.20q, %v", name, b, err)
		}
	}
	// It is appended to: the others may not be the same file.
	for _, name := range []string{dumpFile, "appendonlydir/appendonly.aof.1.base.rdb"} {
		if sameFile(single, filepath.Join(target.Dir, name)) {
			t.Errorf("%s is the same file", name)
		}
	}
	if tried, err := target.Try(t.Context(), t.TempDir(), in); err != nil || tried.Keys() != d.RDB.Keys {
		t.Errorf("%+v, %v", tried, err)
	}
	r.Start(t)
	same(t, connect(t, r).state(), want)
	r.Stop()

	// Where it was not there, the backup knows of which version the server is.
	empty(t, r.Dir)
	d.Server = "redis 6.2.7"
	if in, err = target.Install(t.Context(), stage(t, w, d, target.Dir), d); err != nil || len(in.Files) != 3 || !exists(single) {
		t.Fatalf("%+v, %v", in, err)
	}
	again := &Target{Dir: target.Dir, AppendOnly: yes(true)}
	if err := os.RemoveAll(filepath.Join(target.Dir, aofFolder)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(target.Dir, dumpFile)); err != nil {
		t.Fatal(err)
	}
	if err := again.Check(t.Context(), d); !errors.Is(err, ErrExists) || !strings.Contains(err.Error(), single) {
		t.Errorf("%v", err)
	}
}

// A server looks for the manifest of its own name only, and starts empty without: what it is called nobody knows but the backup.
func TestInstall_AppendOnlyFolderOfAnotherName_KeepsIt(t *testing.T) {
	named := []string{"--appendonly", "yes", "--appendfsync", "no", "--appendfilename", "appendonly-6380.aof"}
	from := testserver.NewRedis(t, named...)
	c := connect(t, from)
	c.fill(0, 9) // without a stream, in which commands leave times of their own
	want := c.state()
	w := mustBackup(t, Options{AOF: filepath.Join(from.Dir, aofFolder), Name: "shop"})
	d := detailsOf(t, w)
	r, target := stopped(t, named...)
	in, err := target.Install(t.Context(), stage(t, w, d, target.Dir), d)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := target.Try(t.Context(), t.TempDir(), in); err != nil {
		t.Error(err)
	}
	r.Start(t)
	same(t, connect(t, r).state(), want)
	r.Stop()

	// What is there tells the name, too.
	w, d, want = saved(t, Options{}, 40)
	target.Replace, target.AppendOnly = true, yes(true)
	if _, err := target.Install(t.Context(), stage(t, w, d, target.Dir), d); err != nil {
		t.Fatal(err)
	}
	r.Start(t)
	same(t, connect(t, r).state(), want)
}

// It synchronises with its master a second after its start, and has nothing left of what was restored.
func TestCheck_ServerIsAReplica_Refused(t *testing.T) {
	d := &Details{Name: "local", RDB: new(RDBFile)}
	conf := filepath.Join(t.TempDir(), "redis.conf")
	for text, refused := range map[string]bool{
		"replicaof 192.0.2.1 6379\n": true, "SLAVEOF 192.0.2.1 6379\n": true, "replicaof 192.0.2.1 6379\nreplicaof No One\n": false, "replicaof no one\n": false,
	} {
		write(t, conf, []byte("port 0\n"+text))
		c, err := ReadConfig(conf)
		if err != nil {
			t.Fatal(err)
		}
		err = (&Target{Dir: t.TempDir(), Config: c}).Check(t.Context(), d)
		if errors.Is(err, ErrReplica) != refused || !refused && err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// The trap: a server with appendonly yes ignores dump.rdb and starts empty.
func TestInstall_AppendOnlyInTheConfiguration_BuildsTheFolder(t *testing.T) {
	w, d, _ := saved(t, Options{}, 100)
	trap, target := stopped(t, "--appendonly", "yes")
	target.AppendOnly = yes(false)
	if _, err := target.Install(t.Context(), stage(t, w, d, target.Dir), d); err != nil {
		t.Fatal(err)
	}
	trap.Start(t)
	if n := connect(t, trap).do("DBSIZE"); n != int64(0) {
		t.Fatalf("%v keys: this server does not have the trap", n)
	}

	r, target := stopped(t, "--appendonly", "yes", "--appendfilename", "my file.aof")
	conf := filepath.Join(t.TempDir(), "redis.conf")
	write(t, conf, []byte("# a comment\nport 0\nappendonly YES\nappendfilename \"my file.aof\"\ndir "+r.Dir+"\n"))
	var err error
	if target.Config, err = findConfig(r.Dir, []string{conf + ".none", conf}); err != nil || target.Config == nil {
		t.Fatalf("%+v, %v", target.Config, err)
	}
	in, err := target.Install(t.Context(), stage(t, w, d, target.Dir), d)
	if err != nil || !in.AppendOnly {
		t.Fatalf("%+v, %v", in, err)
	}
	r.Start(t)
	if n := connect(t, r).do("DBSIZE"); uint64(n.(int64)) != d.RDB.Keys-1 { // one is in another database
		t.Errorf("%v keys", n)
	}
}

func TestInstall_SomethingIsThere_MovedAsideOrRefused(t *testing.T) {
	w, d, want := saved(t, Options{}, 50)
	r, target := stopped(t)
	old := filepath.Join(r.Dir, dumpFile)
	write(t, old, []byte("old"))
	write(t, old+".old-1", []byte("older"))
	staged := stage(t, w, d, target.Dir)
	if _, err := target.Install(t.Context(), staged, d); !errors.Is(err, ErrExists) {
		t.Fatalf("%v", err)
	}
	target.Replace = true
	in, err := target.Install(t.Context(), staged, d)
	if err != nil || len(in.Aside) != 1 || in.Aside[0] != old+".old-2" {
		t.Fatalf("%+v, %v", in, err)
	}
	for name, text := range map[string]string{".old-1": "older", ".old-2": "old"} {
		if b, err := os.ReadFile(old + name); err != nil || string(b) != text {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	r.Start(t)
	same(t, connect(t, r).state(), want)
}

func TestCheck_ServerRuns_Refused(t *testing.T) {
	_, d, _ := saved(t, Options{}, 1)
	r := testserver.NewRedis(t)
	target := &Target{Dir: r.Dir}
	if err := target.Check(t.Context(), d); !errors.Is(err, ErrRunning) || !strings.Contains(err.Error(), fmt.Sprint(r.Pid())) {
		t.Errorf("%v", err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(r.Dir, link); err != nil {
		t.Fatal(err)
	}
	if err := (&Target{Dir: link}).Check(t.Context(), d); !errors.Is(err, ErrRunning) {
		t.Errorf("%v", err)
	}
	// One that can not be seen answers where the configuration says.
	far := &Target{Dir: t.TempDir(), Config: newConfig()}
	far.Config.Socket, far.Config.Port = r.Socket, "0"
	if err := far.Check(t.Context(), d); !errors.Is(err, ErrRunning) {
		t.Errorf("%v", err)
	}
	far.Config.Socket += ".none"
	l, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far.Config.TLSPort, far.Config.Bind = port, []string{"-127.0.0.2", "::1"} // to which TLS need not even begin
	if err := far.Check(t.Context(), d); !errors.Is(err, ErrRunning) || !strings.Contains(err.Error(), "127.0.0.2") {
		t.Errorf("%v", err)
	}
	far.Config.TLSPort = "0"
	if err := far.Check(t.Context(), d); err != nil {
		t.Errorf("%v", err)
	}
}

// A configuration may have come from another machine, where its server goes on.
func TestHosts_AddressesOfOtherMachines_NotAsked(t *testing.T) {
	c := newConfig()
	c.Bind = []string{"127.0.0.1", "192.0.2.1", "-2001:db8::1", "-::1", "127.0.0.5", "0.0.0.0"}
	hosts, err := c.hosts(t.Context())
	if got := strings.Join(hosts, " "); err != nil || got != "127.0.0.1 ::1 127.0.0.5" {
		t.Errorf("%s, %v", got, err)
	}
}

// One that does not answer does not keep the others from being asked.
func TestCheck_FirstAddressIsSilent_NextIsAsked(t *testing.T) {
	t.Parallel()
	silent, talks := sameport(t, "127.0.0.2", "127.0.0.3")
	defer silent.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if n, err := talks.Accept(); err == nil {
			_, _ = io.WriteString(n, "-NOAUTH Authentication required.\r\n")
			_, _ = io.Copy(io.Discard, n)
			n.Close()
		}
	}()
	defer func() {
		talks.Close()
		<-done
	}()
	c := newConfig()
	c.Bind = []string{"127.0.0.2", "127.0.0.3"}
	_, c.Port, _ = net.SplitHostPort(silent.Addr().String())
	if err := c.answers(t.Context()); !errors.Is(err, ErrRunning) || !strings.Contains(err.Error(), "127.0.0.3") {
		t.Errorf("%v", err)
	}
}

// A server that runs a script for long accepts connections, and answers nobody.
func TestCheck_ServerIsTooBusyToAnswer_Refused(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.4:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, d, _ := saved(t, Options{}, 1)
	far := &Target{Dir: t.TempDir(), Config: newConfig()}
	far.Config.Bind = []string{"127.0.0.4"}
	_, far.Config.Port, _ = net.SplitHostPort(l.Addr().String())
	if err := far.Check(t.Context(), d); !errors.Is(err, ErrRunning) || !strings.Contains(err.Error(), l.Addr().String()+", and does not answer") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	if err := far.Check(ctx, d); !errors.Is(err, context.Canceled) {
		t.Errorf("of a run that was told to end: %v", err)
	}
}

// sameport listens at two addresses, at the same port.
func sameport(t *testing.T, a, b string) (net.Listener, net.Listener) {
	t.Helper()
	for {
		first, err := net.Listen("tcp", a+":0")
		if err != nil {
			t.Fatal(err)
		}
		_, port, _ := net.SplitHostPort(first.Addr().String())
		second, err := net.Listen("tcp", net.JoinHostPort(b, port))
		if err == nil {
			return first, second
		}
		first.Close() // somebody else listens there
		if !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatal(err)
		}
	}
}

func TestReadConfig_AsServersRead(t *testing.T) {
	dir := t.TempDir()
	conf := filepath.Join(dir, "redis.conf")
	write(t, conf, []byte("dir './here and\\'s'\nappendonly \"yes\"\nbind 127.0.0.1 -::1\ntls-port 6380\nunixsocket 'it\n"))
	c, err := ReadConfig(conf)
	if err != nil || c.Dir != "./here and's" || !c.AppendOnly || len(c.Bind) != 2 || c.TLSPort != "6380" || c.Socket != "" {
		t.Errorf("%+v, %v", c, err)
	}
	// What a folder is relative to is not known: it is not the one that kura happens to be in.
	t.Chdir(dir)
	write(t, conf, []byte("dir ./\nappendonly yes\n"))
	if c, err := findConfig(dir, []string{conf}); err != nil || c != nil {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestCheck_AppendOnlyNotKnown_Asks(t *testing.T) {
	w, d, _ := saved(t, Options{}, 1)
	_, target := stopped(t)
	if err := target.Check(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	had := *d
	had.AppendOnly = true
	if err := target.Check(t.Context(), &had); !errors.Is(err, ErrAppendOnly) {
		t.Errorf("%v", err)
	}
	target.AppendOnly = yes(true)
	if _, err := target.Install(t.Context(), stage(t, w, d, target.Dir), d); err != nil {
		t.Fatal(err)
	}
	again := &Target{Dir: target.Dir, Replace: true}
	if err := again.Check(t.Context(), d); !errors.Is(err, ErrAppendOnly) {
		t.Errorf("%v", err)
	}
	aof := &Details{Name: "local", AOF: &AOFFolder{Manifest: "m", Files: []AOFFile{{Name: "f", Type: aofIncr}}}}
	again.AppendOnly = yes(false)
	if err := again.Check(t.Context(), aof); !errors.Is(err, ErrIgnored) {
		t.Errorf("%v", err)
	}
	if err := again.Check(t.Context(), nil); !errors.Is(err, ErrNotSaved) {
		t.Errorf("%v", err)
	}
}

func TestInstall_StagedFilesAreNotWhatWasSaved_Refused(t *testing.T) {
	w, d, _ := saved(t, Options{}, 30)
	_, other, _ := saved(t, Options{}, 31)
	_, target := stopped(t)
	if _, err := target.Install(t.Context(), stage(t, w, d, target.Dir), other); !errors.Is(err, ErrOtherKeys) {
		t.Errorf("%v", err)
	}
	staged := stage(t, w, d, target.Dir)
	path := filepath.Join(staged, dumpFile)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	write(t, path, b)
	if _, err := target.Install(t.Context(), staged, d); err == nil {
		t.Error("a damaged file was installed")
	}
	if _, err := os.Stat(filepath.Join(target.Dir, dumpFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// Keys that have expired since are there for the check, and a server that is a master drops them.
func TestTry_ExpiredKeys_AreCounted(t *testing.T) {
	t.Parallel()
	r := testserver.NewRedis(t)
	c := connect(t, r)
	c.do("DEBUG SET-ACTIVE-EXPIRE 0") // however long the backup takes to begin
	for n := range 100 {
		c.args("SET", fmt.Sprint("short", n), "1", "PX", "1000")
	}
	c.do("SET stays 1")
	w := mustBackup(t, Options{Server: &Server{Socket: r.Socket}})
	d := detailsOf(t, w)
	time.Sleep(1200 * time.Millisecond)
	fresh, target := stopped(t)
	in, err := target.Install(t.Context(), stage(t, w, d, target.Dir), d)
	if err != nil {
		t.Fatal(err)
	}
	if tried, err := target.Try(t.Context(), t.TempDir(), in); err != nil || tried.Keys() != 101 {
		t.Errorf("%+v, %v", tried, err)
	}
	if left, err := os.ReadDir(target.Dir); err != nil || len(left) != 2 { // and what was staged
		t.Errorf("%v, %v", left, err)
	}
	fresh.Start(t)
	if n := connect(t, fresh).do("DBSIZE"); n != int64(1) {
		t.Errorf("%v keys", n)
	}
}

func TestTry_ServerCanNotLoad_SaysWhy(t *testing.T) {
	testserver.RedisServer(t)
	target := &Target{Dir: t.TempDir()}
	write(t, filepath.Join(target.Dir, dumpFile), []byte("REDIS0099 no server knows this"))
	_, err := target.Try(t.Context(), t.TempDir(), &Installed{})
	if !errors.Is(err, ErrNotLoad) || !strings.Contains(err.Error(), "version") {
		t.Errorf("%v", err)
	}
}

func TestStage_OneAtATime_DeadRunsAreSweptUp(t *testing.T) {
	target := &Target{Dir: t.TempDir()}
	s, err := target.Stage()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := target.Stage(); !errors.Is(err, ErrBusy) {
		t.Errorf("%v", err)
	}
	write(t, filepath.Join(s.Path, "left"), []byte("x"))
	if err := s.lock.Close(); err != nil { // as if it had died
		t.Fatal(err)
	}
	if s, err = target.Stage(); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(s.Path); err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(target.Dir); err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
	if err := os.Symlink(t.TempDir(), s.Path); err != nil {
		t.Fatal(err)
	}
	if _, err := target.Stage(); err == nil {
		t.Error("a link was followed")
	}
}
