package repo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/seal"
)

// Sign is a sign of life that a session gave.
type Sign struct {
	Time    int64  `cbor:"1,keyasint"` // ns since 1970, by the clock of the session's host
	Host    string `cbor:"2,keyasint,omitempty"`
	Process string `cbor:"3,keyasint,omitempty"`
}

// PutSign stores the session's k-th sign of life.
func (r *Repository) PutSign(ctx context.Context, sid object.SessionID, k uint32, host string) error {
	plain, err := wire.Marshal(Sign{Time: now(), Host: strings.ToValidUTF8(host, "\uFFFD"), Process: processMark()})
	if err != nil {
		return err
	}
	obj, err := r.Keys().Seal(object.Sign, nil, seal.BindSign(r.Keys().RepoID(), sid, k), plain)
	if err != nil {
		return err
	}
	return putObject(ctx, r.store, object.SignName(sid, k), obj)
}

// LoadSign reads a sign of life by its name. That of another session, or another one of the session, is damaged.
func (r *Repository) LoadSign(ctx context.Context, name string) (*Sign, error) {
	s, _, err := r.loadSign(ctx, name)
	return s, err
}

// loadSign is LoadSign that also returns the epoch in which the sign is sealed.
func (r *Repository) loadSign(ctx context.Context, name string) (s *Sign, epoch uint32, err error) {
	sid, k, err := object.ParseSignName(name)
	if err != nil {
		return nil, 0, err
	}
	obj, err := r.store.Get(ctx, name, 0, -1, nil)
	if err != nil {
		return nil, 0, err
	}
	_, plain, err := r.Keys().Open(object.Sign, seal.BindSign(r.Keys().RepoID(), sid, k), obj)
	if err != nil {
		return nil, 0, &DamageError{Object: name, Err: err}
	}
	s = new(Sign)
	if err := wire.Unmarshal(plain, s); err != nil {
		return nil, 0, &DamageError{Object: name, Err: err}
	}
	h, err := seal.ParseHeader(obj)
	return s, h.Epoch, err
}

// Dead reports whether the process that gave the sign certainly is no more: it was on this boot of
// this machine, and there is no such process. False means that nothing is known.
func (s *Sign) Dead() bool {
	boot, rest, ok := strings.Cut(s.Process, ":")
	pid, start, ok2 := strings.Cut(rest, ":")
	if !ok || !ok2 || boot == "" || boot != bootID() {
		return false
	}
	n, err := strconv.ParseUint(pid, 10, 31)
	if err != nil || n == 0 {
		return false
	}
	now, err := processStart(pid)
	return os.IsNotExist(err) && gone(int(n)) || err == nil && now != start
}

// gone reports whether there is no such process: /proc may hide those of other users (hidepid=2), and this answers that we may not signal them.
func gone(pid int) bool {
	p, err := os.FindProcess(pid)
	if err != nil {
		return false
	}
	defer p.Release()
	return errors.Is(p.Signal(syscall.Signal(0)), os.ErrProcessDone)
}

// processMark identifies this process among all that ever ran on this machine, or is empty.
func processMark() string {
	boot, pid := bootID(), strconv.Itoa(os.Getpid())
	start, err := processStart(pid)
	if err != nil || boot == "" {
		return ""
	}
	return boot + ":" + pid + ":" + start
}

// bootID is a random id of this boot together with the namespace in which process ids are counted:
// containers of one machine must not take each other's processes for dead.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	ns, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b)) + "/" + strings.Trim(ns, "pid:[]")
}

// processStart is when a process started, in clock ticks since the boot.
func processStart(pid string) (string, error) {
	b, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return "", err
	}
	// The name in parentheses may have spaces in it; the start is the 20th field behind it.
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) < 20 {
		return "", fmt.Errorf("repo: /proc/%s/stat has %d fields", pid, len(fields))
	}
	return fields[19], nil
}
