package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kura-backup/kura/internal/tenant"
)

// ErrRunning says that a server runs on a folder: what it has in memory will replace whatever is put there.
var ErrRunning = errors.New("redis: a server runs on this folder")

// programs are what servers' processes are called.
var programs = []string{"redis-server", "valkey-server", "keydb-server", "redis-sentinel"}

// running returns ErrRunning if there is a server that works in a folder.
func running(dir string) error {
	who, _, err := tenant.Find(dir, programs...)
	if who != "" {
		err = fmt.Errorf("%w: %s", ErrRunning, who)
	}
	return err
}

const askTimeout = 10 * time.Second

// answers returns ErrRunning if the server that a configuration is of answers: it may run where its process can not be seen.
func (c *Config) answers(ctx context.Context) error {
	hosts, err := c.hosts(ctx)
	if err != nil {
		return err
	}
	var servers []*Server
	if c.Socket != "" {
		servers = append(servers, &Server{Socket: c.Socket})
	}
	for _, host := range hosts {
		if isPort(c.Port) {
			servers = append(servers, &Server{Addr: net.JoinHostPort(host, c.Port)})
		}
	}
	var silent *Server
	for _, s := range servers {
		answers, listens := s.answers(ctx)
		if answers {
			return fmt.Errorf("%w: the one of %s answers at %s", ErrRunning, c.Path, s)
		}
		if listens && silent == nil {
			silent = s
		}
	}
	for _, host := range hosts {
		if addr := net.JoinHostPort(host, c.TLSPort); isPort(c.TLSPort) && listens(ctx, addr) {
			return fmt.Errorf("%w: the one of %s listens at %s", ErrRunning, c.Path, addr)
		}
	}
	if ctx.Err() != nil { // then nobody had the time to answer
		return context.Cause(ctx)
	}
	if silent != nil {
		return fmt.Errorf("%w: the one of %s listens at %s, and does not answer", ErrRunning, c.Path, silent)
	}
	return nil
}

// answers reports whether there is such a server, or at least somebody who listens and says nothing, as one does that runs a long script, or was
// stopped. It does not wait for longer than askTimeout: others have to be asked, too.
func (s *Server) answers(ctx context.Context) (answers, listens bool) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	n, err := dialNet(ctx, s)
	if err != nil {
		return false, isFull(err)
	}
	c, err := open(ctx, s, n)
	if err == nil {
		c.close()
	}
	return err == nil || errors.Is(err, ErrPassword) || isAnswer(err), errors.Is(err, context.DeadlineExceeded)
}

// listens looks for a server that only talks by TLS, to those whose certificates it knows: that somebody listens has to be enough.
func listens(ctx context.Context, addr string) bool {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err == nil {
		conn.Close()
	}
	return err == nil || isFull(err)
}

// isFull reports whether so many wait for somebody who listens that no more connections are taken: at a socket EAGAIN, at an address of this machine
// that it takes too long.
func isFull(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}

func isPort(text string) bool {
	port, err := strconv.Atoi(text)
	return err == nil && port > 0
}

// hosts are where the server that a configuration is of can be asked, if it runs on this machine: its configuration may have come from
// another one, whose addresses it names, and the server there is none of ours.
func (c *Config) hosts(ctx context.Context) (hosts []string, err error) {
	bind := c.Bind
	if len(bind) == 0 {
		bind = []string{"*"}
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	for _, b := range bind {
		switch b = strings.TrimPrefix(b, "-"); b { // with a -, the server does without an address that the machine has not
		case "*", "0.0.0.0":
			b = "127.0.0.1"
		case "::*", "::":
			b = "::1"
		}
		if !slices.Contains(hosts, b) && isOwn(ctx, b, own) {
			hosts = append(hosts, b)
		}
	}
	return hosts, nil
}

// isOwn reports whether an address, or one that a name stands for, is among those of this machine.
func isOwn(ctx context.Context, host string, own []net.Addr) bool {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupIPAddr(ctx, host) // which knows addresses as they are
	return err == nil && slices.ContainsFunc(addrs, func(a net.IPAddr) bool {
		return a.IP.IsLoopback() || slices.ContainsFunc(own, func(o net.Addr) bool {
			n, ok := o.(*net.IPNet)
			return ok && n.IP.Equal(a.IP)
		})
	})
}
