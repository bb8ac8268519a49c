package redis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/kura-backup/kura/source/redis/rdb"
)

// Errors of a server that tries what was restored.
var (
	ErrNoServer = errors.New("redis: there is no redis-server or valkey-server to try it with")
	ErrNotLoad  = errors.New("redis: a server does not start from what was restored")
)

// Tried is what a server has found in restored files.
type Tried struct {
	Server    string
	Databases []rdb.Count
}

// Keys is how many it has found.
func (t *Tried) Keys() (n uint64) {
	for _, d := range t.Databases {
		n += d.Keys
	}
	return n
}

// Try starts a server of its own from what was installed, without changing it, and compares the keys. The server
// listens to a socket in a private folder, saves nothing, and ends before Try returns. What it has to write it writes into the folder staged.
func (t *Target) Try(ctx context.Context, staged string, in *Installed) (_ *Tried, err error) {
	program, err := findServer()
	if err != nil {
		return nil, err
	}
	run, err := os.MkdirTemp("", "kura-redis-") // a socket's path must be short
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(run)) }()
	data, err := os.MkdirTemp(staged, "check-")
	if err != nil {
		return nil, err
	}
	if err := t.link(in, data); err != nil {
		return nil, err
	}
	s := &trial{socket: filepath.Join(run, "s"), log: filepath.Join(run, "log")}
	if err := s.start(program, t.arguments(in, data, s)); err != nil {
		return nil, err
	}
	defer s.end()
	out, err := s.load(ctx)
	if err != nil {
		return nil, err
	}
	// What commands have made of the base nobody has counted.
	if in.Info != nil && in.Commands == 0 && !sameCounts(out.Databases, in.Info.Databases) {
		return nil, fmt.Errorf("%w: a server finds %v, the file has %v", ErrOtherKeys, out.Databases, in.Info.Databases)
	}
	return out, nil
}

func findServer() (string, error) {
	for _, name := range []string{"redis-server", "valkey-server"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", ErrNoServer
}

// link makes links of the files in a folder. Of files that the server appends to, it makes copies.
func (t *Target) link(in *Installed, dir string) error {
	c := t.config()
	if !in.AppendOnly {
		return linkOrCopy(t.path(c.DBFile), filepath.Join(dir, c.DBFile))
	}
	from, to := t.path(c.AppendDir), filepath.Join(dir, c.AppendDir)
	if in.single {
		to = filepath.Join(dir, aofFolder)
		if err := copyFile(t.path(in.appendFile), filepath.Join(dir, in.appendFile)); err != nil {
			return err
		}
	}
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		make := linkOrCopy
		if strings.HasSuffix(e.Name(), ".aof") || strings.HasSuffix(e.Name(), manifestSuffix) {
			make = copyFile
		}
		if err := make(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// linkOrCopy makes a link where the file system has them.
func linkOrCopy(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	return copyFile(from, to)
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fileMode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// arguments are such that the server changes nothing and is reached by nobody else. As a replica, of a master that there is not,
// it keeps keys that have expired since.
func (t *Target) arguments(in *Installed, data string, s *trial) []string {
	c := t.config()
	databases := 16
	if in.Info != nil {
		for _, d := range in.Info.Databases {
			databases = max(databases, int(d.Database)+1)
		}
	}
	args := []string{
		"--port", "0", "--unixsocket", s.socket, "--unixsocketperm", "700", "--dir", data, "--dbfilename", c.DBFile, "--logfile", s.log,
		"--daemonize", "no", "--save", "", "--replicaof", "127.0.0.1 1", "--databases", strconv.Itoa(databases), "--appendonly", "no",
	}
	if in.AppendOnly {
		args[len(args)-1] = "yes"
		args = append(args, "--appendfilename", in.appendFile, "--aof-load-truncated", "no", "--auto-aof-rewrite-percentage", "0")
		if !in.single { // servers from before Redis 7 end if they are told a folder's name
			args = append(args, "--appenddirname", c.AppendDir)
		}
	}
	return args
}

// trial is a server that runs.
type trial struct {
	socket, log string
	cmd         *exec.Cmd
	ended       chan struct{}
}

// start starts the server. It dies with this process, however that ends.
func (s *trial) start(program string, args []string) error {
	s.cmd = exec.Command(program, args...)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	s.ended = make(chan struct{})
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the signal is sent when the thread ends that has started the server
		err := s.cmd.Start()
		started <- err
		if err == nil {
			_ = s.cmd.Wait() // its log says why it has ended
		}
		close(s.ended)
	}()
	return <-started
}

// end kills the server, which has nothing to save.
func (s *trial) end() {
	_ = s.cmd.Process.Kill()
	<-s.ended
}

// load waits until the server has read the files, however long that takes.
func (s *trial) load(ctx context.Context) (*Tried, error) {
	for poll := firstPoll; ; poll = min(2*poll, lastPoll) {
		out, err := s.ask(ctx)
		if err != nil || out != nil {
			return out, err
		}
		select {
		case <-s.ended:
			return nil, fmt.Errorf("%w: %s", ErrNotLoad, s.tail())
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(poll):
		}
	}
}

// ask returns nothing as long as the server is not ready.
func (s *trial) ask(ctx context.Context) (*Tried, error) {
	c, err := dial(ctx, &Server{Socket: s.socket})
	if err != nil {
		return nil, nil
	}
	defer c.close()
	all, err := c.info(ctx, "everything")
	if err != nil || all["loading"] != "0" {
		return nil, nil
	}
	out := &Tried{Server: "redis " + all["redis_version"]}
	if v := all["valkey_version"]; v != "" {
		out.Server = "valkey " + v
	}
	for n := range uint32(1 << 16) {
		line, ok := all["db"+strconv.FormatUint(uint64(n), 10)]
		if !ok {
			continue
		}
		d := rdb.Count{Database: n}
		for pair := range strings.SplitSeq(line, ",") {
			name, value, _ := strings.Cut(pair, "=")
			count, err := strconv.ParseUint(value, 10, 64)
			switch {
			case err != nil && (name == "keys" || name == "expires"):
				return nil, fmt.Errorf("%w: in INFO: %.100q", errProtocol, line)
			case name == "keys":
				d.Keys = count
			case name == "expires":
				d.Expiring = count
			}
		}
		out.Databases = append(out.Databases, d)
	}
	return out, nil
}

func sameCounts(a, b []rdb.Count) bool {
	x, y := rdb.Info{Databases: a}, rdb.Info{Databases: b}
	return x.SameKeys(&y)
}

// tail is the end of the server's log.
func (s *trial) tail() string {
	text, err := os.ReadFile(s.log)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text[max(0, len(text)-1000):]))
}
