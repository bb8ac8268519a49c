package sftp_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	pkgsftp "github.com/pkg/sftp"
)

// The test binary is also a server that misbehaves, for sftp.command:
//
//	proxy MARKER WHAT N HOW ARG…  passes requests on to sftp-server ARG…, but for the Nth of a kind, once in the
//	                              life of the file MARKER: "before" ends without it, "after" ends without its
//	                              answer, "late" ends and lets the server have it when there is a file MARKER.go,
//	                              "hang" passes on nothing any more; "refuse" answers all of them with
//	                              PERMISSION_DENIED
//	replacing                     is package sftp's own server, which replaces when it renames
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "proxy":
			n, err := strconv.Atoi(os.Args[4])
			if err == nil {
				err = (&proxy{marker: os.Args[2], what: os.Args[3], n: n, how: os.Args[5]}).run()
			}
			exit(err)
		case "replacing":
			exit(replacing())
		case "race":
			exit(race(os.Args[2], os.Args[3]))
		}
	}
	// With the race detector each of these processes would wait for a second before it ends.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil {
		exit(err)
	}
	os.Exit(m.Run())
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func replacing() error {
	if err := pkgsftp.SetSFTPExtensions("statvfs@openssh.com"); err != nil {
		return err
	}
	s, err := pkgsftp.NewServer(struct {
		io.Reader
		io.WriteCloser
	}{os.Stdin, os.Stdout})
	if err != nil {
		return err
	}
	if err := s.Serve(); err != io.EOF {
		return err
	}
	return nil
}

// through is a server behind a proxy. There is one connection at a time, so that the requests have an order.
func through(t *testing.T, what string, n int, how string, args ...string) server {
	t.Helper()
	s := directly(t, "")
	s.options.Connections = 1
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s.options.Command = fmt.Sprintf("%s proxy %s/marker %s %d %s %s", exe, t.TempDir(), what, n, how, strings.Join(args, " "))
	return s
}

// Of the types of requests and answers.
const (
	fxpInit     = 1
	fxpStatus   = 101
	fxpExtended = 200
)

var fxpNames = map[byte]string{
	3: "open", 4: "close", 5: "read", 6: "write", 7: "lstat", 8: "fstat", 9: "setstat", 10: "fsetstat", 11: "opendir",
	12: "readdir", 13: "remove", 14: "mkdir", 16: "realpath", 17: "stat", 18: "rename",
}

type proxy struct {
	marker, what, how string
	n                 int
	count             int

	mu      sync.Mutex
	waiting uint32 // for the answer to this request
	isAfter bool
	in      io.WriteCloser
	out     sync.Mutex
}

func (p *proxy) run() error {
	server := exec.Command("/usr/lib/openssh/sftp-server", os.Args[6:]...)
	server.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	server.Stderr = os.Stderr
	// A pipe of our own: that of exec would be closed with the command.
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	server.Stdin, p.in = r, w
	answers, err := server.StdoutPipe()
	if err != nil {
		return err
	}
	if err := server.Start(); err != nil {
		return err
	}
	r.Close()
	go p.answers(answers)
	for {
		packet, err := readPacket(os.Stdin)
		if err == io.EOF {
			return w.Close()
		}
		if err != nil {
			return err
		}
		if p.matches(packet) {
			if err := p.misbehave(packet, w); err != nil {
				return err
			}
			continue
		}
		if _, err := p.in.Write(packet); err != nil {
			return err
		}
	}
}

func kindOf(packet []byte) string {
	switch t := packet[4]; t {
	case fxpInit:
		return "init"
	case fxpExtended:
		n := binary.BigEndian.Uint32(packet[9:])
		name, _, _ := strings.Cut(string(packet[13:13+n]), "@")
		return name
	default:
		return fxpNames[t]
	}
}

// matches says whether this is the request to misbehave at.
func (p *proxy) matches(packet []byte) bool {
	if kind := kindOf(packet); kind == "init" || p.what != "any" && p.what != kind {
		return false
	}
	if p.how == "refuse" {
		return true
	}
	if p.count++; p.count != p.n {
		return false
	}
	f, err := os.OpenFile(p.marker, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return false // it was done before
	}
	f.Close()
	return true
}

func (p *proxy) misbehave(packet []byte, server *os.File) error {
	switch p.how {
	case "before":
		os.Exit(1)
	case "after":
		p.mu.Lock()
		p.isAfter, p.waiting = true, id(packet)
		p.mu.Unlock()
		_, err := p.in.Write(packet)
		return err
	case "late":
		if err := os.WriteFile(p.marker+".packet", packet, 0o600); err != nil {
			return err
		}
		late := exec.Command("sh", "-c", "while [ ! -e "+p.marker+".go ]; do sleep 0.01; done; cat "+p.marker+".packet; touch "+p.marker+".late")
		late.Stdout = server
		late.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := late.Start(); err != nil {
			return err
		}
		os.Exit(1)
	case "hang":
		signal.Ignore(syscall.SIGTERM)
		for parent := os.Getppid(); os.Getppid() == parent; {
			time.Sleep(10 * time.Millisecond)
		}
		os.Exit(1)
	case "refuse":
		answer := binary.BigEndian.AppendUint32(nil, 1+4+4+4+4)
		answer = append(answer, fxpStatus)
		answer = binary.BigEndian.AppendUint32(answer, id(packet))
		answer = binary.BigEndian.AppendUint32(answer, 3)
		p.send(append(answer, make([]byte, 8)...))
	}
	return nil
}

func id(packet []byte) uint32 { return binary.BigEndian.Uint32(packet[5:]) }

func (p *proxy) answers(r io.Reader) {
	for {
		packet, err := readPacket(r)
		if err != nil {
			os.Exit(0)
		}
		p.mu.Lock()
		last := p.isAfter && id(packet) == p.waiting
		p.mu.Unlock()
		if last {
			os.Exit(1)
		}
		p.send(packet)
	}
}

func (p *proxy) send(packet []byte) {
	p.out.Lock()
	defer p.out.Unlock()
	if _, err := os.Stdout.Write(packet); err != nil {
		os.Exit(1)
	}
}

func readPacket(r io.Reader) ([]byte, error) {
	head := make([]byte, 4)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	packet := append(head, make([]byte, binary.BigEndian.Uint32(head))...)
	_, err := io.ReadFull(r, packet[4:])
	return packet, err
}
