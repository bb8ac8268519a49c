package ui

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func testStatus() Status {
	return Status{
		Noun: "file", Done: 5, Total: 10, Bytes: 1 << 20, BytesTotal: 4 << 20, Complete: true,
		New: 1 << 19, HasNew: true, Errors: 2, Current: "/srv/data",
	}
}

func TestStatusLines_Table(t *testing.T) {
	full := testStatus()
	scanning := full
	scanning.Complete, scanning.Errors, scanning.Current = false, 0, "/a\x1b[2J"
	for name, c := range map[string]struct {
		s    Status
		t    Timing
		want string
	}{
		"all": {
			full,
			Timing{Elapsed: 83 * time.Second, Rate: 1 << 20, Remaining: 3 * time.Second},
			"[1:23]  25.0%  5 / 10 files  1.0 MiB / 4.0 MiB  1.0 MiB/s  ETA 0:03|512.0 KiB new  2 errors  /srv/data",
		},
		"scanning": {
			scanning,
			Timing{Elapsed: time.Second, Remaining: -1},
			`[0:01]  5 files (10 found so far)  1.0 MiB|512.0 KiB new  "/a\x1b[2J"`,
		},
		"nothing": {Status{}, Timing{Remaining: -1}, "[0:00]"},
		"steps": {
			Status{Noun: "step", Done: 1, Total: 4, Complete: true, Current: "reading packs"},
			Timing{Remaining: -1},
			"[0:00]  25.0%  1 / 4 steps|reading packs",
		},
	} {
		if got := strings.Join(statusLines(c.s, c.t), "|"); got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, got, c.want)
		}
	}
}

func TestSpeed_ForgetsTheBeginning(t *testing.T) {
	var s speed
	if s.rate() != 0 {
		t.Errorf("without samples: %v", s.rate())
	}
	at := time.Duration(0)
	bytes := uint64(0)
	run := func(d time.Duration, perSecond uint64) {
		for end := at + d; at < end; at += 100 * time.Millisecond {
			s.add(at, bytes)
			bytes += perSecond / 10
		}
	}
	run(time.Minute, 1000)
	if got := s.rate(); got < 990 || got > 1010 {
		t.Errorf("at 1000 B/s: %v", got)
	}
	run(10*time.Second, 50)
	if got := s.rate(); got < 100 || got > 900 {
		t.Errorf("after 10 s at 50 B/s: %v", got)
	}
	run(time.Minute, 50)
	if got := s.rate(); got < 49 || got > 51 {
		t.Errorf("after a minute at 50 B/s: %v", got)
	}
}

// screen is a terminal of 40 columns that only understands what is written to it here.
func screen(stdout, stderr *bytes.Buffer) *Terminal {
	t := NewPlain(stdout, stderr)
	t.width = func() int { return 40 }
	return t
}

// runFor shows a progress for a while, in the time of a synctest bubble.
func runFor(t *testing.T, term *Terminal, d time.Duration, poke func(p *Progress)) {
	p := term.StartProgress(t.Context(), testStatus, func(s Status, _ Timing) any { return s })
	if poke != nil {
		poke(p)
	}
	time.Sleep(d)
	p.Stop()
}

func TestProgress_NoTerminal_OneLineAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out, err bytes.Buffer
		runFor(t, NewPlain(&out, &err), 3*time.Minute+time.Second, nil)
		if got := strings.Count(err.String(), "\n"); got != 3 || out.Len() > 0 {
			t.Errorf("%d lines in three minutes: %q, %q", got, err.String(), out.String())
		}
	})
}

func TestProgress_JSON_OneMessageASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out, err bytes.Buffer
		term := NewPlain(&out, &err)
		term.JSON = true
		runFor(t, term, 10*time.Second+time.Millisecond, nil)
		if got := strings.Count(out.String(), "\n"); got != 10 || err.Len() > 0 {
			t.Errorf("%d messages in ten seconds: %q, %q", got, out.String(), err.String())
		}
	})
}

// Standard output is one document there; who asks is answered beside it.
func TestProgress_JSONWithoutMessages_OnlyAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out, err bytes.Buffer
		term := NewPlain(&out, &err)
		term.JSON = true
		p := term.StartProgress(t.Context(), testStatus, nil)
		time.Sleep(5 * time.Minute)
		p.Now()
		time.Sleep(time.Second)
		p.Stop()
		if got := strings.Count(err.String(), "\n"); got != 1 || !strings.Contains(err.String(), "5 / 10 files") || out.Len() > 0 {
			t.Errorf("asked once: %q, %q", out.String(), err.String())
		}
	})
}

// A quiet run still answers when it is asked.
func TestProgress_Quiet_OnlyAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out, err bytes.Buffer
		term := NewPlain(&out, &err)
		term.Quiet = true
		runFor(t, term, 5*time.Minute, func(p *Progress) { time.Sleep(time.Second); p.Now() })
		if got := strings.Count(err.String(), "\n"); got != 1 || !strings.Contains(err.String(), "5 / 10 files") {
			t.Errorf("asked once: %q", err.String())
		}
	})
}

func TestProgress_Terminal_DrawsAndCleansUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out, err bytes.Buffer
		term := screen(&out, &err)
		runFor(t, term, 500*time.Millisecond, nil)
		text := err.String()
		if got := strings.Count(text, "25.0%"); got != 2 {
			t.Errorf("drawn %d times in half a second: %q", got, text)
		}
		for line := range strings.SplitSeq(strings.ReplaceAll(strings.ReplaceAll(text, "\x1b[2K", ""), "\x1b[1A", ""), "\n") {
			for part := range strings.SplitSeq(line, "\r") {
				if columns(part) > 39 {
					t.Errorf("line of %d columns: %q", columns(part), part)
				}
			}
		}
		if !strings.HasSuffix(text, "/srv/data\r\x1b[2K\x1b[1A\x1b[2K") {
			t.Errorf("the status was left behind: %q", text)
		}
	})
}

func TestTerminal_PrintDuringStatus_ErasesItFirst(t *testing.T) {
	var both bytes.Buffer
	term := screen(&both, &both)
	term.setStatus([]string{"one", "two"})
	term.Print("result")
	term.setStatus([]string{"three"})
	term.setStatus(nil)
	want := "one\ntwo" + "\r\x1b[2K\x1b[1A\x1b[2K" + "result\n" + "three" + "\r\x1b[2K"
	if both.String() != want {
		t.Errorf("got  %q\nwant %q", both.String(), want)
	}
}
