package testvm_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kura-backup/kura/internal/testvm"
)

func machine(t *testing.T, script string) *testvm.Machine {
	t.Helper()
	folder := os.Getenv(testvm.Var)
	if folder == "" {
		t.Skip("make test-lvm runs virtual machines")
	}
	return &testvm.Machine{Folder: folder, Script: script, Memory: 1024}
}

func TestMachine_ScriptEnds_ItsStatusAndWhatItSaidAreKnown(t *testing.T) {
	hello := filepath.Join(t.TempDir(), "hello")
	if err := os.WriteFile(hello, []byte("#!/bin/sh\necho it is $(cat /sys/block/vdb/size)\nexit 7\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	m := machine(t, "./hello")
	m.Programs = map[string]string{"hello": hello}
	m.Disks = []int64{1 << 20, 2 << 20}
	var out bytes.Buffer
	err := m.Run(t.Context(), &out)
	t.Logf("%s", &out)
	if status := testvm.StatusError(0); !errors.As(err, &status) || status != 7 {
		t.Errorf("%v", err)
	}
	if !strings.Contains(out.String(), "\nit is 4096\n") {
		t.Error("the program or its disk is missing")
	}
}

func TestMachine_StopsInTheMiddle_IsAnError(t *testing.T) {
	var out bytes.Buffer
	err := machine(t, "echo c >/proc/sysrq-trigger; sleep 1000").Run(t.Context(), &out)
	if !errors.Is(err, testvm.ErrEnded) || !strings.Contains(err.Error(), "sysrq triggered crash") {
		t.Errorf("%v\n%s", err, &out)
	}
}
