package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// usage is what a program needed.
type usage struct {
	wall, cpu time.Duration // cpu is user and system, with the program's own children
	rss, anon int64         // peaks in bytes
	read      int64         // bytes that came from a disk, with those of its children
}

// then is the usage of u and after it v.
func (u usage) then(v usage) usage {
	return usage{wall: u.wall + v.wall, cpu: u.cpu + v.cpu, rss: max(u.rss, v.rss), anon: max(u.anon, v.anon), read: u.read + v.read}
}

// call is one run of a program.
type call struct {
	program string
	args    []string
	dir     string
	env     []string
	stdin   string // file that reaches it through a pipe, as the output of a program would; or empty
	stderr  string // file for its messages
}

// grace is how long an interrupted program may take to end.
const grace = 10 * time.Second

// measure runs the program to its end. Its output goes to files and nowhere, so that nobody has to work to
// carry it. Only success counts: a program that leaves something out has had less to do.
func measure(ctx context.Context, c call) (usage, error) {
	stderr, err := os.Create(c.stderr)
	if err != nil {
		return usage{}, err
	}
	defer stderr.Close()
	cmd := exec.CommandContext(ctx, c.program, c.args...)
	cmd.Dir, cmd.Env, cmd.Stderr = c.dir, c.env, stderr
	// A group of its own is ended with all that the program started; a terminal's Ctrl-C comes here alone.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = grace

	fed := func() error { return nil }
	if c.stdin != "" {
		if fed, err = pipe(ctx, cmd, c.stdin); err != nil {
			return usage{}, err
		}
	}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		_ = fed()
		return usage{}, err
	}
	if f, ok := cmd.Stdin.(*os.File); ok {
		f.Close() // it is the child's alone, so that cat ends when the child does
	}
	s := newSampler("/proc", cmd.Process.Pid)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { s.run(stop) })
	err = cmd.Wait()
	wall := time.Since(start)
	close(stop)
	wg.Wait()
	fedErr := fed()
	if ctx.Err() != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what outlived the leader; mostly nothing is left
		return usage{}, ctx.Err()
	}
	if err != nil {
		return usage{}, fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, tail(c.stderr))
	}
	if fedErr != nil {
		return usage{}, fmt.Errorf("%s: did not get or did not read all of its input: %w", strings.Join(cmd.Args, " "), fedErr)
	}
	u := usage{wall: wall, cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), anon: s.anon}
	if r, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		u.rss, u.read = int64(r.Maxrss)<<10, int64(r.Inblock)*512
	}
	// Until exec a child has the memory of the process that starts it, and ru_maxrss keeps that. When it is
	// not more than ours the samples know better.
	if u.rss <= ownPeak() {
		u.rss = s.rss
	}
	return u, nil
}

// pipe starts a program of its own that writes the file to the standard input of cmd. What it needs is not
// counted: it stands for whatever makes the data. done waits for its end, and fails if not all of the file was written:
// who ends before that with success has had less to do.
func pipe(ctx context.Context, cmd *exec.Cmd, path string) (done func() error, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cat := exec.CommandContext(ctx, "cat", path)
	cat.Stdout = w
	err = cat.Start()
	w.Close()
	if err != nil {
		r.Close()
		return nil, err
	}
	cmd.Stdin = r
	return func() error { r.Close(); return cat.Wait() }, nil
}

// tail is the last part of a file, as much as a reader of an error wants to see.
func tail(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(b[max(0, len(b)-4096):]))
}
