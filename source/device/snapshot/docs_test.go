package snapshot

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// standIn is a cloud of which only the program exists (testdata/cloud), the volume that is backed up, and the script of the page for it.
type standIn struct {
	t                   *testing.T
	dir, volume, device string // what is in it, the volume, and the name for the copy
	program, leases     string
}

// newStandIn takes the script out of docs/devices.md as it is there.
func newStandIn(t *testing.T) *standIn {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "devices.md"))
	must(t, err)
	found := regexp.MustCompile("(?ms)^```sh cloud\n(.*?)^```$").FindAllSubmatch(page, -1)
	if len(found) != 1 {
		t.Fatalf("%d scripts for a cloud in docs/devices.md", len(found))
	}
	dir, programs, disks := t.TempDir(), t.TempDir(), t.TempDir()
	for _, name := range []string{"aws", "sleep"} {
		write(t, filepath.Join(programs, name), read(t, filepath.Join("testdata", "cloud", name)))
		must(t, os.Chmod(filepath.Join(programs, name), 0o755))
	}
	s := &standIn{
		t: t, dir: dir, volume: write(t, filepath.Join(disks, "nvme1n1"), "before"), device: filepath.Join(disks, "sdk"),
		program: write(t, filepath.Join(programs, "cloud-snapshot"), string(found[0][1])), leases: t.TempDir(),
	}
	must(t, os.Chmod(s.program, 0o755))
	for name, value := range map[string]string{
		"PATH": programs + ":" + os.Getenv("PATH"), "CLOUD": dir, "SOURCE": s.volume,
		"VOLUME": "vol-source", "ZONE": "zone-1", "INSTANCE": "i-1", "FREE": s.device,
	} {
		t.Setenv(name, value)
	}
	return s
}

func (s *standIn) take() (*Taken, error) {
	return newTaker(s.t, s.leases, "command", Options{Command: s.program}).Take(s.t.Context(), []string{s.volume})
}

// left returns what is in the cloud, and the leases.
func (s *standIn) left() []string {
	s.t.Helper()
	there, err := filepath.Glob(filepath.Join(s.dir, "[sv][no]*-*"))
	must(s.t, err)
	if _, err := os.Lstat(s.device); err == nil {
		there = append(there, s.device)
	}
	return append(there, entries(s.t, s.leases)...)
}

func (s *standIn) calls() []string { return strings.Fields(read(s.t, filepath.Join(s.dir, "calls"))) }

func TestDocs_CloudScript_CopyIsOfItsMomentAndNothingIsLeft(t *testing.T) {
	s := newStandIn(t)
	taken, err := s.take()
	must(t, err)
	write(t, s.volume, "after")
	if at := taken.Copies[0].At; at != s.device || read(t, at) != "before" {
		t.Errorf("at %s: %q", at, read(t, at))
	}
	if got := s.left(); len(got) != 4 {
		t.Errorf("there are %q", got)
	}
	_, stop := taken.Watch(t.Context(), time.Hour)
	must(t, stop())
	must(t, taken.Remove(t.Context()))
	if got := s.left(); len(got) != 0 {
		t.Errorf("left: %q", got)
	}
	var changes []string
	for _, call := range s.calls() {
		if !strings.HasPrefix(call, "describe-") {
			changes = append(changes, call)
		}
	}
	want := strings.Fields("create-snapshot create-volume wait volume-available attach-volume detach-volume wait volume-available delete-volume delete-snapshot")
	if !slices.Equal(changes, want) {
		t.Errorf("%q", changes)
	}
	// To remove what is not there is no error: of a run that was killed nobody knows how far it came.
	p, err := New("command", Options{Command: s.program})
	must(t, err)
	must(t, p.Remove(t.Context(), &Copy{Name: "kura-0123456789abcdef", Of: s.volume, At: s.device}))
}

func TestDocs_CloudScriptCallFails_RunFailsAndNothingIsLeft(t *testing.T) {
	for _, call := range []string{"create-snapshot", "describe-snapshots", "describe-volumes", "create-volume", "wait volume-available", "attach-volume"} {
		t.Run(call, func(t *testing.T) {
			s := newStandIn(t)
			write(t, filepath.Join(s.dir, "fail-"+call), "")
			var failed *CommandError
			if _, err := s.take(); !errors.As(err, &failed) || !strings.Contains(err.Error(), "RequestLimitExceeded") {
				t.Errorf("%v", err)
			}
			if got := s.left(); len(got) != 0 {
				t.Errorf("left: %q", got)
			}
		})
	}
	for _, call := range []string{"describe-snapshots", "describe-volumes", "detach-volume", "delete-volume", "delete-snapshot"} {
		t.Run("removing: "+call, func(t *testing.T) {
			s := newStandIn(t)
			taken, err := s.take()
			must(t, err)
			write(t, filepath.Join(s.dir, "fail-"+call), "")
			if err := taken.Remove(t.Context()); err == nil {
				t.Error("it is said to be removed")
			}
			taker := newTaker(t, s.leases, "command", Options{Command: s.program})
			left, err := taker.Leases.Left() // as the next run does
			must(t, err)
			for i := range left {
				must(t, left[i].Remove(t.Context()))
			}
			if got := s.left(); len(left) != 1 || len(got) != 0 {
				t.Errorf("%d leases, left: %q", len(left), got)
			}
		})
	}
}

func TestDocs_CloudScriptOtherDisk_IsNotTakenForTheCopy(t *testing.T) {
	s := newStandIn(t)
	write(t, s.device, "of somebody else")
	if _, err := s.take(); err == nil || !strings.Contains(err.Error(), "is in use") {
		t.Errorf("%v", err)
	}
	if slices.Contains(s.calls(), "create-snapshot") || read(t, s.device) != "of somebody else" {
		t.Errorf("%q", s.calls())
	}
	must(t, os.Remove(s.device))

	// One that comes while the snapshot is made, as that of a second run.
	program := s.program
	s.program = write(t, program+"-late", "#!/bin/sh -e\ntest $KURA_SNAPSHOT != check || echo 'of somebody else' > $FREE\nexec "+program+"\n")
	must(t, os.Chmod(s.program, 0o755))
	if _, err := s.take(); !errors.Is(err, ErrOverflow) {
		t.Errorf("%v", err)
	}
	must(t, os.Remove(s.device))
	if got := s.left(); len(got) != 0 {
		t.Errorf("left: %q", got)
	}
}

func TestDocs_CloudScriptCopyGoesAway_RunFailsAndItIsNotMadeAgain(t *testing.T) {
	s := newStandIn(t)
	taken, err := s.take()
	must(t, err)
	ctx, stop := taken.Watch(t.Context(), time.Millisecond)
	must(t, os.Remove(s.device))
	<-ctx.Done()
	if err := errors.Join(context.Cause(ctx), stop()); !errors.Is(err, ErrOverflow) {
		t.Errorf("%v", err)
	}
	must(t, taken.Remove(t.Context()))
	if made := strings.Count(strings.Join(s.calls(), " "), "create-volume"); made != 1 || len(s.left()) != 0 {
		t.Errorf("made %d times, left: %q", made, s.left())
	}
}
