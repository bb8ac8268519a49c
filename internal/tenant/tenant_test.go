package tenant

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

func TestFind_ProgramWorksInAFolder_Found(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	program := filepath.Join(other, "a-server-with-a-long-name")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho up\nread line\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program)
	cmd.Dir = dir
	if _, err := cmd.StdinPipe(); err != nil { // what it waits for
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	if _, err := out.Read(make([]byte, 1)); err != nil { // Start may return before the process has its new name
		t.Fatal(err)
	}
	if who, sure, err := Find(dir, "x", filepath.Base(program)); err != nil || who != "process "+strconv.Itoa(cmd.Process.Pid) || !sure {
		t.Errorf("%q, %v, %v", who, sure, err)
	}
	for _, c := range []struct{ dir, program string }{{other, filepath.Base(program)}, {dir, "another"}, {dir, "a-server-with"}} {
		if who, _, err := Find(c.dir, c.program); err != nil || who != "" {
			t.Errorf("%s in %s: %q, %v", c.program, c.dir, who, err)
		}
	}
	if _, _, err := Find(filepath.Join(dir, "none"), "x"); err == nil {
		t.Error("a folder that is not there: no error")
	}
}
