package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kura-backup/kura/ui"
)

// Somebody who just runs kura backup at a terminal gets a repository, and is told what it is worth.
func TestEmbedded_OfferAccepted_BacksUp(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	dir := filepath.Join(u.home, ".local/share/kura/default")
	key := filepath.Join(u.home, ".config/kura/default.key")

	p := u.atTerminal(nil, "backup", "files")
	p.expect(dir)
	p.expect(key)
	p.expect("make it? (y/N)")
	p.send("y\n")
	p.expect("its key is " + key)
	p.expect("copy the key to another place")
	p.expect("not off-site")
	p.expect("snapshot ")
	p.expect(" saved")
	p.wait(exitOK)

	info, err := os.Stat(key)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the key has mode %v", info.Mode())
	}

	// From now on it is the repository of all commands, with and without a terminal.
	if out, _ := u.run(exitOK, "snapshots"); !strings.Contains(out, "1 snapshot\n") {
		t.Errorf("snapshots: %s", out)
	}
	p = u.atTerminal(nil, "backup", ".")
	p.expect(" saved")
	p.wait(exitOK)
	if text := p.text(); strings.Contains(text, "make it?") {
		t.Errorf("asked again: %s", text)
	}
	u.run(exitOK, "restore", "latest:"+u.home, "--target", "out")
	if b, err := os.ReadFile(filepath.Join(u.home, "out/files/a")); err != nil || string(b) != "hello" {
		t.Errorf("restored %q, %v", b, err)
	}
	// A home is backed up without the repository in it.
	if _, err := os.Stat(filepath.Join(u.home, "out/.local/share/kura/default")); !os.IsNotExist(err) {
		t.Errorf("the repository is in its own backup: %v", err)
	}

	// Without its key it says what is missing.
	if err := os.Rename(key, key+".away"); err != nil {
		t.Fatal(err)
	}
	if _, stderr := u.run(exitError, "snapshots"); !strings.Contains(stderr, "put your copy of the key file there") {
		t.Errorf("without the key: %s", stderr)
	}
}

func TestEmbedded_OfferRefused_DoesNothing(t *testing.T) {
	t.Parallel()
	for _, answer := range []string{"n\n", "\n", "what\n", "\x04"} {
		u := newUser(t)
		p := u.atTerminal(nil, "backup", "files")
		p.expect("(y/N)")
		p.send(answer)
		p.wait(exitUsage)
		for _, path := range []string{".local", ".config"} {
			if _, err := os.Stat(filepath.Join(u.home, path)); !os.IsNotExist(err) {
				t.Errorf("answered %q: %s: %v", answer, path, err)
			}
		}
	}
}

func TestEmbedded_NoTerminal_NoOffer(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	if _, stderr := u.run(exitUsage, "backup", "files"); !strings.Contains(stderr, "no repository was named") {
		t.Error(stderr)
	}
	p := u.atTerminal(nil, "backup", "files", "--json")
	p.wait(exitUsage)
	p = u.atTerminal(nil, "snapshots") // only a backup offers to make one
	p.wait(exitUsage)
}

// The folders of the XDG specification are honoured, unless they are relative.
func TestEmbedded_XDGFolders(t *testing.T) {
	t.Parallel()
	data, config := t.TempDir(), t.TempDir()
	u := newUser(t, "XDG_DATA_HOME="+data, "XDG_CONFIG_HOME="+config, "XDG_CACHE_HOME="+t.TempDir())
	p := u.atTerminal(nil, "backup", "files")
	p.expect("(y/N)")
	p.send("yes\n")
	p.expect(" saved")
	p.wait(exitOK)
	for _, path := range []string{filepath.Join(data, "kura/default/config"), filepath.Join(config, "kura/default.key")} {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
}

func TestInit_AtTerminal_AsksTwiceWithoutEcho(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	p := u.atTerminal(nil, "init", "-r", "repo")
	p.expect("keep a copy of it outside of this machine")
	p.expect("password for the new repository:")
	p.send("geheim\n")
	p.expect("the same password again:")
	p.send("geheim\n")
	p.expect("made repository")
	p.wait(exitOK)
	if strings.Contains(p.text(), "geheim") {
		t.Errorf("the password was shown: %q", p.text())
	}
	u.env = append(u.env, "KURA_PASSWORD=geheim")
	u.run(exitOK, "snapshots", "-r", "repo")
}

func TestInit_PasswordsDiffer_DoesNothing(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	for _, typed := range [][]string{{"one", "two"}, {""}} {
		p := u.atTerminal(nil, "init", "-r", "repo")
		for _, line := range typed {
			p.expect("password")
			p.expect(":")
			p.send(line + "\n")
		}
		want := exitUsage
		if len(typed) == 1 { // an empty password is refused at once
			want = exitError
		}
		p.wait(want)
		if _, err := os.Stat(filepath.Join(u.home, "repo")); !os.IsNotExist(err) {
			t.Errorf("typed %q: %v", typed, err)
		}
	}
}

func TestOpen_WrongPassword_CanBeTypedAgain(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	write(t, filepath.Join(u.home, "pw"), "right")
	u.run(exitOK, "init", "-q", "-r", "repo", "--password-file", "pw")

	p := u.atTerminal(nil, "snapshots", "-r", "repo")
	p.expect("password for the repository:")
	p.send("wrong\n")
	p.expect("try again")
	p.expect("password for the repository:")
	p.send("right\n")
	p.expect("no snapshots")
	p.wait(exitOK)

	p = u.atTerminal(nil, "snapshots", "-r", "repo")
	for range passwordTries {
		p.expect("password for the repository:")
		p.send("wrong\n")
	}
	p.expect("wrong password or key")
	p.wait(exitWrongKey)
}

// A copy asks for the passwords of both repositories, and says which it is about.
func TestCopy_AtTerminal_AsksForBothPasswords(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	write(t, filepath.Join(u.home, "pw1"), "one")
	write(t, filepath.Join(u.home, "pw2"), "two")
	u.run(exitOK, "init", "-q", "-r", "a", "--password-file", "pw1")
	u.run(exitOK, "init", "-q", "-r", "b", "--password-file", "pw2", "--from-repo", "a", "--from-password-file", "pw1")
	u.run(exitOK, "backup", "-q", "-r", "a", "--password-file", "pw1", "pw1")
	p := u.atTerminal(nil, "copy", "-r", "b", "--from-repo", "a")
	p.expect("password for the repository:")
	p.send("two\n")
	p.expect("password for the repository to take from:")
	p.send("one\n")
	p.expect("copied 1 snapshot")
	p.wait(exitOK)
}

// Ctrl-C at the question must not leave a terminal on which nothing is shown.
func TestPassword_Interrupted_TerminalEchoesAgain(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	write(t, filepath.Join(u.home, "pw"), "right")
	u.run(exitOK, "init", "-q", "-r", "repo", "--password-file", "pw")
	p := u.atTerminal(nil, "snapshots", "-r", "repo")
	p.expect("password for the repository:")
	waitUntil(t, "a terminal without echo", func() bool { return !p.echoes() })
	p.send("\x03")
	p.wait(exitInterrupted)
	if !p.echoes() {
		t.Error("the terminal does not echo")
	}
}

// With a stream on standard input the password is still asked for at the terminal.
func TestBackup_StreamAtTerminal_AsksAndShowsProgress(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	write(t, filepath.Join(u.home, "pw"), "right")
	u.run(exitOK, "init", "-q", "-r", "repo", "--password-file", "pw")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p := u.atTerminal(r, "backup", "-r", "repo", "--stdin")
	p.expect("password for the repository:")
	p.send("right\n")
	if _, err := io.WriteString(w, "some data"); err != nil {
		t.Fatal(err)
	}
	p.expect("[0:") // the progress
	p.expect("new")
	p.expect("\x1b[2K") // is drawn again
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	p.expect(" saved")
	p.wait(exitOK)
}

// An interrupted backup ends in order, and nothing needs repair after it. SIGUSR1 shows how far it is,
// also where there is no terminal.
func TestBackup_Interrupted_NeedsNoRepair(t *testing.T) {
	t.Parallel()
	u := newUser(t, "KURA_PASSWORD=x", "KURA_REPOSITORY=repo")
	u.run(exitOK, "init", "-q")
	for _, end := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		stdin, source, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd := u.command("backup", "--stdin")
		cmd.Stdin = stdin
		stderr := new(lockedBuffer)
		cmd.Stderr = stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// A signal that comes before the program listens would end it: first it has to read.
		stdin.Close()
		if _, err := source.Write(randomBytes(4<<20, 1)); err != nil {
			t.Fatal(err)
		}
		waitUntil(t, "a status", func() bool {
			_ = cmd.Process.Signal(syscall.SIGUSR1)
			return strings.Contains(stderr.String(), "kura: [0:")
		})
		if err := cmd.Process.Signal(end); err != nil {
			t.Fatal(err)
		}
		waitUntil(t, "an answer to "+end.String(), func() bool { return strings.Contains(stderr.String(), "interrupted: ending") })
		_ = cmd.Wait()
		if got := cmd.ProcessState.ExitCode(); got != exitInterrupted || !strings.Contains(stderr.String(), "nothing needs repair") {
			t.Errorf("%v: exit code %d: %s", end, got, stderr)
		}
		source.Close()
	}
	u.run(exitOK, "backup", "-q", "files")
	u.run(exitOK, "check", "--read-data")
	if out, _ := u.run(exitOK, "snapshots"); !strings.Contains(out, "1 snapshot\n") {
		t.Error(out)
	}
}

// A second interrupt does not wait for anything.
func TestInterrupt_Twice_EndsAtOnce(t *testing.T) {
	exited := make(chan int, 1)
	a := newQuietApp()
	ctx, stop := a.handleSignals(t.Context(), func(code int) { exited <- code })
	defer stop()
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if err := self.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	<-ctx.Done()
	select {
	case <-exited:
		t.Fatal("the first interrupt ended the program")
	default:
	}
	if err := self.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if got := <-exited; got != exitInterrupted {
		t.Errorf("exit code %d", got)
	}
}

func newQuietApp() *app { return &app{term: ui.NewPlain(io.Discard, io.Discard)} }

// lockedBuffer is a buffer that a program writes while the test reads.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func waitUntil(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("there was never %s", what)
}
