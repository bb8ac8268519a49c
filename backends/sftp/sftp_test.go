package sftp_test

import (
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/sftp"
	"github.com/kura-backup/kura/backends/storetest"
	"github.com/kura-backup/kura/internal/testserver"
	"github.com/kura-backup/kura/internal/testsys"
)

// server is where to reach a folder, and how.
type server struct {
	location sftp.Location
	options  sftp.Options
	dir      string // the folder itself
}

func overSSH(t *testing.T, lines ...string) (server, *testserver.SSH) {
	t.Helper()
	s := testserver.Sshd(t, lines...)
	dir := filepath.Join(s.Dir, "kura")
	return server{
		location: sftp.Location{User: s.User, Host: s.Host, Port: s.Port, Path: dir},
		options:  sftp.Options{Args: "-F " + s.Config},
		dir:      dir,
	}, s
}

// directly speaks to a server program without ssh, which costs less.
func directly(t *testing.T, args string) server {
	t.Helper()
	const program = "/usr/lib/openssh/sftp-server"
	if _, err := os.Stat(program); err != nil {
		t.Skipf("%v; `make apt` installs it", err)
	}
	dir := filepath.Join(testsys.MemoryDir(t), "kura")
	return server{
		location: sftp.Location{Host: "nowhere", Path: dir}, dir: dir,
		options: sftp.Options{Command: program + " " + args},
	}
}

func (s server) create(t testing.TB) *sftp.Store {
	t.Helper()
	store, err := sftp.Create(t.Context(), s.location, s.options)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func (s server) open(t testing.TB) *sftp.Store {
	t.Helper()
	store, err := sftp.Open(t.Context(), s.location, s.options)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func (s server) in(dir string) server {
	s.location.Path, s.dir = dir, dir
	return s
}

func closed(t testing.TB, s backends.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func TestStore_KeepsTheContract(t *testing.T) {
	var s server
	if testing.Short() {
		s = directly(t, "") // handshakes take most of the time
	} else {
		s, _ = overSSH(t)
		s.options.Connections = 2 // for the same reason
	}
	defer testsys.VerifyNone(t, goleak.IgnoreCurrent())
	storetest.Run(t, func(t *testing.T) backends.Store {
		store := s.in(testsys.MemoryDir(t)).create(t)
		if want := (backends.Caps{CreateOnly: true, Durable: true}); store.Caps() != want {
			t.Errorf("%+v", store.Caps())
		}
		return store
	})
}

// What old servers, and those of others, can not do.
func TestStore_ServerWithoutExtensions_KeepsTheContract(t *testing.T) {
	const missing = "hardlink,fsync,posix-rename,statvfs,fstatvfs,lsetstat,limits,expand-path,copy-data,fsetstat,setstat"
	s := directly(t, "-P "+missing)
	storetest.Run(t, func(t *testing.T) backends.Store {
		store := s.in(testsys.MemoryDir(t)).create(t)
		if want := (backends.Caps{CreateOnly: true}); store.Caps() != want {
			t.Errorf("%+v", store.Caps())
		}
		return store
	})
}
