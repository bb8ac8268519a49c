package testserver

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kura-backup/kura/internal/clock"
)

const sshdVar = "KURA_TEST_SSHD"

// SSH is a running sshd that lets its own user in, by a key. It is safe for concurrent use.
type SSH struct {
	Host string
	Port int
	User string
	Dir  string // for whatever the tests store
	Key  string // file with the private key
	// Config is a file for ssh -F, with which ssh finds the key, knows the host, and asks nothing.
	Config string

	lines   []string // further ones of its configuration
	sshd    string
	program *process
}

// Sshd starts an OpenSSH server for one test. Its configuration begins with the given lines, before which
// sshd takes no later ones. The server is the one that the environment names (KURA_TEST_SSHD), or the system's;
// without any the test is skipped.
func Sshd(t testing.TB, lines ...string) *SSH {
	t.Helper()
	if _, err := sshdPath(); err != nil {
		t.Skipf("%v; `make apt` installs it", err)
	}
	s, err := StartSshd(lines...)
	if err != nil {
		t.Fatalf("testserver: %v", err)
	}
	t.Cleanup(s.Remove)
	return s
}

// HasSshd reports whether there is a server to be started.
func HasSshd() bool {
	_, err := sshdPath()
	return err == nil
}

func sshdPath() (string, error) {
	if path := os.Getenv(sshdVar); path != "" {
		return path, nil
	}
	return exec.LookPath("/usr/sbin/sshd")
}

// StartSshd is Sshd for what is no test of its own: Remove stops the server.
func StartSshd(lines ...string) (*SSH, error) {
	path, err := sshdPath()
	if err != nil {
		return nil, err
	}
	// No folder of a test: sockets and the like want short names, and the test may end by a panic of the server's.
	dir, err := os.MkdirTemp("", "kura-sshd-")
	if err != nil {
		return nil, err
	}
	s := &SSH{Host: "127.0.0.1", Dir: filepath.Join(dir, "home"), lines: lines, sshd: path}
	if err := s.prepare(dir); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := s.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

// Remove stops the server and removes its files.
func (s *SSH) Remove() {
	s.Stop()
	_ = os.RemoveAll(s.program.dir) // what a test has made unreadable there is not ours to mend
}

// prepare makes keys and configuration.
func (s *SSH) prepare(dir string) error {
	me, err := user.Current()
	if err != nil {
		return err
	}
	s.User = me.Username
	if err := os.Mkdir(s.Dir, 0o700); err != nil {
		return err
	}
	if os.Getuid() == 0 {
		// Where the server leaves its rights; the system's own makes it when it starts.
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			return err
		}
	}
	s.Key = filepath.Join(dir, "key")
	for _, key := range []string{s.Key, filepath.Join(dir, "hostkey")} {
		if err := s.keygen(key, ""); err != nil {
			return err
		}
	}
	public, err := os.ReadFile(s.Key + ".pub")
	if err != nil {
		return err
	}
	s.program = &process{dir: dir}
	s.Config = filepath.Join(dir, "ssh_config")
	return os.WriteFile(filepath.Join(dir, "authorized"), public, 0o600)
}

// NewKey makes another key that the server lets in, protected by a passphrase, and returns its file.
func (s *SSH) NewKey(t testing.TB, passphrase string) string {
	t.Helper()
	key := filepath.Join(t.TempDir(), "key")
	err := s.keygen(key, passphrase)
	if err == nil {
		err = s.authorize(key + ".pub")
	}
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// Only makes the server let in one key alone.
func (s *SSH) Only(t testing.TB, key string) {
	t.Helper()
	line, err := os.ReadFile(key + ".pub")
	if err == nil {
		err = os.WriteFile(filepath.Join(s.program.dir, "authorized"), line, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (s *SSH) authorize(public string) error {
	line, err := os.ReadFile(public)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(s.program.dir, "authorized"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(line)
	return errors.Join(err, f.Close())
}

func (s *SSH) keygen(file, passphrase string) error {
	out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", file).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ssh-keygen: %w: %s", err, out)
	}
	return nil
}

// Start starts a server that was stopped, at the same port.
func (s *SSH) Start() error {
	for try := 1; ; try++ {
		err := s.launch()
		if err == nil || try == startTries {
			return err
		}
	}
}

func (s *SSH) launch() (err error) {
	if s.Port == 0 {
		if s.Port, err = freePort(); err != nil {
			return err
		}
		// Once: clients may be about to read it while the server is started again.
		if err := s.writeClientConfig(); err != nil {
			return err
		}
	}
	dir := s.program.dir
	file := filepath.Join(dir, "sshd_config")
	config := append(
		append([]string(nil), s.lines...), "Port "+strconv.Itoa(s.Port), "ListenAddress "+s.Host, "HostKey "+filepath.Join(dir, "hostkey"),
		"AuthorizedKeysFile "+filepath.Join(dir, "authorized"), "PidFile none", "StrictModes no", "UsePAM no", "PermitRootLogin yes",
		"PasswordAuthentication no", "KbdInteractiveAuthentication no", "MaxStartups 100", "Subsystem sftp internal-sftp -d "+s.Dir,
	)
	if err := os.WriteFile(file, []byte(strings.Join(config, "\n")+"\n"), 0o600); err != nil {
		return err
	}
	p, err := start(dir, s.sshd, []string{"-D", "-e", "-f", file}, nil)
	if err != nil {
		return err
	}
	s.program = p
	if err := s.await(); err != nil {
		p.stop()
		return err
	}
	return nil
}

func (s *SSH) writeClientConfig() error {
	dir := s.program.dir
	known, err := os.ReadFile(filepath.Join(dir, "hostkey.pub"))
	if err != nil {
		return err
	}
	knownFile := filepath.Join(dir, "known")
	line := fmt.Sprintf("[%s]:%d %s", s.Host, s.Port, known)
	config := []string{
		"Host kura-test", "HostName " + s.Host, "Port " + strconv.Itoa(s.Port), "User " + s.User,
		"Host *", "IdentityFile " + s.Key, "IdentitiesOnly yes", "IdentityAgent none", "UserKnownHostsFile " + knownFile,
		"GlobalKnownHostsFile /dev/null", "StrictHostKeyChecking yes", "PreferredAuthentications publickey",
		// What takes the least CPU: with the defaults a connection costs half as much again.
		"KexAlgorithms ^curve25519-sha256", "Ciphers ^aes128-gcm@openssh.com",
	}
	return errors.Join(
		os.WriteFile(knownFile, []byte(line), 0o600),
		os.WriteFile(s.Config, []byte(strings.Join(config, "\n")+"\n"), 0o600),
	)
}

// await returns when the server greets.
func (s *SSH) await() error {
	for deadline := clock.Now().Add(startTimeout); ; {
		err := s.greet()
		if err == nil {
			return nil
		}
		select {
		case <-s.program.done:
			return fmt.Errorf("sshd ended: %s", s.program.tail())
		case <-time.After(pollEvery):
		}
		if clock.Now().After(deadline) {
			return fmt.Errorf("sshd does not get ready: %w: %s", err, s.program.tail())
		}
	}
}

func (s *SSH) greet() error {
	c, err := net.DialTimeout("tcp", s.Addr(), time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetReadDeadline(clock.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	hello := make([]byte, 4)
	if _, err := c.Read(hello); err != nil || string(hello) != "SSH-" {
		return fmt.Errorf("it says %q: %w", hello, err)
	}
	return nil
}

// Addr is the server's address.
func (s *SSH) Addr() string { return net.JoinHostPort(s.Host, strconv.Itoa(s.Port)) }

// Stop kills the server with all of its connections. Its files stay until the test ends.
func (s *SSH) Stop() {
	sessions := s.Sessions()
	s.program.stop()
	for _, pid := range sessions {
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
	}
}

// Log is the end of what the server has printed.
func (s *SSH) Log() string { return string(s.program.tail()) }

// Sessions returns the processes of the server that serve connections.
func (s *SSH) Sessions() []int { return Children(s.program.cmd.Process.Pid) }

// Children returns the processes that a process has started, with theirs.
func Children(of int) []int {
	parents := make(map[int]int)
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is right
	for _, file := range stats {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(fields) > 1 {
			parents[pid], _ = strconv.Atoi(string(fields[1]))
		}
	}
	var children []int
	for pid := range parents {
		for up := parents[pid]; up != 0; up = parents[up] {
			if up == of {
				children = append(children, pid)
				break
			}
		}
	}
	return children
}
