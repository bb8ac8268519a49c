package redis

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/kura-backup/kura/internal/testserver"
)

// withAOF are the arguments of a server that has written what a client was answered: with its usual ones it puts that off while
// it waits for the disk, and when it is killed then, it has lost it.
var withAOF = []string{"--appendonly", "yes", "--appendfsync", "no"}

func command(args ...string) string {
	b := new(bulk)
	b.add(args...)
	return b.buf.String()
}

// Wherever a file of commands is cut off, what is whole is whole commands and transactions.
func TestScanAOF_CutAnywhere_WholeCommands(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var text string
		ends := []int{0}
		for range rapid.IntRange(0, 6).Draw(t, "commands") {
			one := command("SET", rapid.StringN(0, 40, 60).Draw(t, "key"), strings.Repeat("x", rapid.IntRange(0, 50).Draw(t, "value")))
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				one = command("MULTI") + one + one + command("exec")
			case 1:
				one = "#TS:1700000000\r\n"
			}
			text += one
			ends = append(ends, len(text))
		}
		cut := rapid.IntRange(0, len(text)).Draw(t, "cut")
		got, err := scanAOF(strings.NewReader(text[:cut]))
		if err != nil {
			t.Fatal(err)
		}
		want := 0
		for _, e := range ends {
			if e <= cut {
				want = e
			}
		}
		if int(got.whole) != want {
			t.Fatalf("%d of %d bytes are whole, want %d: %q", got.whole, cut, want, text[:cut])
		}
	})
}

func TestScanAOF_NoCommands_Damaged(t *testing.T) {
	for _, text := range []string{"hello\r\n", "*0\r\n", "*1\r\nPING\r\n", "*1\r\n$4\r\nPINGX\r\n", "*-1\r\n", strings.Repeat("x", 1<<20), "*1\r\n$99999999999999\r\n"} {
		if _, err := scanAOF(strings.NewReader(text)); !errors.Is(err, ErrDamagedAOF) {
			t.Errorf("%.20q: %v", text, err)
		}
	}
}

func FuzzScanAOF(f *testing.F) {
	f.Add([]byte(command("SET", "a", "b") + "#TS:1\r\n" + command("MULTI") + command("EXEC")))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := scanAOF(bytes.NewReader(b)); err == nil && (got.whole > got.read || got.read > int64(len(b))) {
			t.Errorf("%+v of %d bytes", got, len(b))
		}
	})
}

func TestParseManifest_Hostile_Refused(t *testing.T) {
	for _, text := range []string{
		"", "file x seq 1\n", "file ../x seq 1 type b\n", "file x seq 1 type z\n", "file x seq q type b\n", "file x seq 1 type i\nfile y seq 1 type b\n",
		"file \"x seq 1 type b\n", "file x seq 1 type\n",
	} {
		if _, _, err := parseManifest(text); !errors.Is(err, ErrManifest) {
			t.Errorf("%q: %v", text, err)
		}
	}
	text := "# made by a server\nfile \"a b.rdb\" seq 2 type b\nfile old seq 1 type h\nfile i seq 3 type i startoffset 5\n"
	files, clean, err := parseManifest(text)
	if err != nil || len(files) != 2 || files[0].name != "a b.rdb" || strings.Contains(clean, "old") || !strings.Contains(clean, "startoffset 5") {
		t.Errorf("%+v, %q, %v", files, clean, err)
	}
}

func FuzzParseManifest(f *testing.F) {
	f.Add("file \"a b.rdb\" seq 2 type b\n")
	f.Fuzz(func(t *testing.T, text string) {
		files, clean, err := parseManifest(text)
		if err != nil {
			return
		}
		if again, _, err := parseManifest(clean); err != nil || len(again) != len(files) {
			t.Errorf("%q: %v", clean, err)
		}
	})
}

// stage writes what a source has written into a folder, as a restore does.
func stage(t testing.TB, w interface {
	Paths() []string
	Bytes(string) []byte
}, d *Details, to string,
) string {
	t.Helper()
	dir, err := os.MkdirTemp(to, "staged-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	for _, p := range w.Paths() {
		rel, ok := strings.CutPrefix(p, d.Folder()+"/")
		if !ok {
			continue
		}
		if rel == aofFolder {
			if err := os.Mkdir(filepath.Join(dir, rel), 0o700); err != nil {
				t.Fatal(err)
			}
			continue
		}
		write(t, filepath.Join(dir, rel), w.Bytes(p))
	}
	return dir
}

// While a server writes and rewrites its files each backup is a state that it had: of a counter and its copy, which are set together, both.
func TestBackup_AppendOnlyUnderLoad_StateThatWas(t *testing.T) {
	t.Parallel()
	r := testserver.NewRedis(t, withAOF...)
	c := connect(t, r)
	c.fill(0, 500)
	stop := make(chan struct{})
	var writers sync.WaitGroup
	writers.Add(2)
	go func() {
		defer writers.Done()
		w := connect(t, r)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			w.do("MULTI")
			w.args("SET", "one", strconv.Itoa(n))
			w.args("SET", "two", strconv.Itoa(n))
			w.do("EXEC")
		}
	}()
	go func() {
		defer writers.Done()
		w := connect(t, r)
		for {
			select {
			case <-stop:
				return
			default:
			}
			_, _ = w.c.do(t.Context(), "BGREWRITEAOF") // may be under way
		}
	}()
	last := -1
	for range 5 {
		w := mustBackup(t, Options{AOF: filepath.Join(r.Dir, aofFolder)})
		d := detailsOf(t, w)
		fresh := testserver.NewRedis(t, "--appendonly", "yes", "--aof-load-truncated", "no")
		fresh.Stop()
		empty(t, fresh.Dir)
		in, err := (&Target{Dir: fresh.Dir}).Install(t.Context(), stage(t, w, d, fresh.Dir), d)
		if err != nil {
			t.Fatal(err)
		}
		fresh.Start(t)
		f := connect(t, fresh)
		one, two := f.do("GET one"), f.do("GET two")
		if one != two {
			t.Errorf("one is %v, two is %v", one, two)
		}
		if n, _ := one.(string); n != "" {
			now, err := strconv.Atoi(n)
			if err != nil || now < last {
				t.Errorf("%v after %d", one, last)
			}
			last = now
		}
		t.Logf("%+v, %d commands", in.Files, in.Commands)
	}
	close(stop)
	writers.Wait()
	if last <= 0 {
		t.Error("nothing was written meanwhile: the test shows nothing")
	}
}

// After an upgrade from a server before Redis 7 the base is what the whole file was: RDB with commands behind it.
func TestBackup_AppendOnlyOfAnUpgradedServer_Restored(t *testing.T) {
	r := testserver.NewRedis(t, withAOF...)
	c := connect(t, r)
	c.fill(0, 100)
	c.do("BGREWRITEAOF")
	c.await("persistence", "aof_rewrite_in_progress:0")
	for n := range 100 {
		c.args("SET", "later:"+strconv.Itoa(n), "x")
	}
	want := c.state()
	r.Stop()
	var old []byte
	for _, pattern := range []string{"*.base.rdb", "*.incr.aof"} {
		files, err := filepath.Glob(filepath.Join(r.Dir, aofFolder, pattern))
		if err != nil || len(files) != 1 {
			t.Fatalf("%s: %v, %v", pattern, files, err)
		}
		b, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		old = append(old, b...)
	}
	empty(t, r.Dir)
	write(t, filepath.Join(r.Dir, "appendonly.aof"), old) // as servers before Redis 7 have it
	r.Start(t)
	same(t, connect(t, r).state(), want)

	o := Options{AOF: filepath.Join(r.Dir, aofFolder)}
	w := mustBackup(t, o)
	d := detailsOf(t, w)
	if base := d.AOF.Files[0]; base.Preamble == 0 || base.RDB.Keys == 0 || base.Commands == 0 || base.Size != int64(len(old)) {
		t.Errorf("%+v", base)
	}
	fresh, target := stopped(t, "--appendonly", "yes", "--aof-load-truncated", "no")
	empty(t, fresh.Dir)
	target.AppendOnly = yes(true)
	staged := stage(t, w, d, fresh.Dir)
	damaged := filepath.Join(staged, aofFolder, d.AOF.Files[0].Name)
	b, err := os.ReadFile(damaged)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][]byte{b[:100], append(bytes.Clone(b), "x\r\n"...), b[:len(b)-3]} {
		write(t, damaged, bad)
		if _, err := target.Install(t.Context(), staged, d); err == nil {
			t.Error("what was staged is not what was saved, and is installed")
		}
	}
	write(t, damaged, b)
	in, err := target.Install(t.Context(), staged, d)
	if err != nil {
		t.Fatal(err)
	}
	if in.Commands == 0 || in.Info == nil {
		t.Errorf("%+v", in)
	}
	fresh.Start(t)
	same(t, connect(t, fresh).state(), want)
	r.Stop()
	write(t, filepath.Join(r.Dir, aofFolder, d.AOF.Files[0].Name), append(bytes.Clone(old), "what is this\r\n"...))
	if _, err := tryBackup(t, o); !errors.Is(err, ErrDamagedAOF) {
		t.Errorf("damaged behind the preamble: %v", err)
	}
}

func empty(t testing.TB, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBackup_AppendOnlyDamaged_Refused(t *testing.T) {
	r := testserver.NewRedis(t, withAOF...)
	c := connect(t, r)
	c.fill(0, 100)
	c.do("BGREWRITEAOF")
	c.await("persistence", "aof_rewrite_in_progress:0")
	c.fill(100, 200)
	r.Stop()
	dir := filepath.Join(r.Dir, aofFolder)
	o := Options{AOF: dir}
	whole := detailsOf(t, mustBackup(t, o)).AOF
	files, err := filepath.Glob(filepath.Join(dir, "*.incr.aof"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	write(t, files[0], text[:len(text)-3])
	cut := detailsOf(t, mustBackup(t, o)).AOF
	if n := len(whole.Files) - 1; cut.Files[n].Dropped == 0 || cut.Files[n].Commands >= whole.Files[n].Commands {
		t.Errorf("%+v, was %+v", cut.Files[n], whole.Files[n])
	}
	write(t, files[0], append(append(bytes.Clone(text), "what is this\r\n"...), text...))
	if _, err := tryBackup(t, o); !errors.Is(err, ErrDamagedAOF) {
		t.Errorf("%v", err)
	}
	write(t, files[0], text)
	if err := os.Remove(files[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := tryBackup(t, o); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if _, err := tryBackup(t, Options{AOF: r.Dir}); !errors.Is(err, ErrNoAOF) {
		t.Errorf("%v", err)
	}
	if text := fmt.Sprint(whole); !strings.Contains(text, "manifest") {
		t.Error(text)
	}
}
