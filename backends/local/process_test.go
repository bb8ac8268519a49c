package local_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/local"
	"github.com/kura-backup/kura/backends/storetest"
	"github.com/kura-backup/kura/internal/testrand"
	"github.com/kura-backup/kura/internal/testsys"
)

// The test binary is also the other process: with childDir set it puts objects
// there instead of running tests.
const (
	childDir  = "KURA_TEST_CHILD_DIR"
	childRace = "KURA_TEST_CHILD_RACE"
)

func TestMain(m *testing.M) {
	dir := os.Getenv(childDir)
	if dir == "" {
		os.Exit(m.Run())
	}
	s, err := local.Open(dir)
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	if os.Getenv(childRace) != "" {
		if err := storetest.Race(context.Background(), s, 1, os.Stdin, os.Stdout); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
	} else {
		putUntilKilled(s)
	}
}

// putUntilKilled puts objects of bytes that tell their own number, and prints
// the name of each when it is done.
func putUntilKilled(s *local.Store) {
	for i := 0; ; i++ {
		name := fmt.Sprintf("data/%02x-%d-%d", i%256, os.Getpid(), i)
		if err := s.Put(context.Background(), name, bulk(name)); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		fmt.Println("done", name)
	}
}

func bulk(name string) []byte { return bytes.Repeat([]byte(name+"\n"), 20_000) }

func child(t *testing.T, env ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	return cmd
}

func TestPut_SeveralProcesses_OneWinnerEach(t *testing.T) {
	dir := testsys.MemoryDir(t)
	commands := map[string]*exec.Cmd{}
	for p := range 4 {
		commands[fmt.Sprintf("process %d", p)] = child(t, childDir+"="+dir, childRace+"=1")
	}
	storetest.RaceProcesses(t, commands, func() backends.Store { return open(t, dir) })
}

// A process is killed at any moment. What it reported is there, nothing is half
// there, and its temporary file goes with the next sweep, while one of a living
// process does not.
func TestPut_KilledAtAnyMoment_NothingHalfAndLitterSwept(t *testing.T) {
	dir := t.TempDir()
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	random := testrand.New(t)
	swept := 0
	for range rounds {
		alive := child(t, childDir+"="+dir)
		aliveOut, err := alive.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		victim := child(t, childDir+"="+dir)
		victimOut, err := victim.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(alive.Start(), victim.Start()); err != nil {
			t.Fatal(err)
		}
		var reported []string
		lines := bufio.NewScanner(victimOut)
		stopAt := 1 + random.IntN(8)
		for len(reported) < stopAt && lines.Scan() {
			reported = append(reported, lines.Text())
		}
		time.Sleep(time.Duration(random.Int64N(3e6))) // any moment
		if err := victim.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() {
			reported = append(reported, lines.Text())
		}
		_ = victim.Wait() // killed

		s := open(t, dir)
		n, err := s.Sweep(t.Context()) // beside the living one
		if err != nil {
			t.Fatal(err)
		}
		swept += n
		aliveLines := bufio.NewScanner(aliveOut)
		for range 3 {
			if !aliveLines.Scan() || !strings.HasPrefix(aliveLines.Text(), "done ") {
				t.Fatalf("the living process: %s", aliveLines.Text())
			}
		}
		if err := alive.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = alive.Wait() // killed

		for _, line := range reported {
			name, ok := strings.CutPrefix(line, "done ")
			if !ok {
				t.Fatalf("the victim: %s", line)
			}
			if got, err := s.Get(t.Context(), name, 0, -1, nil); err != nil || !bytes.Equal(got, bulk(name)) {
				t.Fatalf("%s was reported, and is %d bytes, %v", name, len(got), err)
			}
		}
		for info, err := range s.List(t.Context(), "", "") {
			if err != nil {
				t.Fatal(err)
			}
			if info.Size != int64(len(bulk(info.Name))) {
				t.Fatalf("%s has %d bytes", info.Name, info.Size)
			}
		}
		n, err = s.Sweep(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		swept += n
		if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) != 0 {
			t.Fatalf("litter: %v, %v", left, err)
		}
		s.Close()
	}
	t.Logf("%d temporary files of %d killed processes swept", swept, 2*rounds)
}

func TestPut_TwoStoresOnOneFolder_OneWinnerAndSharedView(t *testing.T) {
	dir := testsys.MemoryDir(t)
	stores := []*local.Store{open(t, dir), open(t, dir)}
	defer stores[0].Close()
	defer stores[1].Close()
	for round := range 10 {
		name := fmt.Sprintf("log/%016d", round)
		won := make([]bool, 16)
		var wg sync.WaitGroup
		for i := range won {
			wg.Go(func() {
				err := stores[i%2].Put(t.Context(), name, []byte{byte(i)})
				won[i] = err == nil
				if err != nil && !errors.Is(err, backends.ErrExist) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		winners := 0
		for _, w := range won {
			if w {
				winners++
			}
		}
		for _, s := range stores {
			if got, err := s.Get(t.Context(), name, 0, -1, nil); err != nil || winners != 1 || !won[got[0]] {
				t.Fatalf("%d winners, content %v, %v", winners, got, err)
			}
		}
	}
	if err := stores[0].Delete(t.Context(), "log/0000000000000000"); err != nil {
		t.Fatal(err)
	}
	if _, err := stores[1].Get(t.Context(), "log/0000000000000000", 0, -1, nil); !errors.Is(err, backends.ErrNotExist) {
		t.Errorf("deleted through the other store: %v", err)
	}
}
