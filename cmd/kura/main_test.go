package main

import (
	"errors"
	"flag"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/kura-backup/kura/internal/testserver"
	"github.com/kura-backup/kura/seal"
)

var update = flag.Bool("update", false, "write the golden parts of the scripts")

// keptAgents is where programs are kept that were sent to a server, so that not every test sends its own.
var keptAgents string

// suite is all the tests, with what they share.
type suite struct{ *testing.M }

// Run implements [testscript.TestingM].
func (s suite) Run() int {
	if dir, remove := memoryDir(); dir != "" {
		defer func() { _ = remove() }() // nothing is left to say
		if err := os.Setenv("TMPDIR", dir); err != nil {
			log.Fatal(err)
		}
	}
	dir, err := os.MkdirTemp("", "kura-kept-")
	if err != nil {
		log.Fatal(err)
	}
	keptAgents = dir
	defer os.RemoveAll(dir)
	// Most of them wait for processes.
	flag.Parse()
	if n := runtime.GOMAXPROCS(0); flag.Lookup("test.parallel").Value.String() == strconv.Itoa(n) {
		if err := flag.Set("test.parallel", strconv.Itoa(2*n)); err != nil {
			log.Fatal(err)
		}
	}
	defer testserver.Keep()()
	return s.M.Run()
}

// The tests run the real program as kura, but for the cost of trying a new password, and as kura-costly with that.
func TestMain(m *testing.M) {
	testscript.Main(suite{m}, map[string]func(){
		"kura": func() {
			passwordCost = seal.Cost{Time: 1, Memory: 64, Threads: 1}
			main()
		},
		"kura-costly": main,
	})
}

func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		UpdateScripts:       *update,
		Setup: func(env *testscript.Env) error {
			home := filepath.Join(env.WorkDir, "home")
			env.Setenv("HOME", home)
			env.Setenv("TZ", "UTC")
			return os.MkdirAll(home, 0o755)
		},
		Condition: scriptCondition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":     cmdExits,
			"scrub":     cmdScrub,
			"setsnap":   cmdSetSnap,
			"random":    cmdRandom,
			"corrupt":   cmdCorrupt,
			"wreck":     cmdWreck,
			"files":     cmdFiles,
			"removeone": cmdRemoveOne,
			"keyid":     cmdKeyID,
			"readable":  cmdReadable,
			"catall":    cmdCatAll,
			"aged":      cmdAged,
			"mariadb":   cmdMariaDB,
			"sshd":      cmdSshd,
			"emptied":   cmdEmptied,
			"describe":  cmdDescribe,
			"newer":     cmdNewer,
		},
	})
}

// exits CODE PROGRAM ARGUMENT… runs a program that must end with the exit code.
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGUMENT…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := err.(*exec.ExitError)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

var scrubs = []struct {
	pattern *regexp.Regexp
	by      string
}{
	{regexp.MustCompile(`"seconds_(elapsed|remaining)":[0-9]+,`), ""},
	{regexp.MustCompile(`"(total_duration|inode|uid|gid|size|size_\w+|bytes_read|data_added|data_added_packed|blobs|mode|created)":\s?[0-9.e+-]+`), `"$1":0`},
	{regexp.MustCompile(`[0-9a-f]{32}-[0-9a-f]{64}`), "SID-HASH"},
	{regexp.MustCompile(`\b[0-9a-f]{64}\b`), "HASH"},
	{regexp.MustCompile(`\b[0-9a-f]{32}\b`), "ID"},
	{regexp.MustCompile(`\b[0-9a-f]{16}\b`), "KEY"},
	{regexp.MustCompile(`\b[0-9a-f]{8}\b`), "SHORT"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)`), "TIME"},
	{regexp.MustCompile(`"(user|group|permissions|username|hostname|host|go_version|go_target|revision|version|program_version)":\s?"[^"]*"`), `"$1":"X"`},
}

// scrub FROM TO writes FROM ("stdout", "stderr" or a file) to TO, without what differs from run to run.
// Messages about the progress are left out.
func cmdScrub(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: scrub FROM TO")
	}
	text := ts.ReadFile(args[0])
	work := ts.Getenv("WORK")
	text = strings.ReplaceAll(text, work, "$WORK")
	var out strings.Builder
	for line := range strings.Lines(text) {
		if strings.Contains(line, `"message_type":"status"`) {
			continue
		}
		for _, s := range scrubs {
			line = s.pattern.ReplaceAllString(line, s.by)
		}
		out.WriteString(line)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(out.String()), 0o644))
}

var savedID = regexp.MustCompile(`snapshot ([0-9a-f]{8}) saved`)

// setsnap NAME puts the id of the snapshot that the last command saved into a variable.
func cmdSetSnap(ts *testscript.TestScript, neg bool, args []string) {
	m := savedID.FindStringSubmatch(ts.ReadFile("stdout"))
	if neg || len(args) != 1 || m == nil {
		ts.Fatalf("no snapshot was saved")
	}
	ts.Setenv(args[0], m[1])
}

// random FILE SIZE SEED writes a file of bytes that do not compress.
func cmdRandom(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: random FILE SIZE SEED")
	}
	size, err := strconv.Atoi(args[1])
	ts.Check(err)
	seed, err := strconv.ParseUint(args[2], 10, 64)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), randomBytes(size, seed), 0o644))
}

// corrupt DIR changes a byte in the middle of every file below DIR.
func cmdCorrupt(ts *testscript.TestScript, neg bool, args []string) {
	damageFiles(ts, neg, args, func(b []byte) { b[len(b)/2] ^= 1 })
}

// wreck DIR writes zeros over the middle half of every file below DIR: no parity mends that.
func cmdWreck(ts *testscript.TestScript, neg bool, args []string) {
	damageFiles(ts, neg, args, func(b []byte) { clear(b[len(b)/4 : 3*len(b)/4]) })
}

var errRemoved = errors.New("removed")

// removeone DIR removes one of the files below DIR.
func cmdRemoveOne(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: removeone DIR")
	}
	err := filepath.Walk(ts.MkAbs(args[0]), func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		ts.Check(os.Remove(path))
		return errRemoved
	})
	if !errors.Is(err, errRemoved) {
		ts.Fatalf("no file was removed from %s: %v", args[0], err)
	}
}

func damageFiles(ts *testscript.TestScript, neg bool, args []string, damage func([]byte)) {
	if neg || len(args) != 1 {
		ts.Fatalf("want one folder")
	}
	n := 0
	ts.Check(filepath.Walk(ts.MkAbs(args[0]), func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		n++
		damage(b)
		if err := os.Chmod(path, 0o600); err != nil {
			return err
		}
		return os.WriteFile(path, b, 0o600)
	}))
	if n == 0 {
		ts.Fatalf("no files in %s", args[0])
	}
}

// readable FILE reports whether others than the owner can read a file.
func cmdReadable(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: [!] readable FILE")
	}
	info, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	if got := info.Mode().Perm()&0o077 != 0; got == neg {
		ts.Fatalf("%s has mode %v", args[0], info.Mode())
	}
}

// aged DIR DAYS makes the folders in DIR look as if they had changed so many days earlier.
func cmdAged(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: aged DIR DAYS")
	}
	days, err := strconv.Atoi(args[1])
	ts.Check(err)
	entries, err := os.ReadDir(ts.MkAbs(args[0]))
	ts.Check(err)
	for _, e := range entries {
		info, err := e.Info()
		ts.Check(err)
		was := info.ModTime().AddDate(0, 0, -days)
		ts.Check(os.Chtimes(filepath.Join(ts.MkAbs(args[0]), e.Name()), was, was))
	}
}

var usedKey = regexp.MustCompile(`(?m)^\*([0-9a-f]{16}) `)

// keyid FILE sets $KEYID to the id of the key slot that the key file opens.
func cmdKeyID(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: keyid FILE")
	}
	ts.Check(ts.Exec("kura", "--key-file", args[0], "key", "list"))
	found := usedKey.FindStringSubmatch(ts.ReadFile("stdout"))
	if found == nil {
		ts.Fatalf("kura key list shows no key in use")
	}
	ts.Setenv("KEYID", found[1])
}
