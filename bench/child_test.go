package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func callWithInput(t *testing.T, script string) call {
	t.Helper()
	folder := t.TempDir()
	input := filepath.Join(folder, "input")
	if err := os.WriteFile(input, make([]byte, 4<<20), 0o600); err != nil { // more than a pipe holds
		t.Fatal(err)
	}
	return call{
		program: "sh", args: []string{"-c", script}, dir: folder, env: []string{"PATH=" + os.Getenv("PATH")},
		stdin: input, stderr: filepath.Join(folder, "stderr"),
	}
}

func TestMeasure_InputThatWasReadInPart_IsNoSuccess(t *testing.T) {
	if _, err := measure(t.Context(), callWithInput(t, "cat")); err != nil {
		t.Fatalf("all was read: %v", err)
	}
	if _, err := measure(t.Context(), callWithInput(t, "head -c 1000")); err == nil {
		t.Error("a program that read the first bytes alone was measured")
	}
}

func TestMeasure_InputThatCanNotBeRead_IsNoSuccess(t *testing.T) {
	c := callWithInput(t, "cat")
	c.stdin += ".missing"
	if _, err := measure(t.Context(), c); err == nil {
		t.Error("a program that got nothing was measured")
	}
}

func TestMeasure_ProgramThatFails_SaysWhy(t *testing.T) {
	_, err := measure(t.Context(), callWithInput(t, "echo no room >&2; exit 3"))
	if err == nil || !strings.Contains(err.Error(), "no room") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("error %v", err)
	}
}
