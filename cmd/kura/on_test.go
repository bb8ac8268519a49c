package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/sshrun"
	"github.com/kura-backup/kura/internal/testserver"
	"github.com/kura-backup/kura/remote"
	"github.com/kura-backup/kura/ui"
)

// sshd [DIR] sets $SSH to the command that reaches a server, as kura-test, on which $THERE is the folder for private files, programs are
// kept in DIR, and there is a sudo that only says that it was asked.
func cmdSshd(ts *testscript.TestScript, neg bool, args []string) {
	kept := keptAgents
	switch {
	case neg || len(args) > 1:
		ts.Fatalf("usage: sshd [DIR]")
	case len(args) == 1:
		kept = ts.MkAbs(args[0])
	}
	there, programs := ts.MkAbs("there"), ts.MkAbs("programs")
	ts.Setenv("THERE", there)
	s, err := testserver.StartSshd("SetEnv XDG_RUNTIME_DIR=" + there + " TMPDIR=" + there + " XDG_STATE_HOME=" + ts.MkAbs("state") + " XDG_CACHE_HOME=" + kept +
		" KURA_PARITY=nonsense PATH=" + programs + ":/usr/bin:/bin:/usr/sbin:/sbin")
	ts.Check(err)
	ts.Defer(s.Remove)
	ts.Setenv("SSH", "ssh -F "+s.Config)
}

// Nothing but text and the drawing of a progress gets to a terminal, wherever it is cut.
func TestHarmless_AnyCut_SameText(t *testing.T) {
	const (
		from = "kura: ä€😀\r\n\x1b[2K\x1b[1A50%\t\x1b]0;title\x07\x1b[31mred\x9b\xc2\x9b2J\xff\u202eend\n"
		want = "kura: ä€😀\r\n\x1b[2K\x1b[1A50%\t?]0;title??[31mred??2J??end\n"
	)
	for step := 1; step <= len(from); step++ {
		var out bytes.Buffer
		h := &harmless{to: &out, live: true}
		for part := range slices.Chunk([]byte(from), step) {
			if n, err := h.Write(part); err != nil || n != len(part) {
				t.Fatalf("%d, %v", n, err)
			}
		}
		if got := out.String(); got != want {
			t.Fatalf("in steps of %d: %q, want %q", step, got, want)
		}
	}
}

// What stood on the screen before can not be drawn over.
func TestHarmless_Up_OnlyOverItsOwn(t *testing.T) {
	const from = "\x1b[1Aone\ntwo\n\x1b[1A\x1b[1A\x1b[2K\x1b[1A"
	for live, want := range map[bool]string{
		true:  "?one\ntwo\n\x1b[1A\x1b[1A\x1b[2K?",
		false: "?one\ntwo\n????",
	} {
		var out bytes.Buffer
		h := &harmless{to: &out, live: live}
		if _, err := h.Write([]byte(from)); err != nil || out.String() != want {
			t.Errorf("live %v: %q, %v", live, &out, err)
		}
	}
}

// Every flag of every command arrives as it was given, with values that have all that could be taken apart.
func TestArgvOf_EveryFlag_ArrivesAsItWasGiven(t *testing.T) {
	given := map[string][]string{
		"stringArray":    {`a,"b" =c`, "[-x]"},
		"stringSlice":    {`"a,b",c`, `"d""e"`},
		"stringToString": {"a=b", `"x,y=1","]z=2"`},
		"string":         {`=a,"b" [c]`},
		"bool":           {"true"}, "count": {"2"}, "int": {"7"}, "uint": {"7"}, "duration": {"3m0s"},
	}
	for name, e := range farCommands {
		for _, few := range []bool{false, true} { // one pair alone is written in another way than several
			cmd, _, err := new(app).rootCommand().Find(strings.Fields(name))
			if err != nil {
				t.Fatal(err)
			}
			again, _, err := new(app).rootCommand().Find(strings.Fields(name))
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range []*cobra.Command{cmd, again} {
				if err := c.ParseFlags(nil); err != nil {
					t.Fatal(err)
				}
			}
			var own pflag.FlagSet
			new(onOptions).addFlags(&own)
			var set []string
			cmd.Flags().VisitAll(func(f *pflag.Flag) {
				if cmd.InheritedFlags().Lookup(f.Name) != nil || own.Lookup(f.Name) != nil || f.Name == nameRepositoryPassword || f.Name == "help" {
					return
				}
				texts := given[f.Value.Type()]
				if few && len(texts) > 1 {
					texts = texts[:1]
				}
				for _, text := range texts {
					if err := cmd.Flags().Set(f.Name, text); err != nil {
						t.Logf("%s --%s takes only some values: %v", name, f.Name, err)
						return
					}
				}
				if len(texts) == 0 {
					t.Logf("%s --%s is a %s", name, f.Name, f.Value.Type())
				}
				set = append(set, f.Name)
			})
			there := ""
			if f := cmd.Flags().Lookup(e.target); f != nil {
				there = f.Value.String()
			}
			argv := argvOf(cmd, []string{"--odd"}, e.target, there)
			if err := again.ParseFlags(argv[len(strings.Fields(name)):]); err != nil {
				t.Fatalf("%s: %q: %v", name, argv, err)
			}
			for _, flag := range set {
				if got, want := again.Flags().Lookup(flag), cmd.Flags().Lookup(flag); got.Value.String() != want.Value.String() || got.Changed != want.Changed {
					t.Errorf("%s --%s: %v, want %v", name, flag, got.Value, want.Value)
				}
			}
			if got := again.Flags().Args(); len(got) != 1 || got[0] != "--odd" {
				t.Errorf("%s: arguments %q", name, got)
			}
		}
	}
}

// The password of a Redis server goes where one is asked for it.
func TestFarEnvironment_Password_OnlyForRedis(t *testing.T) {
	t.Setenv(envRedisPassword, "secret")
	t.Setenv(envPackSize, "8")
	for name, e := range farCommands {
		env := farEnvironment(e.env)
		if got, want := slices.Contains(env, envRedisPassword+"=secret"), strings.HasPrefix(name, "redis "); got != want || !slices.Contains(env, envPackSize+"=8") {
			t.Errorf("%s: %q", name, env)
		}
	}
}

// The command line that is run there says what the one here has said, but for what is of here.
func TestArgvOf_Table(t *testing.T) {
	for line, want := range map[string]string{
		"backup -r /repo -p /pw --on ssh://h --sudo -v -v --tag a --tag b,c --exclude=*.tmp -x /srv -- --odd": "backup --verbose=2 --tag=a --tag=b,c --exclude=*.tmp --one-file-system=true -- /srv --odd",
		"backup --json --limit-upload 5 --no-cache --pack-size 8 ssh://me@h:22/a%20b ssh://me@h:22/~/c":       "backup --json=true --pack-size=8 -- /a b ./c",
		"restore latest:/srv --target ssh://h/new --delete":                                                   "restore --target=/new --delete=true -- latest:/srv",
		"restore latest --on ssh://h --target new":                                                            "restore --target=new -- latest",
		"backup --on ssh://h --stdin-from-command -- echo ssh://h/x":                                          "backup --stdin-from-command=true -- echo ssh://h/x",
		"mysql backup --on ssh://h --password-file /root/pw -p /here":                                         "mysql backup --password-file=/root/pw --",
		"mysql restore latest --on ssh://h --rename-db a=b":                                                   "mysql restore --rename-db=a=b,a=b -- latest",
		"device backup ssh://h/dev/vg/db --snapshot lvm":                                                      "device backup --snapshot=lvm -- /dev/vg/db",
		"backup /here":                           "",
		"backup ssh://h/a /here":                 "!one machine|on another machine",
		"backup ssh://h/a ssh://g/a":             "!two machines",
		"backup --on ssh://g ssh://h/a":          "!two machines",
		"backup ssh://h":                         "!which path",
		"backup --on ssh://h/path /a":            "!not for a path",
		"backup --on ssh://me:secret@h /a":       "!no place for a password",
		"backup --on ssh://-oProxyCommand=x /a":  "!starts with a -",
		"backup --on host /a":                    "!does not begin with ssh://",
		"backup --sudo /a":                       "!--on says which",
		"backup --on ssh://h --stdin":            "!--stdin is of this machine",
		"backup --on ssh://h --files-from -":     "!standard input",
		"backup --on ssh://h --reconnect -1s /a": "!less than nothing",
		"restore latest --target ssh://h":        "!which path",
		"device backup --map - ssh://h/dev/x":    "!standard input",
	} {
		a := new(app)
		root := a.rootCommand()
		cmd, rest, err := root.Find(strings.Fields(line))
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.ParseFlags(rest); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		name := strings.TrimPrefix(cmd.CommandPath(), "kura ")
		o := new(onOptions)
		o.on, _ = cmd.Flags().GetString("on")
		o.reconnect, _ = cmd.Flags().GetDuration("reconnect")
		j, err := o.job(cmd, cmd.Flags().Args(), farCommands[name])
		if why, bad := strings.CutPrefix(want, "!"); bad {
			if err == nil || !slices.ContainsFunc(strings.Split(why, "|"), func(s string) bool { return strings.Contains(err.Error(), s) }) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: %v", line, err)
			}
			continue
		}
		got := ""
		if j != nil {
			got = strings.Join(j.argv, " ")
		}
		if err != nil || got != want {
			t.Errorf("%s:\n%q, %v, want\n%q", line, got, err, want)
		}
	}
}

// emptied DIR waits until a folder is empty, and the processes are gone that were started from it.
func cmdEmptied(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: emptied DIR")
	}
	dir := ts.MkAbs(args[0])
	left := leftIn(dir)
	for range 9000 {
		if len(left) == 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
		left = leftIn(dir)
	}
	ts.Fatalf("left in %s: %q", dir, left)
}

// leftIn returns what there is in a folder, and the processes whose command line names it.
func leftIn(dir string) (left []string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return []string{err.Error()}
	}
	for _, e := range entries {
		left = append(left, e.Name())
	}
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is right
	for _, name := range lines {
		if line, err := os.ReadFile(name); err == nil && strings.Contains(string(line), dir+"/kura-agent.") {
			left = append(left, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return left
}

// After which ends of a connection there is another one.
func TestFarRun_Final_Table(t *testing.T) {
	cut := fmt.Errorf("%w: in the middle", remote.ErrCut)
	unreachable, denied := &sshrun.ConnectionError{Said: "No route to host"}, &sshrun.ConnectionError{Said: "Permission denied (publickey)"}
	saved := []object.SessionID{{1, 2, 3, 4}}
	for name, c := range map[string]struct {
		job       job
		tries     int
		snapshots []object.SessionID
		err       error
		waited    time.Duration
		want      string // of the error; empty: there is another attempt
	}{
		"cut":                           {tries: 1, err: cut},
		"cut for too long":              {tries: 5, err: cut, waited: time.Hour, want: "in the middle"},
		"cut, and not to be done again": {job: job{onOptions: onOptions{reconnect: -1}}, tries: 1, err: cut, want: "in the middle"},
		"cut when all was saved":        {tries: 1, err: cut, snapshots: saved, want: "snapshot 01020304 was saved"},
		"cut while more are saved":      {job: job{farCommand: farCommand{many: true}}, tries: 1, err: cut, snapshots: saved},
		"never reached":                 {tries: 1, err: unreachable, want: "No route to host"},
		"not reached again":             {tries: 2, err: unreachable},
		"refused later":                 {tries: 2, err: denied, want: "Permission denied"},
		"program ends":                  {tries: 2, err: &endedError{status: 137}, want: "status 137"},
		"other version":                 {tries: 1, err: remote.ErrVersion, want: "another version"},
	} {
		c.job.again = c.job.reconnect == 0
		c.job.reconnect = defaultReconnect
		f := &farRun{a: new(app), job: &c.job, traffic: ui.Traffic{Connections: c.tries}}
		err := f.final(t.Context(), remote.Result{Exit: -1, Snapshots: c.snapshots}, c.err, c.waited)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errInterrupted)
	f := &farRun{a: new(app), job: &job{again: true}}
	if err := f.final(ctx, remote.Result{}, cut, 0); !errors.Is(err, errInterrupted) {
		t.Errorf("interrupted: %v", err)
	}
}

// How long a connection may be silent before the program there has answered, and which of them begin the time anew in which others are tried.
func TestFarRun_Silence_IsNoProgress(t *testing.T) {
	f := &farRun{job: &job{onOptions: onOptions{reconnect: defaultReconnect}}}
	for _, c := range []struct {
		connections int
		ago, want   time.Duration
	}{
		{0, 0, firstPatience},
		{1, 0, defaultReconnect},
		{3, 4 * time.Minute, defaultReconnect - 4*time.Minute},
		{9, time.Hour, leastPatience},
	} {
		f.traffic.Connections = c.connections
		if got := f.patience(c.ago); got != c.want {
			t.Errorf("connection %d after %v: %v, want %v", c.connections+1, c.ago, got, c.want)
		}
	}
	for name, c := range map[string]struct {
		result remote.Result
		took   time.Duration
		waited bool
		want   bool
	}{
		"silent for long":   {took: time.Hour},
		"greeted, and cut":  {result: remote.Result{Began: true}, took: time.Second},
		"a command ran":     {result: remote.Result{Began: true}, took: time.Hour, want: true},
		"much has moved":    {result: remote.Result{Began: true, Received: progressBytes}, want: true},
		"others were there": {took: time.Hour, waited: true, want: true},
	} {
		f.waited = c.waited
		if got := f.useful(c.result, c.took); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
