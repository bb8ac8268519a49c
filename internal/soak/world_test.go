package soak

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/zeebo/blake3"
)

// manifest says what is in a folder: for each path the kind, the size, and the hash of the content.
type manifest map[string]string

// world is the repository, and what is known of it.
type world struct {
	t     *testing.T
	seed  uint64
	dir   string
	where string
	key   string

	program string // kura

	once   sync.Once
	failed chan struct{} // closed with the first failure

	mu      sync.Mutex
	told    map[string]manifest   // snapshots that a writer was told are committed, by id
	maybe   map[string][]manifest // what writers were killed over, by host
	running map[*exec.Cmd]struct{}
	counts
}

// counts are what the test prints.
type counts struct {
	commits, conflicts, repeats, gaveUp int
	forgets, prunes, busy, looks        int
	impatient, revoked                  int
	killed, stopped                     int
}

func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	w.t.Errorf(format, args...)
	w.once.Do(func() { close(w.failed) })
}

func (w *world) must(_ []byte, err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// count changes the counts.
func (w *world) count(change func(*counts)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(&w.counts)
}

// errKilled is a process that disturb has killed.
var errKilled = errors.New("killed")

// exitBusy is how a command ends whom others were in the way of.
const exitBusy = 11

// kura runs a command, which may be stopped and killed, and returns what it printed on stdout. who names the cache.
func (w *world) kura(who string, args ...string) ([]byte, error) {
	cmd := exec.Command(w.program, args...)
	cmd.Env = append(os.Environ(),
		"KURA_REPOSITORY="+w.where, "KURA_KEY_FILE="+w.key, "KURA_CACHE_DIR="+filepath.Join(w.dir, "cache-"+who),
		"HOME="+w.dir, "TMPDIR="+w.dir, "GOMAXPROCS=2")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	w.mu.Lock()
	err := cmd.Start()
	if err == nil {
		w.running[cmd] = struct{}{}
	}
	w.mu.Unlock()
	if err != nil {
		return nil, err
	}
	err = cmd.Wait()
	w.mu.Lock()
	delete(w.running, cmd)
	w.mu.Unlock()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGKILL {
		return nil, errKilled
	}
	if err != nil {
		return stdout.Bytes(), fmt.Errorf("kura %s: %w\n%s%s", strings.Join(args, " "), err, &stdout, &stderr)
	}
	return stdout.Bytes(), nil
}

// isBusy reports whether a command gave up because of what others did.
func isBusy(err error) bool {
	exit, ok := errors.AsType[*exec.ExitError](err)
	return ok && exit.ExitCode() == exitBusy
}

// disturb stops and kills processes at random until calm.
func (w *world) disturb(calm <-chan struct{}) {
	rng := w.rng(1000)
	var asleep sync.WaitGroup
	defer asleep.Wait()
	for {
		select {
		case <-calm:
			return
		case <-time.After(time.Duration(20+rng.IntN(300)) * time.Millisecond):
		}
		w.mu.Lock()
		for cmd := range w.running { // in a random order
			if rng.IntN(3) == 0 {
				w.killed++
				_ = cmd.Process.Kill() // it may have ended
				break
			}
			w.stopped++
			_ = cmd.Process.Signal(syscall.SIGSTOP)
			long := time.Duration(100+rng.IntN(3000)) * time.Millisecond
			asleep.Go(func() {
				select {
				case <-calm:
				case <-time.After(long):
				}
				_ = cmd.Process.Signal(syscall.SIGCONT)
			})
			break
		}
		w.mu.Unlock()
	}
}

func (w *world) rng(n int) *rand.Rand { return rand.New(rand.NewPCG(w.seed, uint64(n))) }

// change gives some files of a folder new content, and removes others.
func change(rng *rand.Rand, root string) error {
	if err := os.MkdirAll(root, 0o755); err != nil {
		return err
	}
	for range 1 + rng.IntN(12) {
		path := filepath.Join(root, fmt.Sprintf("d%d", rng.IntN(5)), fmt.Sprintf("f%d", rng.IntN(20)))
		if rng.IntN(5) == 0 {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, content(rng), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// content is of a few kinds that all writers share, with a part of its own: they rely on the packs of each other.
func content(rng *rand.Rand) []byte {
	var key [32]byte
	key[0] = byte(rng.IntN(40))
	data := make([]byte, 1<<rng.IntN(19))
	rand.NewChaCha8(key).Read(data)
	if rng.IntN(2) == 0 {
		data = fmt.Append(data, rng.Uint64())
	}
	return data
}

// describe returns the manifest of a folder.
func describe(root string) (manifest, error) {
	m := manifest{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil || rel == "." {
			return err
		}
		if d.IsDir() {
			m[rel] = "folder"
			return nil
		}
		data, err := os.ReadFile(path)
		m[rel] = fmt.Sprintf("%d %x", len(data), blake3.Sum256(data))
		return err
	})
	return m, err
}

// summary is what kura prints at the end with --json.
type summary struct {
	Type       string `json:"message_type"`
	SnapshotID string `json:"snapshot_id"`
	Conflicts  int    `json:"conflicts"`
	Repeats    int    `json:"repeats"`
}

func parseSummary(out []byte) (s summary, err error) {
	for line := range bytes.Lines(out) {
		if err := json.Unmarshal(line, &s); err != nil {
			return s, err
		}
		if s.Type == "summary" {
			return s, nil
		}
	}
	return s, fmt.Errorf("no summary in %s", out)
}
