package main

import (
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/kura-backup/kura/internal/testserver"
)

// line is between here and a server: connections go through it, are slowed down, counted, and cut.
type line struct {
	Port     int
	listener net.Listener
	target   string
	delay    time.Duration // in each direction
	rate     int           // bytes a second in each direction; 0: as fast as it goes

	fromServer, toServer atomic.Int64
	cuts                 atomic.Int64 // how many connections were cut

	mu    sync.Mutex
	after []int64 // the next connections are cut when so many bytes have come from the server
	stall int64   // the next connection stands still when so many bytes have gone to the server
	wg    sync.WaitGroup
}

// newLine opens a line at an address.
func newLine(t *testing.T, host string, s *testserver.SSH) *line {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	n := &line{stall: math.MaxInt64, listener: l, target: s.Addr(), Port: l.Addr().(*net.TCPAddr).Port}
	n.wg.Go(n.serve)
	t.Cleanup(func() {
		_ = l.Close()
		n.wg.Wait()
	})
	return n
}

func (n *line) serve() {
	for {
		here, err := n.listener.Accept()
		if err != nil {
			return
		}
		there, err := net.Dial("tcp", n.target)
		if err != nil {
			_ = here.Close()
			continue
		}
		n.mu.Lock()
		after := int64(math.MaxInt64)
		if len(n.after) > 0 {
			after, n.after = n.after[0], n.after[1:]
		}
		stall := n.stall
		n.stall = math.MaxInt64
		n.mu.Unlock()
		cut := sync.OnceFunc(func() {
			_ = here.Close()
			_ = there.Close()
		})
		const never = math.MaxInt64
		n.wg.Go(func() { n.pass(here, there, &n.fromServer, after, never, cut) })
		n.wg.Go(func() { n.pass(there, here, &n.toServer, never, stall, cut) })
	}
}

// piece is what was read at a time.
type piece struct {
	data []byte
	at   time.Time
}

// pass carries bytes until the connection ends. After so many it is cut, or they are lost.
func (n *line) pass(to, from net.Conn, count *atomic.Int64, after, stall int64, cut func()) {
	defer cut()
	pieces := make(chan piece, 4096)
	n.wg.Go(func() {
		defer close(pieces)
		for {
			data := make([]byte, 32<<10)
			k, err := from.Read(data)
			if k > 0 {
				pieces <- piece{data[:k], time.Now()}
			}
			if err != nil {
				return
			}
		}
	})
	defer func() { // let the reader end
		cut()
		for range pieces {
		}
	}()
	passed := int64(0)
	for p := range pieces {
		time.Sleep(time.Until(p.at.Add(n.delay)))
		if n.rate > 0 {
			time.Sleep(time.Duration(len(p.data)) * time.Second / time.Duration(n.rate))
		}
		if passed += int64(len(p.data)); passed > after {
			n.cuts.Add(1)
			return
		} else if passed > stall {
			continue
		}
		if _, err := to.Write(p.data); err != nil {
			return
		}
		count.Add(int64(len(p.data)))
	}
}

// cutAfter has the next connections cut.
func (n *line) cutAfter(bytes ...int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.after = bytes
}

// stallAfter has the next connection stand still, until it is cut.
func (n *line) stallAfter(bytes int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stall = bytes
}

// ssh is the command that goes through the line.
func (n *line) ssh(s *testserver.SSH, host string) string {
	return fmt.Sprintf("ssh -F %s -o HostName=%s -o Port=%d -o HostKeyAlias=[%s]:%d", s.Config, host, n.Port, s.Host, s.Port)
}

// namespaces is a network of two: this one, and another that sees it over a line of 100 Mbit/s.
type namespaces struct {
	name, host string
	delayed    bool // by 10 ms in each direction
}

// newNamespaces makes them, or returns why there can be none.
func newNamespaces(t *testing.T) (*namespaces, error) {
	t.Helper()
	if os.Getuid() != 0 {
		return nil, errors.New("only root can make a network namespace")
	}
	id := os.Getpid()
	n := &namespaces{name: fmt.Sprintf("kura-%d", id), host: fmt.Sprintf("10.213.%d.%d", id/62%250, id%62*4+1)}
	peer := fmt.Sprintf("10.213.%d.%d", id/62%250, id%62*4+2)
	out, in := "ka"+strconv.Itoa(id), "kb"+strconv.Itoa(id)
	inside := []string{"ip", "netns", "exec", n.name}
	run := func(argv ...string) error {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(string(out)))
		}
		return nil
	}
	// Those of tests that were killed are there until somebody removes them.
	left, _ := filepath.Glob("/run/netns/kura-*") // the pattern is right
	for _, at := range left {
		pid, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(at), "kura-"))
		if err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			_ = run("ip", "netns", "del", filepath.Base(at)) // another test may be faster
		}
	}
	if err := run("ip", "netns", "add", n.name); err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = run("ip", "netns", "del", n.name) }) // and with it the line
	for _, argv := range [][]string{
		{"ip", "link", "add", out, "type", "veth", "peer", "name", in},
		{"ip", "link", "set", in, "netns", n.name},
		{"ip", "addr", "add", n.host + "/30", "dev", out},
		{"ip", "link", "set", out, "up"},
		append(inside, "ip", "addr", "add", peer+"/30", "dev", in),
		append(inside, "ip", "link", "set", in, "up"),
		append(inside, "ip", "link", "set", "lo", "up"),
	} {
		if err := run(argv...); err != nil {
			return nil, err
		}
	}
	shape := func(how ...string) error {
		err := run(append([]string{"tc", "qdisc", "add", "dev", out, "root"}, how...)...)
		return errors.Join(err, run(append(append(inside, "tc", "qdisc", "add", "dev", in, "root"), how...)...))
	}
	if shape("netem", "delay", "10ms", "rate", "100mbit", "limit", "10000") == nil {
		n.delayed = true
		return n, nil
	}
	return n, shape("tbf", "rate", "100mbit", "burst", "64kb", "latency", "50ms")
}
