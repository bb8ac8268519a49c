package redis

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// newSocket is one that is closed with the test, and that no program which a test starts has, too.
func newSocket(t *testing.T, at unix.Sockaddr) int {
	t.Helper()
	family := unix.AF_UNIX
	if _, ok := at.(*unix.SockaddrInet4); ok {
		family = unix.AF_INET
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// crowd listens for somebody who never accepts, with so many who wait that the kernel takes no more.
func crowd(t *testing.T, at unix.Sockaddr) unix.Sockaddr {
	t.Helper()
	l := newSocket(t, at)
	if err := errors.Join(unix.Bind(l, at), unix.Listen(l, 0)); err != nil {
		t.Fatal(err)
	}
	at, err := unix.Getsockname(l)
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		fd := newSocket(t, at)
		switch err := unix.Connect(fd, at); {
		case errors.Is(err, unix.EAGAIN):
			return at
		case errors.Is(err, unix.EINPROGRESS): // at an address, where one who is not let in is not told
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, 500)
			if err == nil && n == 0 {
				return at
			}
			if err != nil && !errors.Is(err, unix.EINTR) {
				t.Fatal(err)
			}
		case err != nil:
			t.Fatal(err)
		}
	}
	t.Fatal("the kernel lets everybody wait: the test shows nothing")
	return nil
}

// So many may wait for a server that runs a script for long that it takes no more connections. It runs nevertheless.
func TestCheck_NoMoreConnectionsAreTaken_Refused(t *testing.T) {
	_, d, _ := saved(t, Options{}, 1)
	far := &Target{Dir: t.TempDir(), Config: newConfig()}
	far.Config.Socket, far.Config.Port = filepath.Join(t.TempDir(), "socket"), "0"
	crowd(t, &unix.SockaddrUnix{Name: far.Config.Socket})
	if n, err := net.Dial("unix", far.Config.Socket); !errors.Is(err, unix.EAGAIN) {
		t.Fatalf("%v, %v: the queue is not full, and the test shows nothing", n, err)
	}
	if err := far.Check(t.Context(), d); !errors.Is(err, ErrRunning) || !strings.Contains(err.Error(), far.Config.Socket+", and does not answer") {
		t.Errorf("%v", err)
	}
	// A socket that is left of a server which has ended is none.
	far.Config.Socket += ".left"
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: far.Config.Socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	left.Close()
	if err := far.Check(t.Context(), d); err != nil {
		t.Errorf("of a socket at which nobody listens: %v", err)
	}
}

// At an address nobody says that there are too many: it takes too long.
func TestAnswers_NoMoreConnectionsAreTaken_Listens(t *testing.T) {
	at := crowd(t, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 6}}).(*unix.SockaddrInet4)
	addr := net.JoinHostPort("127.0.0.6", strconv.Itoa(at.Port))
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if answers, listens := (&Server{Addr: addr}).answers(ctx); answers || !listens {
		t.Errorf("answers %v, listens %v", answers, listens)
	}
	ctx, cancel = context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if !listens(ctx, addr) { // as a server that talks by TLS alone is asked
		t.Error("nobody listens")
	}
	idle := &unix.SockaddrInet4{Addr: at.Addr} // whoever has a port need not listen there
	fd := newSocket(t, idle)
	if err := unix.Bind(fd, idle); err != nil {
		t.Fatal(err)
	}
	got, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr = net.JoinHostPort("127.0.0.6", strconv.Itoa(got.(*unix.SockaddrInet4).Port))
	if answers, there := (&Server{Addr: addr}).answers(t.Context()); answers || there || listens(t.Context(), addr) {
		t.Errorf("where nobody listens: answers %v, listens %v", answers, there)
	}
}
