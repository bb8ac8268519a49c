package sshrun_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kura-backup/kura/internal/sshrun"
)

// run runs a program there that ends at once.
func (w *world) run(t *testing.T, o sshrun.Options) {
	t.Helper()
	c, err := sshrun.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// made is what a run puts down about itself in its folders: who it is, which machine it is on, since when that runs, and when it began.
func (w *world) made(t *testing.T) (lines []string) {
	t.Helper()
	c, err := sshrun.Start(t.Context(), w.options(t, echo))
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	folder, _, _ := strings.Cut(line, " ")
	text, err := os.ReadFile(filepath.Join(folder, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if lines = strings.Split(strings.TrimSuffix(string(text), "\n"), "\n"); len(lines) != 4 {
		t.Fatalf("%q", text)
	}
	return lines
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// began is when this process has, in clock ticks since the boot.
func began(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		t.Fatal(err)
	}
	_, fields, _ := strings.Cut(string(text), ") ")
	return strings.Fields(fields)[19]
}

// What was left behind goes if it is certain, or long ago, that nobody is at work in it.
func TestStart_Leftovers_OnlyThoseOfTheDeadGo(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	w := newWorld(t, "ForceCommand HOME="+home+`; export HOME; sh -c "$SSH_ORIGINAL_COMMAND"`)
	made := w.made(t)
	dead, alive, here, boot := fmt.Sprint(nobody), fmt.Sprint(os.Getpid()), made[1], made[2]
	const day = 24 * time.Hour
	var wrong []func()
	for name, c := range map[string]struct {
		pid, program string
		age          time.Duration
		stays        bool
	}{
		"shell":               {pid: alive + "\n" + here + "\n" + boot + "\n" + began(t), stays: true},
		"shell, no start":     {pid: alive + "\n" + here + "\n" + boot + "\n", stays: true},
		"shell, older kura":   {pid: alive + "\n" + here + "\n" + boot, stays: true},
		"number of another":   {pid: alive + "\n" + here + "\n" + boot + "\n1", program: dead},
		"program":             {pid: dead + "\n" + here + "\n" + boot, program: alive, stays: true},
		"dead":                {pid: dead + "\n" + here + "\n" + boot, program: dead},
		"dead of no program":  {pid: dead + "\n" + here + "\n" + boot, program: "none"},
		"before the start":    {pid: alive + "\n" + here + "\nanother", program: alive},
		"elsewhere":           {pid: dead + "\nelsewhere\n" + boot, stays: true},
		"elsewhere, long ago": {pid: dead + "\nelsewhere\n" + boot, age: 31 * day},
		"of nobody":           {stays: true},
		"of nobody, long ago": {age: 2 * day},
	} {
		for _, base := range []string{filepath.Join(w.dir, "run"), home} { // the first in which there are folders, and the last
			dir := filepath.Join(base, "kura-agent."+name)
			file := filepath.Join(dir, "cache", "file")
			write(t, file, "x")
			old, aged := time.Now().Add(-c.age), []string{dir}
			if c.program != "" {
				write(t, filepath.Join(dir, "program"), c.program+"\n")
			}
			if c.pid != "" {
				write(t, filepath.Join(dir, "pid"), c.pid+"\n")
				aged = append(aged, filepath.Join(dir, "pid"))
			}
			for _, path := range aged {
				if err := os.Chtimes(path, old, old); err != nil {
					t.Fatal(err)
				}
			}
			wrong = append(wrong, func() {
				if _, err := os.Stat(file); (err == nil) != c.stays {
					t.Errorf("%s: %v", dir, err)
				}
			})
		}
	}
	w.run(t, w.options(t, echo))
	for _, look := range wrong {
		look()
	}
}

// What root has left in a user's folder stays, with what says whose it was, until somebody may remove it.
func TestStart_LeftByRoot_WaitsForSudo(t *testing.T) {
	t.Parallel()
	programs := t.TempDir()
	for name, text := range map[string]string{
		"rm":   `case "$*" in *kura-agent.dead/cache*) exit 1 ;; *kura-agent.dead) /bin/rm -f "$2/pid"; exit 1 ;; esac; PATH=/usr/bin:/bin exec rm "$@"`,
		"sudo": `shift; PATH=/usr/bin:/bin exec "$@"`,
	} {
		path := filepath.Join(programs, name)
		write(t, path, "#!/bin/sh\n"+text+"\n")
		if err := os.Chmod(path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	w := newWorld(t, "ForceCommand PATH="+programs+`:$PATH; export PATH; sh -c "$SSH_ORIGINAL_COMMAND"`)
	dir := filepath.Join(w.dir, "run", "kura-agent.dead")
	write(t, filepath.Join(dir, "cache", "file"), "x")
	write(t, filepath.Join(dir, "pid"), fmt.Sprintln(nobody))
	o := w.options(t, echo)
	w.run(t, o)
	if left := w.left(t); !slices.Equal(left, []string{"run/kura-agent.dead"}) {
		t.Errorf("left there: %q", left)
	}
	o.Sudo = true
	w.run(t, o)
	if left := w.left(t); len(left) > 0 {
		t.Errorf("left there: %q", left)
	}
}

// A program that outlives its shell is waited for as well.
func TestStart_EarlierShellIsDead_ProgramIsWaitedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	program := exec.Command("sleep", "1000")
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	waited := false
	end := func() {
		if waited = true; program.ProcessState == nil {
			_ = program.Process.Kill() // it runs
			_ = program.Wait()         // it was killed
		}
	}
	defer end()
	o := w.options(t, echo)
	dir := filepath.Join(w.dir, "run", "kura-agent."+o.Run+".1")
	write(t, filepath.Join(dir, "pid"), fmt.Sprintln(nobody))
	write(t, filepath.Join(dir, "program"), fmt.Sprintln(program.Process.Pid))
	write(t, filepath.Join(dir, "started"), "")
	o.Waiting = end
	w.run(t, o)
	if !waited {
		t.Error("it was not waited for")
	}
	if left := w.left(t); len(left) > 0 {
		t.Errorf("left there: %q", left)
	}
}

// The number of a shell that was killed may be another process's by now, which may run for ever.
func TestStart_EarlierShellsNumberIsAnothers_IsNotWaitedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	made := w.made(t)
	o := w.options(t, echo)
	dir := filepath.Join(w.dir, "run", "kura-agent."+o.Run+".1")
	write(t, filepath.Join(dir, "pid"), fmt.Sprintf("%d\n%s\n%s\n%s\n", os.Getpid(), made[1], made[2], made[3]))
	write(t, filepath.Join(dir, "program"), fmt.Sprintln(nobody))
	write(t, filepath.Join(dir, "started"), "")
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
	if left := w.left(t); len(left) > 0 {
		t.Errorf("left there: %q", left)
	}
}

// What is run there is run as if it had been started there.
func TestStart_Program_HasTheUmaskOfTheMachine(t *testing.T) {
	t.Parallel()
	w := newWorld(t, `ForceCommand umask 027; sh -c "$SSH_ORIGINAL_COMMAND"`)
	c, err := sshrun.Start(t.Context(), w.options(t, "#!/bin/sh\numask\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); err != nil || string(got) != "0027\n" {
		t.Errorf("%q, %v", got, err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}
