package snapshot

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// What the watchdog and the process that has started it say to one another.
const (
	watchdogReady  = "ready"
	watchdogBegin  = "begin" // from now on its time counts
	watchdogThawed = "thawed"
	watchdogIdle   = "nothing"
	watchdogLate   = "late" // or anything else: it is to thaw
)

// watchdogFD is what the watchdog finds the mounted folder at.
const watchdogFD = 3

// RunWatchdog is the watchdog: after the word to begin it thaws what is mounted at file descriptor 3 when its input ends without another
// word, or after as many milliseconds as arg says. It returns whether it had to.
func RunWatchdog(arg string, in io.Reader, out io.Writer) (thawed bool, err error) {
	ms, err := strconv.ParseInt(arg, 10, 32)
	if err != nil || ms <= 0 {
		return false, fmt.Errorf("snapshot: the watchdog is not for people: %q", arg)
	}
	dir := os.NewFile(watchdogFD, "the frozen file system")
	var st unix.Stat_t
	if err := unix.Fstat(watchdogFD, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return false, errors.New("snapshot: the watchdog has nothing to watch")
	}
	defer dir.Close()
	// Whoever ends the whole group, or session, or service, must not end what undoes the freeze, and nor must the kernel when
	// memory runs out. As far as that is allowed:
	signal.Ignore(unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGPIPE)
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0)
	// What is paged in now need not be read when a file system stands still.
	_ = unix.Mlockall(unix.MCL_CURRENT)
	words := make(chan string, 2)
	go func() { // ends with the process
		r := bufio.NewReader(in)
		for range cap(words) {
			line, _ := r.ReadString('\n')
			words <- strings.TrimSpace(line)
		}
	}()
	if _, err := fmt.Fprintln(out, watchdogReady); err != nil {
		return false, err
	}
	if <-words != watchdogBegin {
		return false, nil // nothing was frozen
	}
	timer := time.NewTimer(time.Duration(ms) * time.Millisecond)
	defer timer.Stop()
	return watchOver(dir, words, timer.C)
}

// watchOver waits for the word, or until it is late: then it goes on trying until the file system is thawed, or the word comes after all. Who has
// asked for the freeze may still be waiting for it, and it is not frozen until all that was dirty is written: minutes, maybe.
func watchOver(dir *os.File, word <-chan string, late <-chan time.Time) (thawed bool, err error) {
	for next := late; ; next = time.After(thawPause) {
		select {
		case w := <-word:
			return lastWord(dir, w)
		case <-next:
		}
		select { // both may have come, and what was thawed may be frozen by somebody else now
		case w := <-word:
			return lastWord(dir, w)
		default:
		}
		if ioctl(dir, fiThaw, nil) == nil {
			return true, nil
		}
	}
}

// lastWord does what the word asks for. If there was none, the process that was watched has ended, and with it a freeze that was under
// way: it is over, one way or the other.
func lastWord(dir *os.File, word string) (thawed bool, err error) {
	if word == watchdogThawed || word == watchdogIdle {
		return false, nil
	}
	for range thawTries {
		err = ioctl(dir, fiThaw, nil)
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, unix.EINVAL) {
			return false, fmt.Errorf("snapshot: thawing: %w", err)
		}
		time.Sleep(thawPause)
	}
	return false, nil
}

const (
	thawTries = 20
	thawPause = 50 * time.Millisecond
)
