package snapshot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestTake_Lock_IsHeldAroundTheCopyAlone(t *testing.T) {
	t.Setenv("KURA_PASSWORD", "secret")
	image := write(t, filepath.Join(t.TempDir(), "volume"), "x")
	lock, log := script(t, `echo locked >> $LOG
KURA_MYSQL_GTID=0-1-5 "$@"
status=$?
echo "unlocked after $status" >> $LOG
exit $status`)
	program, _ := script(t, fmt.Sprintf("LOG=%s\n%s", log, cloud))
	taker := newTaker(t, t.TempDir(), "command", Options{Command: program})
	taker.Lock = lock
	taken, err := taker.Take(t.Context(), []string{image})
	must(t, err)
	must(t, taken.Remove(t.Context()))
	var steps []string
	for line := range strings.Lines(read(t, log)) {
		steps = append(steps, strings.Fields(line)[0])
	}
	if got := strings.Join(steps, " "); got != "locked create unlocked check remove" {
		t.Errorf("%s", got)
	}
	if taken.Lock["mysql_gtid"] != "0-1-5" || len(taken.Lock) != 1 || taken.Locked <= 0 {
		t.Errorf("%v, %v", taken.Lock, taken.Locked)
	}
	t.Logf("locked for %v", taken.Locked)
}

func TestTake_CopyUnderLockFails_LockCommandIsTold(t *testing.T) {
	image := write(t, filepath.Join(t.TempDir(), "volume"), "x")
	lock, log := script(t, `"$@"
echo "status $?" >> $LOG; exit 0`)
	taker := newTaker(t, t.TempDir(), "command", Options{Command: "test $KURA_SNAPSHOT = remove"})
	taker.Lock = lock
	var failed *CommandError
	if _, err := taker.Take(t.Context(), []string{image}); !errors.As(err, &failed) || errors.Is(err, ErrLock) {
		t.Errorf("%v", err)
	}
	if got := read(t, log); got != "status 1\n" {
		t.Errorf("%q", got)
	}
}

func TestTake_LockIsNotThereOrLost_Fails(t *testing.T) {
	for name, body := range map[string]string{
		"not got":          `exit 7`,
		"given up":         `"$@" & sleep 0.1; kill $!; wait $!; exit 0`,
		"fails at the end": `"$@"; exit 3`,
		"killed":           `"$@"; kill -9 $$`,
	} {
		leases := t.TempDir()
		image := write(t, filepath.Join(t.TempDir(), "volume"), "x")
		lock, _ := script(t, body)
		program, log := script(t, "test $KURA_SNAPSHOT != create || sleep 0.4\n"+cloud)
		taker := newTaker(t, leases, "command", Options{Command: program})
		taker.Lock = lock
		_, err := taker.Take(t.Context(), []string{image})
		if !errors.Is(err, ErrLock) || len(entries(t, leases)) != 0 {
			t.Errorf("%s: %v, left %q", name, err, entries(t, leases))
		}
		switch steps, err := os.ReadFile(log); {
		case name == "not got":
			if err == nil {
				t.Errorf("%s: %s", name, steps)
			}
		case !strings.Contains(string(steps), "remove "+image):
			t.Errorf("%s: %v, %s", name, err, steps)
		}
	}
}

func TestTake_CopyTakesTooLongUnderTheLock_IsEnded(t *testing.T) {
	image := write(t, filepath.Join(t.TempDir(), "volume"), "x")
	lock, _ := script(t, `exec "$@"`)
	taker := newTaker(t, t.TempDir(), "command", Options{Command: "test $KURA_SNAPSHOT != create || exec sleep 60"})
	taker.Lock, taker.Watchdog.Longest = lock, 200*time.Millisecond
	if _, err := taker.Take(t.Context(), []string{image}); err == nil {
		t.Error("it was not ended")
	}
}
