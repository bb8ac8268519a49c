package redis

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ErrRunning says that a server runs on a folder: what it has in memory will replace whatever is put there.
var ErrRunning = errors.New("redis: a server runs on this folder")

// programs are what servers' processes are called. Linux keeps 15 bytes of a name.
var programs = []string{"redis-server", "valkey-server", "keydb-server", "redis-sentinel"}

// running returns ErrRunning if there is a server that works in a folder. Servers change into theirs. What
// this process may not look into counts if it could be the folder's server: it belongs to the folder's owner.
func running(dir string) error {
	want, err := os.Stat(dir)
	if err != nil {
		return err
	}
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	for _, p := range processes {
		name, err := os.ReadFile(p + "/comm")
		if err != nil || !isServer(strings.TrimSpace(string(name))) {
			continue
		}
		pid := filepath.Base(p)
		// Followed by the kernel, which also works for a process that sees other mounts.
		at, err := os.Stat(p + "/cwd")
		switch {
		case err == nil && os.SameFile(at, want):
			return fmt.Errorf("%w: process %s", ErrRunning, pid)
		case errors.Is(err, os.ErrPermission) && sameOwner(p, want):
			return fmt.Errorf("%w, or may do so: process %s belongs to the folder's owner, and only root can see where it works", ErrRunning, pid)
		}
	}
	return nil
}

func isServer(name string) bool {
	for _, p := range programs {
		if name == p[:min(len(p), 15)] {
			return true
		}
	}
	return false
}

func sameOwner(process string, folder os.FileInfo) bool {
	info, err := os.Stat(process)
	return err == nil && owner(info).uid == owner(folder).uid
}

const askTimeout = 3 * time.Second

// answers returns ErrRunning if the server that a configuration is of answers: it may run where its process can not be seen.
func (c *Config) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var servers []*Server
	if c.Socket != "" {
		servers = append(servers, &Server{Socket: c.Socket})
	}
	if port, err := strconv.Atoi(c.Port); err == nil && port > 0 {
		servers = append(servers, &Server{Addr: "127.0.0.1:" + c.Port})
	}
	for _, s := range servers {
		conn, err := dial(ctx, s)
		if conn != nil {
			conn.close()
		}
		if err == nil || errors.Is(err, ErrPassword) || isAnswer(err) {
			return fmt.Errorf("%w: the one of %s answers at %s", ErrRunning, c.Path, s)
		}
	}
	return nil
}
