package redis

import (
	"bufio"
	"errors"
	"net"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// scripted is a connection to a server that answers each command with what answer returns: a line, or the text of a bulk.
func scripted(t *testing.T, answer func(command string) string) *conn {
	t.Helper()
	ours, theirs := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		r := bufio.NewReader(theirs)
		for {
			v, err := readReply(r) // which a command is, too
			if err != nil {
				return
			}
			var words []string
			for _, w := range v.([]any) {
				words = append(words, w.(string))
			}
			if _, err := theirs.Write([]byte(answer(strings.Join(words, " ")))); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		ours.Close()
		<-done
		theirs.Close()
	})
	return &conn{net: ours, r: bufio.NewReader(ours), stop: func() bool { return true }}
}

func text(s string) string { return "$" + strconv.Itoa(len(s)) + "\r\n" + s + "\r\n" }

// What a server sends to a replica it does not count as a save: when that began just before the order to save, the order is given again.
func TestOrder_DataIsSentToAReplica_SavesAfterwards(t *testing.T) {
	orders, asked, saves := 0, 0, 7
	c := scripted(t, func(command string) string {
		switch command {
		case "BGSAVE SCHEDULE":
			if orders++; orders == 1 {
				return "-ERR Background save already in progress\r\n"
			}
			saves++
			return "+Background saving started\r\n"
		case "INFO replication":
			return text("role:master\r\nmaster_replid:x\r\n")
		}
		running := "0"
		if asked++; asked == 2 {
			running = "1"
		}
		return text("rdb_bgsave_in_progress:" + running + "\r\nrdb_last_bgsave_status:ok\r\nrdb_saves:" + strconv.Itoa(saves) + "\r\n")
	})
	s := &Source{o: Options{Wait: time.Minute}}
	if err := s.letSave(t.Context(), c); err != nil || orders != 2 || saves != 8 {
		t.Errorf("%v, after %d orders", err, orders)
	}
}

// A server without the memory to fork never says that a save runs which was put off, but that the last one has failed; and it tries again.
func TestLetSave_PutOffAndCanNotBegin_FailsAfterSomeTries(t *testing.T) {
	for name, c := range map[string]struct {
		before string        // what it says of the save before
		works  time.Duration // after which the server has the memory; 0 is never
		want   error
	}{
		"never":              {"ok", 0, ErrSaveFailed},
		"the one before too": {"err", 0, ErrSaveFailed},
		"the second time":    {"ok", 7 * time.Second, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var ordered time.Time
				conn := scripted(t, func(command string) string {
					switch command {
					case "BGSAVE SCHEDULE":
						ordered = time.Now()
						return "+Background saving scheduled\r\n"
					case "INFO replication":
						return text("role:master\r\n")
					}
					status, saves, rewriting := c.before, "7", "0"
					switch since := time.Since(ordered); {
					case ordered.IsZero():
					case since < 20*time.Minute: // what it was put off for
						rewriting = "1"
					case c.works > 0 && since > 20*time.Minute+c.works:
						status, saves = "ok", "8"
					case since > time.Hour:
						saves = "8" // which ends the test
					default:
						status = "err"
					}
					return text("rdb_bgsave_in_progress:0\r\nrdb_last_bgsave_status:" + status + "\r\nrdb_saves:" + saves +
						"\r\naof_rewrite_in_progress:" + rewriting + "\r\n")
				})
				if err := new(Source).letSave(t.Context(), conn); !errors.Is(err, c.want) {
					t.Errorf("%v", err)
				}
				if took := time.Since(ordered); took > 30*time.Minute {
					t.Errorf("it took %v", took)
				}
			})
		})
	}
}

// Servers before 7 only say in which second the last save ended: one that ends in the second of the one before it could not be told from that.
func TestLetSave_LastOneEndedInThisSecond_TheNextIsWaitedFor(t *testing.T) {
	now, last, asked := 1_700_000_000, 1_700_000_000, 0
	c := scripted(t, func(command string) string {
		switch command {
		case "TIME":
			if asked++; asked == 3 {
				now++
			}
			return "*2\r\n" + text(strconv.Itoa(now)) + text("0")
		case "BGSAVE SCHEDULE":
			last, asked = now, 0
			return "+Background saving scheduled\r\n" // and it is done before anybody asks
		case "INFO replication":
			return text("role:master\r\n")
		}
		if asked++; asked > 8 {
			return "-ERR it was not seen\r\n" // which ends the test
		}
		return text("rdb_bgsave_in_progress:0\r\nrdb_last_bgsave_status:ok\r\nrdb_last_save_time:" + strconv.Itoa(last) + "\r\n")
	})
	if err := new(Source).letSave(t.Context(), c); err != nil {
		t.Errorf("%v", err)
	}
}

// deadlines counts how often a connection was given more time.
type deadlines struct {
	net.Conn
	n int
}

func (d *deadlines) SetDeadline(time.Time) error {
	d.n++
	return nil
}

// A server that sends a byte a minute is not waited for without an end.
func TestPace_LittleComes_NoMoreTime(t *testing.T) {
	d := new(deadlines)
	p := pace{c: &conn{net: d}}
	for _, came := range []int{0, 1, 100, slowest - 102} {
		p.came += came
		p.step(t.Context())
	}
	if d.n != 1 {
		t.Errorf("more time was given %d times", d.n-1)
	}
	p.came++
	p.step(t.Context())
	if d.n != 2 || p.came != 0 {
		t.Errorf("after enough has come: %d, %d", d.n, p.came)
	}
}
