package snapshot

import (
	"context"
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
		"given up":         `"$@" & until test -e "$STEPS.begun"; do sleep 0.02; done; kill $!; wait $!; touch "$STEPS.given"; exit 0`,
		"fails at the end": `"$@"; exit 3`,
		"killed":           `"$@"; kill -9 $$`,
	} {
		leases := t.TempDir()
		image := write(t, filepath.Join(t.TempDir(), "volume"), "x")
		lock, _ := script(t, body)
		// Where the lock is given up that is before the copy is there.
		program, log := script(t, `touch $LOG.begun
test $KURA_SNAPSHOT != create -o "$GIVEN" != "given up" || until test -e $LOG.given; do sleep 0.02; done
`+cloud)
		t.Setenv("STEPS", log)
		t.Setenv("GIVEN", name)
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

// Providers that are the kernel's do not look at their context, and some commands can not be ended: the holder goes by itself.
func TestTake_CopyGoesOnForTooLong_LockIsGivenUpMeanwhileAndTheRunFails(t *testing.T) {
	leases := t.TempDir()
	image := write(t, filepath.Join(t.TempDir(), "volume"), "x")
	lock, log := script(t, `"$@"
status=$?; echo "status $status" >> $LOG; exit $status`)
	taker := newTaker(t, leases, "command", Options{Command: "true"})
	var atRelease string
	taker.Provider = deaf{taker.Provider, func() {
		for i := 0; i < 6000 && atRelease == ""; i++ { // not ended by anything
			time.Sleep(10 * time.Millisecond)
			if b, err := os.ReadFile(log); err == nil {
				atRelease = string(b)
			}
		}
	}}
	taker.Lock, taker.Watchdog.Longest = lock, 200*time.Millisecond
	_, err := taker.Take(t.Context(), []string{image})
	if !errors.Is(err, ErrLock) {
		t.Errorf("%v", err)
	}
	if atRelease != "status 1\n" {
		t.Errorf("the lock was held for as long as the copy was made: %q", atRelease)
	}
	if got := entries(t, leases); len(got) != 0 {
		t.Errorf("left: %q", got)
	}
}

func TestTake_CopyIsThereTooLate_Fails(t *testing.T) {
	image := write(t, filepath.Join(t.TempDir(), "volume"), "x")
	lock, _ := script(t, `"$@"; exit 0`)
	taker := newTaker(t, t.TempDir(), "command", Options{Command: "true"})
	taker.Provider = deaf{taker.Provider, func() { time.Sleep(300 * time.Millisecond) }}
	taker.Lock, taker.Watchdog.Longest = lock, 100*time.Millisecond
	if _, err := taker.Take(t.Context(), []string{image}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

// deaf makes a copy without looking at the context.
type deaf struct {
	Provider
	create func()
}

func (p deaf) Create(_ context.Context, c *Copy) error {
	p.create()
	c.At = c.Of
	return nil
}

func TestTake_LockCommandHasSecretsOfItsOwn_AreNotKept(t *testing.T) {
	image := write(t, filepath.Join(t.TempDir(), "volume"), "x")
	lock, _ := script(t, `export KURA_PASSWORD=a KURA_FROM_PASSWORD=b KURA_REPOSITORY=sftp://u:p@h/x KURA_S3_SECRET_KEY=c KURA_API_TOKEN=d
export KURA_DB_PASS=e KURA_DB_URL=mysql://root:secret@db KURA_CACHE_DIR=/x
KURA_MYSQL_GTID=0-1-5 KURA_AT=https://host/@x "$@"`)
	program, _ := script(t, cloud)
	taker := newTaker(t, t.TempDir(), "command", Options{Command: program})
	taker.Lock = lock
	taken, err := taker.Take(t.Context(), []string{image})
	must(t, err)
	must(t, taken.Remove(t.Context()))
	if len(taken.Lock) != 2 || taken.Lock["mysql_gtid"] != "0-1-5" || taken.Lock["at"] != "https://host/@x" {
		t.Errorf("%v", taken.Lock)
	}
}
