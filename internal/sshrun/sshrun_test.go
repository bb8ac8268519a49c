package sshrun_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kura-backup/kura/internal/sshrun"
	"github.com/kura-backup/kura/internal/testserver"
)

// echo is a program that says where it is, and gives back what it gets.
const echo = `#!/bin/sh
[ "$1 $2" = "agent --folder" ] || exit 9
echo "$3 $(id -u) $0"
case $KURA_TEST_END in kill) kill -9 $$ ;; status) exit 7 ;; esac
cat
`

// world is a server whose users' folders for programs are all below one.
type world struct {
	*testserver.SSH
	dir string
}

// newWorld starts a server. Each place is a line of variables that its users have.
func newWorld(t *testing.T, lines ...string) *world {
	t.Helper()
	w := &world{dir: t.TempDir()}
	for _, name := range []string{"run", "tmp", "cache"} {
		if err := os.Mkdir(filepath.Join(w.dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	set := "SetEnv"
	for name, value := range map[string]string{"XDG_RUNTIME_DIR": "run", "TMPDIR": "tmp", "XDG_CACHE_HOME": "cache"} {
		set += fmt.Sprintf(" %s=%s", name, filepath.Join(w.dir, value))
	}
	w.SSH = testserver.Sshd(t, append(lines, set)...)
	return w
}

// options are those of a program that is text.
func (w *world) options(t *testing.T, program string) sshrun.Options {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := sshrun.FromFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return sshrun.Options{Machine: sshrun.Machine{Host: "kura-test"}, Command: "ssh -F " + w.Config, Binary: b, Run: "abc"}
}

// left returns what there is in the folders.
func (w *world) left(t *testing.T) (names []string) {
	t.Helper()
	for _, dir := range []string{"run", "tmp", "cache"} {
		entries, err := os.ReadDir(filepath.Join(w.dir, dir))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			names = append(names, dir+"/"+e.Name())
		}
	}
	return names
}

// wantNothingLeft waits until nothing is there: after a cut the other side is not waited for.
func (w *world) wantNothingLeft(t *testing.T) {
	t.Helper()
	for range 9000 {
		if len(w.left(t)) == 0 && len(w.Sessions()) == 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("left there: %q, processes %v", w.left(t), w.Sessions())
}

func TestStart_Program_RunsInAPrivateFolderThatGoes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c, err := sshrun.Start(t.Context(), w.options(t, echo))
	if err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	line, err := r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	folder, _, _ := strings.Cut(line, " ")
	if info, err := os.Stat(folder); err != nil || info.Mode().Perm() != 0o700 || filepath.Dir(folder) != filepath.Join(w.dir, "run") {
		t.Errorf("%s: %v, %v", folder, info, err)
	}
	text := strings.Repeat("\x00\xff\r\n~.", 100_000)
	go func() {
		_, _ = io.WriteString(c, text) // reading shows whether it arrived
	}()
	got := make([]byte, len(text))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != text {
		t.Errorf("what was sent did not come back: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if left := w.left(t); len(left) > 0 {
		t.Errorf("left there: %q", left)
	}
	if got := c.Status(); got != 0 {
		t.Errorf("status %d", got)
	}
}

func TestStart_AnyEnd_NothingIsLeft(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(w *world, c *sshrun.Conn){
		"ssh is killed": func(_ *world, c *sshrun.Conn) { c.Kill() },
		"sessions are ended": func(w *world, _ *sshrun.Conn) {
			for _, pid := range w.Sessions() {
				if cmd, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && strings.HasPrefix(string(cmd), "sshd") {
					_ = exec.Command("kill", "-9", fmt.Sprint(pid)).Run() // it may be gone
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			c, err := sshrun.Start(t.Context(), w.options(t, echo))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := bufio.NewReader(c).ReadString('\n'); err != nil {
				t.Fatal(err)
			}
			end(w, c)
			if _, err := io.Copy(io.Discard, c); err != nil && !errors.Is(err, os.ErrClosed) {
				t.Error(err)
			}
			if got := c.Status(); got != -1 {
				t.Errorf("status %d of a program whose connection broke", got)
			}
			w.wantNothingLeft(t)
		})
	}
}

func TestStart_ProgramEnds_StatusIsTold(t *testing.T) {
	t.Parallel()
	for end, want := range map[string]int{"kill": 137, "status": 7} {
		w := newWorld(t)
		o := w.options(t, strings.Replace(echo, "$KURA_TEST_END", end, 1))
		c, err := sshrun.Start(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, c); err != nil {
			t.Error(err)
		}
		if got := c.Status(); got != want {
			t.Errorf("%s: status %d, want %d", end, got, want)
		}
		w.wantNothingLeft(t)
	}
}

// A start-up file that prints, and reads nothing, is no hindrance.
func TestStart_NoisyShell_IsPassedOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "ForceCommand echo Welcome; printf 'no line end'; sh -c \"$SSH_ORIGINAL_COMMAND\"")
	c, err := sshrun.Start(t.Context(), w.options(t, echo))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	w.wantNothingLeft(t)
}

func TestStart_NoShell_SaysWhatWasPrinted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "ForceCommand echo This account is not available.; exit 1")
	if _, err := sshrun.Start(t.Context(), w.options(t, echo)); !errors.Is(err, sshrun.ErrShell) || !strings.Contains(err.Error(), "This account is not available.") {
		t.Errorf("%v", err)
	}
	w = newWorld(t, "ForceCommand yes")
	if _, err := sshrun.Start(t.Context(), w.options(t, echo)); !errors.Is(err, sshrun.ErrShell) || !strings.Contains(err.Error(), "more than 64 KiB") {
		t.Errorf("%v", err)
	}
}

// Login shells differ in what they make of a command line; what they are given means the same to all.
func TestStart_OtherShells_RunIt(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"bash", "dash", "csh", "tcsh", "fish", "zsh", "ksh", "busybox sh"} {
		path, err := exec.LookPath(strings.Fields(shell)[0])
		if err != nil {
			t.Logf("no %s here", shell)
			continue
		}
		line := strings.Replace(shell, strings.Fields(shell)[0], path, 1)
		w := newWorld(t, fmt.Sprintf("ForceCommand %s -c \"$SSH_ORIGINAL_COMMAND\"", line))
		c, err := sshrun.Start(t.Context(), w.options(t, echo))
		if err != nil {
			t.Errorf("%s: %v", shell, err)
			continue
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		w.wantNothingLeft(t)
	}
}

func TestStart_UnknownKeyOfHost_IsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	other := newWorld(t)
	known, err := os.ReadFile(filepath.Join(filepath.Dir(other.Config), "known"))
	if err != nil {
		t.Fatal(err)
	}
	wrong := filepath.Join(t.TempDir(), "known")
	_, key, _ := strings.Cut(string(known), " ")
	if err := os.WriteFile(wrong, []byte(fmt.Sprintf("[%s]:%d %s", w.Host, w.Port, key)), 0o600); err != nil {
		t.Fatal(err)
	}
	o := w.options(t, echo)
	o.Command = "ssh -o UserKnownHostsFile=" + wrong + " -F " + w.Config
	_, err = sshrun.Start(t.Context(), o)
	if failed, ok := errors.AsType[*sshrun.ConnectionError](err); !ok || !failed.InVain() {
		t.Errorf("%v", err)
	}
	o.Command = "ssh -o UserKnownHostsFile=/dev/null -F " + w.Config
	_, err = sshrun.Start(t.Context(), o)
	if failed, ok := errors.AsType[*sshrun.ConnectionError](err); !ok || !failed.InVain() {
		t.Errorf("%v", err)
	}
}

func TestStart_OtherMachine_IsNotSentTheProgram(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.options(t, echo)
	b, err := sshrun.FromFile("testdata/aarch64.elf")
	if err != nil {
		t.Fatal(err)
	}
	o.Binary = b
	if _, err := sshrun.Start(t.Context(), o); !errors.Is(err, sshrun.ErrMachine) {
		t.Errorf("%v", err)
	}
	w.wantNothingLeft(t)
}

func TestStart_Kept_IsSentOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.options(t, echo)
	o.Keep = true
	sum := sha256.Sum256([]byte(echo))
	kept := filepath.Join(w.dir, "cache", "kura", "agent", hex.EncodeToString(sum[:]), "kura")
	for i, sends := range []bool{true, false, true} {
		if i == 2 {
			// What somebody has changed is not run.
			if err := os.WriteFile(kept, []byte(echo+"# changed\n"), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		c, err := sshrun.Start(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if got := c.Uploaded() > 0; got != sends {
			t.Errorf("run %d: %d bytes were sent", i, c.Uploaded())
		}
	}
	if got, err := os.ReadFile(kept); err != nil || string(got) != echo {
		t.Errorf("kept: %v", err)
	}
	if left := w.left(t); len(left) != 1 || left[0] != "cache/kura" {
		t.Errorf("left there: %q", left)
	}
}

// nobody is the number of no process: Linux counts them to 1 << 22.
const nobody = 1 << 30

// A run that was killed together with its shell leaves a folder, which the next one removes; others' stay.
func TestStart_LeftByTheDead_IsSwept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, pid := range map[string]int{"kura-agent.dead": nobody, "kura-agent.lives": os.Getpid()} {
		dir := filepath.Join(w.dir, "run", name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "pid"), fmt.Appendln(nil, pid), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := sshrun.Start(t.Context(), w.options(t, echo))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if left := w.left(t); len(left) != 1 || left[0] != "run/kura-agent.lives" {
		t.Errorf("left there: %q", left)
	}
}

// Only those are waited for that have started the program: one that has not may wait for ever for the rest of it, over a line that is gone.
// What is not a folder of our own is not believed.
func TestStart_EarlierOneHasNotStarted_IsNotWaitedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.options(t, echo)
	for name, files := range map[string]map[string]bool{ // whether the file is a link
		"upload": {"pid": false}, "link": {"pid": true, "started": false},
	} {
		dir := filepath.Join(w.dir, "run", "kura-agent."+o.Run+"."+name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for file, isLink := range files {
			path := filepath.Join(dir, file)
			if isLink {
				if err := os.Symlink(path+".to", path); err != nil {
					t.Fatal(err)
				}
				path += ".to"
			}
			if err := os.WriteFile(path, fmt.Appendln(nil, os.Getpid()), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	o.Waiting = func() { t.Error("it is waited for"); cancel() }
	c, err := sshrun.Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// fakeSSH are the options of a connection by a script in place of ssh.
func fakeSSH(t *testing.T, text string) sshrun.Options {
	t.Helper()
	dir := t.TempDir()
	fake, program := filepath.Join(dir, "ssh"), filepath.Join(dir, "program")
	write(t, fake, text)
	write(t, program, echo)
	b, err := sshrun.FromFile(program)
	if err != nil {
		t.Fatal(err)
	}
	return sshrun.Options{Machine: sshrun.Machine{Host: "h"}, Command: "sh " + fake, Binary: b, Run: "abc"}
}

// What a shell has printed that ended before all was written to it is not lost, whoever still has its output.
func TestStart_NoShellAndNobodyReads_SaysWhatWasPrinted(t *testing.T) {
	t.Parallel()
	const sorry = "echo This account is not available."
	for name, text := range map[string]string{
		"ends":           sorry + "; exit 1",
		"is not alone":   "sleep 1000 & echo $! >'PID'; " + sorry + "; exit 1",
		"prints nothing": "sleep 1000 & echo $! >'PID'; exit 1",
		"does not end":   "exec <&-; echo $$ >'PID'; exec sleep 1000",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pid := filepath.Join(t.TempDir(), "pid")
			o := fakeSSH(t, strings.Replace(text, "PID", pid, 1))
			o.Run = strings.Repeat("a", 1<<20) // more than a pipe takes
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err := sshrun.Start(ctx, o)
			switch says := strings.Contains(text, sorry); {
			case err == nil || ctx.Err() != nil:
				t.Errorf("%v", err)
			case says && (!errors.Is(err, sshrun.ErrShell) || !strings.Contains(err.Error(), "This account is not available.")):
				t.Errorf("%v", err)
			case !says && (!errors.Is(err, sshrun.ErrConnection) || !strings.Contains(err.Error(), "broken pipe")):
				t.Errorf("%v", err)
			}
			if text, err := os.ReadFile(pid); err == nil {
				_ = exec.Command("kill", strings.TrimSpace(string(text))).Run() // it may be gone
			}
		})
	}
}

// Neither the user's keys nor the screen are lent to the machine, unless the command says so itself.
func TestStart_Forwarding_IsOff(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := fakeSSH(t, "echo \"$@\" >"+dir+"/args\nexit 255\n")
	if _, err := sshrun.Start(t.Context(), o); err == nil {
		t.Error("it started")
	}
	args, err := os.ReadFile(filepath.Join(dir, "args"))
	for _, want := range []string{"ForwardAgent=no", "ForwardX11=no"} {
		if err != nil || !strings.Contains(string(args), "-o "+want) {
			t.Errorf("%s is not in %q, %v", want, args, err)
		}
	}
}

func TestStart_Cancelled_EndsAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "ForceCommand sleep 1000")
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	time.AfterFunc(300*time.Millisecond, func() { cancel(why) })
	if _, err := sshrun.Start(ctx, w.options(t, echo)); !errors.Is(err, why) {
		t.Errorf("%v", err)
	}
}

// What a connection that was cut has to put in order is waited for.
func TestStart_EarlierOneEnds_IsWaitedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	slow := strings.Replace(echo, "cat\n", "cat >/dev/null; while [ ! -e \"$3/../go\" ]; do sleep 0.05; done; echo ended >\"$3/../ended\"\n", 1)
	first, err := sshrun.Start(t.Context(), w.options(t, slow))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(first).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	first.Kill()
	o := w.options(t, slow)
	waited := false
	o.Waiting = func() {
		waited = true
		if err := os.WriteFile(filepath.Join(w.dir, "run", "go"), nil, 0o600); err != nil {
			t.Error(err)
		}
	}
	second, err := sshrun.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(w.dir, "run", "ended")); err != nil || !waited {
		t.Errorf("waited: %v, %v", waited, err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	other := w.options(t, echo)
	other.Run = "def"
	other.Waiting = func() { t.Error("another run is waited for") }
	c, err := sshrun.Start(t.Context(), other)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}
