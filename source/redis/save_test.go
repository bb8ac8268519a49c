package redis

import (
	"bytes"
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

	"github.com/kura-backup/kura/internal/testserver"
	"github.com/kura-backup/kura/source/redis/rdb"
)

const dumpPathInSnapshot = "/redis/local/dump.rdb"

func TestBackup_Exact_ByteForByte(t *testing.T) {
	r := testserver.NewRedis(t)
	c := connect(t, r)
	c.fill(0, 3000)
	c.args("CONFIG", "SET", "maxmemory-policy", "allkeys-lru") // files then say how long ago keys were used
	w := mustBackup(t, Options{Server: &Server{Socket: r.Socket}, Exact: true})
	want := load(t, r)
	var out bytes.Buffer
	part := func(suffix string) *io.SectionReader {
		b := content(t, w, dumpPathInSnapshot+suffix)
		t.Logf("%s%s: %d bytes", dumpFile, suffix, len(b))
		return io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))
	}
	if err := rdb.Restore(part(""), part(orderSuffix), part(apartSuffix), &out, 0); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), want) {
		t.Errorf("%d bytes, not the %d that the server saved", out.Len(), len(want))
	}
}

func TestBackup_LastUseChanges_SameBytes(t *testing.T) {
	r := testserver.NewRedis(t, "--maxmemory-policy", "allkeys-lfu")
	c := connect(t, r)
	c.fill(0, 500)
	o := Options{Server: &Server{Socket: r.Socket}}
	first := content(t, mustBackup(t, o), dumpPathInSnapshot)
	raw := load(t, r)
	for range 50 {
		c.do("GET app:session:0000001")
	}
	second := content(t, mustBackup(t, o), dumpPathInSnapshot)
	if bytes.Equal(raw, load(t, r)) {
		t.Fatal("the server's file is the same: the test shows nothing")
	}
	if !bytes.Equal(first, second) {
		t.Error("the use of a key changes what is stored")
	}
}

// slowly lets the server take some time for each key that it saves.
func (c *client) slowly(microseconds int) {
	c.args("CONFIG", "SET", "rdb-key-save-delay", fmt.Sprint(microseconds))
}

func (c *client) await(section, line string) {
	c.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if strings.Contains(c.args("INFO", section).(string), line+"\r\n") {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("no %s", line)
		}
	}
}

// underway has the server begin what takes some seconds, and returns when it is at it. It begins anew if that was over when it was asked.
func (c *client) underway(command, line string) {
	c.t.Helper()
	for !strings.Contains(c.args("INFO", "persistence").(string), line+"\r\n") {
		c.do(command)
	}
}

// A save that is under way began before the backup: what was written since is not in it.
func TestBackup_SaveUnderWay_WaitsAndSavesAgain(t *testing.T) {
	t.Parallel()
	r := testserver.NewRedis(t)
	c := connect(t, r)
	c.fill(0, 300)
	c.slowly(10_000)
	c.underway("BGSAVE", "rdb_bgsave_in_progress:1")
	c.slowly(0)
	c.do("SET late yes")
	w := mustBackup(t, Options{Server: &Server{Socket: r.Socket}})
	if !bytes.Contains(content(t, w, dumpPathInSnapshot), []byte("late")) {
		t.Error("what was written before the backup began is missing")
	}
}

func TestBackup_AppendOnlyRewritten_SavesAfterwards(t *testing.T) {
	t.Parallel()
	r := testserver.NewRedis(t, "--appendonly", "yes")
	c := connect(t, r)
	c.fill(0, 300)
	c.slowly(10_000)
	c.underway("BGREWRITEAOF", "aof_rewrite_in_progress:1")
	c.slowly(0)
	w := mustBackup(t, Options{Server: &Server{Socket: r.Socket}})
	if n := detailsOf(t, w).RDB.Keys; int64(n) != c.do("DBSIZE") {
		t.Errorf("%d keys", n)
	}
}

func TestBackup_SaveFails_NothingIsSaved(t *testing.T) {
	r := testserver.NewRedis(t)
	c := connect(t, r)
	c.fill(0, 200)
	c.do("SAVE")        // an old file must not be taken for the new one
	c.slowly(1_000_000) // it does not come to its end
	child := make(chan struct{})
	go func() {
		defer close(child)
		c.await("persistence", "rdb_bgsave_in_progress:1")
		killChildren(t, r.Pid())
	}()
	w, err := tryBackup(t, Options{Server: &Server{Socket: r.Socket}})
	<-child
	if !errors.Is(err, ErrSaveFailed) || w.Entry(dumpPathInSnapshot) != nil {
		t.Errorf("%v", err)
	}
}

// killChildren ends the processes that a server has started.
func killChildren(t *testing.T, pid int) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Error(err)
	}
	for _, s := range stats {
		text, err := os.ReadFile(s)
		if err != nil {
			continue
		}
		var child, parent int
		var state string
		_, after, _ := strings.Cut(string(text), ") ")
		if _, err := fmt.Sscan(string(text), &child); err != nil {
			continue
		}
		if _, err := fmt.Sscan(after, &state, &parent); err == nil && parent == pid {
			if err := syscall.Kill(child, syscall.SIGKILL); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestBackup_ServerDiesWhileItSaves_NothingIsSaved(t *testing.T) {
	for _, via := range []Via{BGSave, Replica} {
		r := testserver.NewRedis(t)
		c := connect(t, r)
		c.fill(0, 200)
		c.slowly(1_000_000) // it does not come to its end
		died := make(chan struct{})
		go func() {
			defer close(died)
			c.await("persistence", "rdb_bgsave_in_progress:1")
			r.Stop()
		}()
		w, err := tryBackup(t, Options{Server: &Server{Socket: r.Socket}, Via: via})
		<-died
		if err == nil || w.Entry(dumpPathInSnapshot) != nil {
			t.Errorf("%s: %v", via, err)
		}
	}
}

func TestBackup_TooSlow_Fails(t *testing.T) {
	t.Parallel()
	r := testserver.NewRedis(t)
	c := connect(t, r)
	c.fill(0, 200)
	c.slowly(1_000_000)
	_, err := tryBackup(t, Options{Server: &Server{Socket: r.Socket}, Wait: 100 * time.Millisecond})
	if !errors.Is(err, ErrSlowSave) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s, err := New(Options{Server: &Server{Socket: r.Socket}})
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(100*time.Millisecond, cancel)
	if err := s.Write(ctx, nothing{}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// Another server's file is not the one that was just saved.
func TestBackup_OldFile_Refused(t *testing.T) {
	t.Parallel()
	r, other := testserver.NewRedis(t), testserver.NewRedis(t)
	connect(t, other).do("SET a 1")
	connect(t, other).do("SAVE")
	_, err := tryBackup(t, Options{Server: &Server{Socket: r.Socket}, RDB: filepath.Join(other.Dir, dumpFile)})
	if !errors.Is(err, ErrOtherFile) {
		t.Errorf("%v", err)
	}
}

// The path may be one at which another server, in a container of its own, saves at the same moment.
func TestBackup_AnotherServerSavesThere_Refused(t *testing.T) {
	t.Parallel()
	r, other := testserver.NewRedis(t), testserver.NewRedis(t)
	c := connect(t, other)
	c.do("DEBUG POPULATE 5000")
	c.do("SAVE")
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				c.do("SAVE")
			}
		}
	}()
	for range 5 {
		if _, err := tryBackup(t, Options{Server: &Server{Socket: r.Socket}, RDB: filepath.Join(other.Dir, dumpFile)}); !errors.Is(err, ErrOtherFile) {
			t.Errorf("%v", err)
		}
	}
	close(stop)
	<-done
}

func TestWitness_FileOfAnother_Refused(t *testing.T) {
	path := filepath.Join(t.TempDir(), dumpFile)
	write(t, path, []byte("old"))
	old, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Unix(1_700_000_000, 0)
	w := witness{path: path, began: began, opened: began.Add(3 * time.Second), least: 10_000, most: 20_000, replication: "a"}
	details := func(second int, keys uint64, id string) *Details {
		at := began.Add(time.Duration(second) * time.Second)
		return &Details{SavedAt: &at, RDB: &RDBFile{Keys: keys, Info: &rdb.Info{Facts: map[string]string{"repl-id": id}}}}
	}
	check := func(w witness, d *Details) error {
		f, err := openFile(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		return w.objects(f, d)
	}
	for _, d := range []*Details{details(0, 10_000, ""), details(-1, 10_000, ""), details(3, 41_000, "a"), details(1, 4_500, "")} {
		if err := check(w, d); err != nil {
			t.Errorf("%v: %v", d.SavedAt, err)
		}
	}
	for name, d := range map[string]*Details{
		"before": details(-2, 10_000, ""), "after": details(4, 10_000, ""), "another's": details(1, 10_000, "b"), "many keys": details(1, 41_001, ""), "few keys": details(1, 4_499, ""),
	} {
		if err := check(w, d); !errors.Is(err, ErrOtherFile) {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.began = old.ModTime().Add(-time.Minute)
	unknown := &Details{RDB: &RDBFile{}}
	if err := check(w, unknown); err != nil {
		t.Errorf("of an unknown format: %v", err)
	}
	w.began = old.ModTime().Add(time.Minute)
	if err := check(w, unknown); !errors.Is(err, ErrOtherFile) {
		t.Errorf("of an unknown format, old: %v", err)
	}
	w.began, w.old = old.ModTime().Add(-time.Minute), old
	if err := check(w, unknown); !errors.Is(err, ErrOtherFile) {
		t.Errorf("the one that was there: %v", err)
	}
}

// Servers save of their own accord, too: between the end of the save and when the file is opened it may become that of a later one.
func TestBackup_ServerSavesOnceMore_ThatFileIsTaken(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"persistence", "TIME", "keyspace"} { // that come behind the save
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			r := testserver.NewRedis(t)
			c := connect(t, r)
			c.do("SET a 1")
			ordered, again := false, make(chan struct{})
			socket := inBetween(t, r.Socket, func(sent string) {
				if strings.Contains(sent, "BGSAVE") {
					ordered = true
				}
				if !ordered || !strings.Contains(sent, command) {
					return
				}
				c.await("persistence", "rdb_bgsave_in_progress:0")
				time.Sleep(1100 * time.Millisecond) // files say in seconds when they were begun
				c.do("SET late yes")
				c.do("SAVE")
				ordered = false
				close(again)
			})
			w := mustBackup(t, Options{Server: &Server{Socket: socket}})
			select {
			case <-again:
			default:
				t.Error("no such command came behind the save")
			}
			if n := detailsOf(t, w).RDB.Keys; n != 1 && n != 2 {
				t.Errorf("%d keys", n)
			}
		})
	}
}

// inBetween returns the socket of a proxy in front of a server that calls each before it passes on what a client has sent.
func inBetween(t *testing.T, socket string, each func(sent string)) string {
	t.Helper()
	path := filepath.Join(filepath.Dir(socket), "between")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	go func() {
		defer close(done)
		in, err := l.Accept()
		if err != nil {
			return
		}
		defer in.Close()
		out, err := net.Dial("unix", socket)
		if err != nil {
			t.Error(err)
			return
		}
		answers := make(chan struct{})
		go func() {
			defer close(answers)
			_, _ = io.Copy(in, out)
		}()
		buf := make([]byte, 4096)
		for {
			n, err := in.Read(buf) // a client waits for each answer, so that this is one command
			if err != nil {
				break
			}
			each(string(buf[:n]))
			if _, err := out.Write(buf[:n]); err != nil {
				break
			}
		}
		out.Close()
		<-answers
	}()
	return path
}

// A replica that has lost its master has what it had then.
func TestBackup_ReplicaWithoutMaster_Refused(t *testing.T) {
	t.Parallel()
	r := testserver.NewRedis(t)
	c := connect(t, r)
	c.do("SET a 1")
	c.do("REPLICAOF 127.0.0.1 1")
	o := Options{Server: &Server{Socket: r.Socket}}
	if _, err := tryBackup(t, o); !errors.Is(err, ErrStale) || !strings.Contains(err.Error(), "127.0.0.1:1 is down") {
		t.Errorf("%v", err)
	}
	o.AllowStale = true
	if d := detailsOf(t, mustBackup(t, o)); d.MasterLink != "down" || d.Role != "slave" || d.RDB.Keys != 1 {
		t.Errorf("%+v", d)
	}
}

// What a server, or something in front of it, answers to a password may have that in it.
func TestDial_AnswerRepeatsThePassword_NotShown(t *testing.T) {
	for _, answer := range []string{
		"-ERR unknown command 'AUTH', with args beginning with: 'user' 'secret' ", "-secret is wrong", "-NOPERM secret", "-WRONGPASS secret", "-LOADING secret", "-SECRETSECRETSECRETSECRET",
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			if n, err := l.Accept(); err == nil {
				_, _ = n.Write([]byte(answer + "\r\n"))
				_, _ = io.Copy(io.Discard, n)
				n.Close()
			}
		}()
		c, err := dial(t.Context(), &Server{Addr: l.Addr().String(), User: "user", Password: "secret"})
		if err == nil {
			c.close()
		}
		if err == nil || strings.Contains(strings.ToLower(err.Error()), "secret") {
			t.Errorf("%s: %v", answer, err)
		}
		l.Close()
		<-done
	}
}

func TestBackup_Forbidden_SaysSo(t *testing.T) {
	r := testserver.NewRedis(t)
	c := connect(t, r)
	c.do("ACL SETUSER few on >secret ~* +info +time +bgsave +ping")
	c.do("ACL SETUSER replica on >secret ~* +info +ping +psync +replconf")
	c.do("ACL SETUSER default off")
	of := func(user, password string) *Server { return &Server{Socket: r.Socket, User: user, Password: password} }
	for _, wrong := range []*Server{of("", ""), of("few", "wrong"), of("nobody", "secret"), of("", "secret")} {
		if _, err := tryBackup(t, Options{Server: wrong}); !errors.Is(err, ErrPassword) {
			t.Errorf("%q, %q: %v", wrong.User, wrong.Password, err)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
	if _, err := tryBackup(t, Options{Server: of("few", "secret")}); !errors.Is(err, ErrForbidden) || !strings.Contains(err.Error(), "CONFIG") {
		t.Errorf("%v", err)
	}
	if _, err := tryBackup(t, Options{Server: of("few", "secret"), RDB: filepath.Join(r.Dir, dumpFile)}); err != nil {
		t.Errorf("CONFIG is not needed where the file is named: %v", err)
	}
	if _, err := tryBackup(t, Options{Server: of("few", "secret"), Via: Replica}); !errors.Is(err, ErrNoReplica) {
		t.Errorf("%v", err)
	}
	if _, err := tryBackup(t, Options{Server: of("replica", "secret"), Via: Replica}); err != nil {
		t.Errorf("%v", err)
	}
}

func TestBackup_Replica_SameBytesAsSaved(t *testing.T) {
	r := testserver.NewRedis(t)
	c := connect(t, r)
	c.fill(0, 2000)
	want := content(t, mustBackup(t, Options{Server: &Server{Socket: r.Socket}}), dumpPathInSnapshot)
	for _, diskless := range []string{"yes", "no"} { // with a marker at the end, and with a length in front
		c.args("CONFIG", "SET", "repl-diskless-sync", diskless)
		w := mustBackup(t, Options{Server: &Server{Socket: r.Socket}, Via: Replica, Temp: t.TempDir()})
		got := content(t, w, dumpPathInSnapshot)
		if !bytes.Equal(got, want) {
			t.Errorf("diskless %s: other bytes than the saved ones", diskless)
		}
		if d := detailsOf(t, w); !d.OffsetExact || len(d.ReplicationID) != 40 {
			t.Errorf("%+v", d)
		}
	}
	if left, err := os.ReadDir(r.Dir); err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// The line is slow, in pieces of any size, and the server says meanwhile that it is still there.
func TestBackup_ReplicaOverSlowLine_SameBytes(t *testing.T) {
	t.Parallel()
	r := testserver.NewRedis(t, "--repl-diskless-sync-delay", "1")
	c := connect(t, r)
	c.fill(0, 400)
	want := content(t, mustBackup(t, Options{Server: &Server{Socket: r.Socket}}), dumpPathInSnapshot)
	for _, diskless := range []string{"yes", "no"} {
		c.args("CONFIG", "SET", "repl-diskless-sync", diskless)
		addr := slowLine(t, r.Socket, 0)
		got := content(t, mustBackup(t, Options{Server: &Server{Addr: addr}, Via: Replica, Name: "local"}), dumpPathInSnapshot)
		if !bytes.Equal(got, want) {
			t.Errorf("diskless %s: other bytes", diskless)
		}
		for _, cut := range []int{4096, 30_000} {
			w, err := tryBackup(t, Options{Server: &Server{Addr: slowLine(t, r.Socket, cut)}, Via: Replica, Name: "local"})
			if !errors.Is(err, io.ErrUnexpectedEOF) || w.Entry(dumpPathInSnapshot) != nil {
				t.Errorf("diskless %s, cut after %d bytes: %v", diskless, cut, err)
			}
		}
	}
}

// slowLine returns the address of a proxy that passes on odd pieces, and ends after some bytes unless that is 0.
func slowLine(t *testing.T, socket string, cut int) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		in, err := l.Accept()
		if err != nil {
			return
		}
		defer in.Close()
		out, err := net.Dial("unix", socket)
		if err != nil {
			t.Error(err)
			return
		}
		defer out.Close()
		go func() { _, _ = io.Copy(out, in) }()
		buf := make([]byte, 4099)
		for n, sent := 1, 0; cut == 0 || sent < cut; n = n*7%len(buf) + 1 {
			got, err := out.Read(buf[:n])
			if err != nil {
				return
			}
			if _, err := in.Write(buf[:got]); err != nil {
				return
			}
			sent += got
			if got > 4000 {
				time.Sleep(time.Millisecond)
			}
		}
	}()
	return l.Addr().String()
}

func TestBackup_RDBFile_DamageIsRefused(t *testing.T) {
	r := testserver.NewRedis(t)
	connect(t, r).fill(0, 200)
	connect(t, r).do("SAVE")
	good := load(t, r)
	path := filepath.Join(t.TempDir(), "copy.rdb")
	try := func(b []byte) error {
		write(t, path, b)
		_, err := tryBackup(t, Options{RDB: path})
		return err
	}
	if err := try(good); err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(good)
	flipped[len(good)/2] ^= 1
	newer := append([]byte("REDIS0099"), flipped[9:]...)
	for name, b := range map[string][]byte{"truncated": good[:len(good)-1], "half": good[:len(good)/2], "flipped": flipped, "empty": nil, "of a newer server and flipped": newer} {
		if _, ok := errors.AsType[*rdb.DamageError](try(b)); !ok {
			t.Errorf("%s: %v", name, try(b))
		}
	}
}

func TestBackup_UnknownFormat_AsItIs(t *testing.T) {
	b := []byte("REDIS0099 something that is to come\x00\x00\x00\x00\x00\x00\x00\x00")
	path := filepath.Join(t.TempDir(), "dump.rdb")
	write(t, path, b)
	w := mustBackup(t, Options{RDB: path})
	if !bytes.Equal(content(t, w, dumpPathInSnapshot), b) {
		t.Error("other bytes")
	}
	if d := detailsOf(t, w).RDB; d.Form != Original || !strings.Contains(d.Reason, "REDIS0099") {
		t.Errorf("%+v", d)
	}
}

func TestNew_OptionsThatDoNotFit_Refused(t *testing.T) {
	s := &Server{Socket: "s"}
	for _, o := range []Options{
		{},
		{Via: Replica},
		{Via: BGSave, RDB: "f"},
		{RDB: "f", AOF: "d"},
		{Server: s, Via: Replica, RDB: "f"},
		{Via: AOF, RDB: "f"},
		{Server: s, Name: "a/b"},
		{Server: s, Name: ".."},
		{Server: s, Via: RDB, RDB: "f"},
	} {
		if _, err := New(o); !errors.Is(err, ErrVia) && !errors.Is(err, ErrNoSource) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	for want, s := range map[string]*Server{
		"/redis/local": s, "/redis/db1": {Addr: "db1:6379"}, "/redis/db1-6380": {Addr: "db1:6380"}, "/redis/local-7000": {Addr: "localhost:7000"},
		"/redis/fe80__1": {Addr: "[fe80::1]"},
	} {
		src, err := New(Options{Server: s})
		if err != nil || src.Paths()[0] != want {
			t.Errorf("%+v: %v, %v", s, src, err)
		}
	}
}
