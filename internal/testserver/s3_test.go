package testserver

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// ended says whether a process is gone.
func ended(pid int) bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

func TestVersitygw_AfterTheLastTest_IsGone(t *testing.T) {
	var s, again *S3
	t.Run("first", func(t *testing.T) {
		s = Versitygw(t)
		t.Run("shared", func(t *testing.T) {
			if again = Versitygw(t); again != s {
				t.Error("a second server was started")
			}
		})
		if err := s.listBuckets(t.Context()); err != nil {
			t.Error(err)
		}
	})
	if s == nil {
		t.Skip("there is no versitygw")
	}
	if err := s.listBuckets(t.Context()); err == nil {
		t.Error("it still answers")
	}
	if _, err := os.Stat(s.process.dir); !os.IsNotExist(err) {
		t.Errorf("its folder: %v", err)
	}
}

const childVar = "KURA_TEST_CHILD"

// A test binary that is killed, as by a timeout, leaves no server behind.
func TestVersitygw_TestBinaryKilled_ServerEnds(t *testing.T) {
	if os.Getenv(childVar) != "" {
		s := Versitygw(t)
		fmt.Printf("\n%s %d %s\n", childVar, s.process.cmd.Process.Pid, s.process.dir)
		select {}
	}
	requireProgram(t, versitygwVar, "versitygw")
	child := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$")
	child.Env = append(os.Environ(), childVar+"=1")
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	var dir string
	for lines := bufio.NewScanner(out); pid == 0 && lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), childVar+" "); ok {
			number, folder, _ := strings.Cut(rest, " ")
			if pid, err = strconv.Atoi(number); err != nil {
				t.Error(err)
			}
			dir = folder
		}
	}
	if err := child.Process.Kill(); err != nil {
		t.Error(err)
	}
	_, _ = io.Copy(io.Discard, out)
	_ = child.Wait() // it was killed
	if pid == 0 {
		t.Fatal("the child has started no server")
	}
	defer os.RemoveAll(dir)
	for deadline := time.Now().Add(startTimeout); !ended(pid); time.Sleep(pollEvery) {
		if time.Now().After(deadline) {
			t.Fatal("the server outlives the tests")
		}
	}
}

func TestProgram_NamedByTheEnvironment_MustBeThere(t *testing.T) {
	t.Setenv(versitygwVar, "/no/such/program")
	if _, err := program(versitygwVar, "versitygw"); !os.IsNotExist(err) {
		t.Errorf("%v", err)
	}
	t.Setenv(versitygwVar, "")
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	if _, err := program(versitygwVar, "versitygw"); err == nil || !strings.Contains(err.Error(), "kura-tools") {
		t.Errorf("%v", err)
	}
}
