package ui

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestBytes_Table(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.000 KiB", 1048575: "1023.999 KiB", 1<<30 - 1: "1.000 GiB", 1<<20 + 1<<19: "1.500 MiB", 1<<64 - 1: "16.000 EiB",
	} {
		if got := Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %s, want %s", n, got, want)
		}
	}
}

func TestDuration_Table(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0:00", 0: "0:00", 7 * time.Second: "0:07", 754 * time.Second: "12:34", 3723 * time.Second: "1:02:03", 100 * time.Hour: "100:00:00",
	} {
		if got := Duration(d); got != want {
			t.Errorf("Duration(%v) = %s, want %s", d, got, want)
		}
	}
}

func TestPrintable_Table(t *testing.T) {
	for s, want := range map[string]string{
		"/home/größe 蔵 é": "/home/größe 蔵 é",
		"a\x1b[31mb":      `"a\x1b[31mb"`,
		"a\nb":            `"a\nb"`,
		"\xff":            `"\xff"`,
		"\uFFFD":          "\uFFFD",
		"a\u202eb":        `"a\u202eb"`,
		"":                "",
	} {
		if got := Printable(s); got != want {
			t.Errorf("Printable(%q) = %s, want %s", s, got, want)
		}
	}
}

func TestPrintableMessage_Table(t *testing.T) {
	for s, want := range map[string]string{
		"open /größe: denied":        "open /größe: denied",
		"open /a\x1b[2J\xff: denied": `open /a\x1b[2J\xff: denied`,
		"one\ntwo\n":                 "one; two",
		`a "quoted" \ one`:           `a "quoted" \ one`,
	} {
		if got := PrintableMessage(s); got != want {
			t.Errorf("PrintableMessage(%q) = %s, want %s", s, got, want)
		}
	}
}

func TestFit_Properties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringOf(rapid.RuneFrom([]rune("abc/蔵é"))).Draw(t, "s")
		width := rapid.IntRange(0, 40).Draw(t, "width")
		got := fit(s, width)
		switch {
		case columns(got) > width:
			t.Fatalf("fit(%q, %d) = %q has %d columns", s, width, got, columns(got))
		case columns(s) <= width && got != s:
			t.Fatalf("fit(%q, %d) = %q, and there was room", s, width, got)
		case columns(s) > width && columns(got) < width-1:
			t.Fatalf("fit(%q, %d) = %q wastes room", s, width, got)
		}
	})
}
