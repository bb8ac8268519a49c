package redis

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/kura-backup/kura/internal/clock"
)

// Errors of connections.
var (
	ErrPassword  = errors.New("redis: the server does not accept the user and password")
	ErrForbidden = errors.New("redis: the server does not allow this command")
)

const (
	defaultPort   = "6379"
	dialTimeout   = 10 * time.Second
	answerTimeout = 30 * time.Second // a server that forks, or runs a slow script, answers late
)

// Server says where a server is and how to get in.
type Server struct {
	Addr     string // host:port or host
	Socket   string // path of its socket, instead of Addr
	User     string // of an ACL; with a password alone it is the default user
	Password string
	TLS      bool
	CA       string // file with the certificates that TLS trusts; empty: the system's
}

// Local reports whether the server is on this machine, as far as its address says.
func (s *Server) Local() bool {
	if s.Socket != "" {
		return true
	}
	host, _ := s.hostPort()
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (s *Server) hostPort() (host, port string) {
	host, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		host, port = strings.Trim(s.Addr, "[]"), defaultPort
	}
	if host == "" {
		host = "127.0.0.1"
	}
	return host, port
}

// Name is what the server is called in a snapshot: its host, with the port if it is not the usual one, or
// "local" for a socket.
func (s *Server) Name() string {
	if s.Socket != "" {
		return "local"
	}
	host, port := s.hostPort()
	name := strings.NewReplacer("/", "_", ":", "_", "%", "_").Replace(host)
	if s.Local() {
		name = "local"
	}
	if port != defaultPort {
		name += "-" + port
	}
	return name
}

func (s *Server) String() string {
	if s.Socket != "" {
		return s.Socket
	}
	return net.JoinHostPort(s.hostPort())
}

// conn is a connection. It is not safe for concurrent use.
type conn struct {
	net  net.Conn
	r    *bufio.Reader
	stop func() bool // of what ends it with its context
}

// dial connects to a server and logs in. The connection ends with ctx.
func dial(ctx context.Context, s *Server) (*conn, error) {
	n, err := dialNet(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	return open(ctx, s, n)
}

// open logs in on a connection, which is closed after an error.
func open(ctx context.Context, s *Server, n net.Conn) (*conn, error) {
	c := &conn{net: n, r: bufio.NewReaderSize(n, 64<<10)}
	// The deadline ends whatever waits, and what comes after.
	c.stop = context.AfterFunc(ctx, func() { _ = n.SetDeadline(time.Unix(1, 0)) })
	if err := c.login(ctx, s); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func dialNet(ctx context.Context, s *Server) (net.Conn, error) {
	d := &net.Dialer{Timeout: dialTimeout}
	if s.Socket != "" {
		return d.DialContext(ctx, "unix", s.Socket)
	}
	host, port := s.hostPort()
	if !s.TLS {
		return d.DialContext(ctx, "tcp", net.JoinHostPort(host, port))
	}
	conf := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	if s.CA != "" {
		pem, err := os.ReadFile(s.CA)
		if err != nil {
			return nil, err
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s has no certificate in it", s.CA)
		}
	}
	return (&tls.Dialer{NetDialer: d, Config: conf}).DialContext(ctx, "tcp", net.JoinHostPort(host, port))
}

func (c *conn) close() {
	c.stop()
	_ = c.net.Close()
}

func (c *conn) login(ctx context.Context, s *Server) error {
	if s.Password != "" {
		args := []string{"AUTH", s.Password}
		if s.User != "" {
			args = []string{"AUTH", s.User, s.Password}
		}
		if _, err := c.do(ctx, args...); err != nil {
			if answer, ok := errors.AsType[ServerError](err); ok && answer.code() != "LOADING" {
				return fmt.Errorf("%w (%s)", ErrPassword, answer)
			}
			return err
		}
	}
	_, err := c.do(ctx, "PING")
	if answer, ok := errors.AsType[ServerError](err); ok {
		switch answer.code() {
		case "NOAUTH":
			return fmt.Errorf("%w: it wants a password", ErrPassword)
		case "NOPERM": // this user may do other things
			return nil
		}
	}
	return err
}

// do sends a command and returns the answer.
func (c *conn) do(ctx context.Context, args ...string) (any, error) {
	if err := c.send(ctx, args...); err != nil {
		return nil, err
	}
	v, err := readReply(c.r)
	if answer, ok := errors.AsType[ServerError](err); ok {
		if args[0] == "AUTH" {
			return nil, answer.withoutText() // which may repeat the password
		}
		switch code := answer.code(); {
		case code == "NOPERM":
			return nil, fmt.Errorf("%w: %s (%w)", ErrForbidden, args[0], answer)
		case code == "ERR" && strings.HasPrefix(string(answer), "ERR unknown command"):
			return nil, fmt.Errorf("%w: %s: the server does not know it", ErrForbidden, args[0]) // its answer repeats the arguments
		}
		return nil, answer
	}
	return v, c.explain(ctx, err)
}

// explain returns why the context ended in the place of what that has done to the connection.
func (c *conn) explain(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return fmt.Errorf("redis: %w", err)
}

func (c *conn) send(ctx context.Context, args ...string) error {
	var b strings.Builder
	b.WriteString("*" + strconv.Itoa(len(args)) + "\r\n")
	for _, a := range args {
		b.WriteString("$" + strconv.Itoa(len(a)) + "\r\n" + a + "\r\n")
	}
	c.extend(ctx, answerTimeout)
	_, err := c.net.Write([]byte(b.String()))
	return c.explain(ctx, err)
}

// extend lets the connection be silent for so long from now on.
func (c *conn) extend(ctx context.Context, d time.Duration) {
	_ = c.net.SetDeadline(clock.Now().Add(d))
	if ctx.Err() != nil { // which may have set its own just before
		_ = c.net.SetDeadline(time.Unix(1, 0))
	}
}

// text is do for answers that are texts.
func (c *conn) text(ctx context.Context, args ...string) (string, error) {
	v, err := c.do(ctx, args...)
	if err != nil {
		return "", err
	}
	s, ok := v.(string)
	if !ok {
		return "", fmt.Errorf("%w: to %s", errProtocol, args[0])
	}
	return s, nil
}

// info returns the lines of sections of INFO.
func (c *conn) info(ctx context.Context, section string) (map[string]string, error) {
	text, err := c.text(ctx, "INFO", section)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); ok {
			out[name] = value
		}
	}
	return out, nil
}

// config returns a setting.
func (c *conn) config(ctx context.Context, name string) (string, error) {
	v, err := c.do(ctx, "CONFIG", "GET", name)
	if err != nil {
		return "", err
	}
	pair, _ := v.([]any)
	if len(pair) != 2 {
		return "", fmt.Errorf("redis: the server has no setting %s", name)
	}
	value, _ := pair[1].(string)
	return value, nil
}
