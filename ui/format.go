package ui

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Bytes writes a size for people: 17 B, 1.234 KiB, 3.142 GiB.
func Bytes(n uint64) string { return inUnits(n, 3) }

// shortBytes writes a size with less precision, for what changes all the time.
func shortBytes(n uint64) string { return inUnits(n, 1) }

func inUnits(n uint64, digits int) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f := float64(n) / 1024
	i := 0
	for limit := 1024 - 0.5*math.Pow10(-digits); f >= limit && i < len(units)-1; i++ {
		f /= 1024
	}
	return fmt.Sprintf("%.*f %ciB", digits, f, units[i])
}

// Duration writes a duration for people: 0:07, 12:34, 1:02:03.
func Duration(d time.Duration) string {
	s := int64(d.Round(time.Second) / time.Second)
	if s < 0 {
		s = 0
	}
	if s < 3600 {
		return fmt.Sprintf("%d:%02d", s/60, s%60)
	}
	return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
}

// Time writes a time for people, in the local time zone.
func Time(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }

// Count writes a number with its noun: "1 file", "2 files".
func Count(n uint64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.FormatUint(n, 10) + " " + noun + "s"
}

// Printable returns s itself if it can do no harm on a terminal, and s quoted otherwise: file names may
// hold escape sequences, line ends, and bytes that are not text.
func Printable(s string) string {
	for i, r := range s {
		if r == utf8.RuneError {
			if _, size := utf8.DecodeRuneInString(s[i:]); size == 1 {
				return strconv.Quote(s)
			}
		}
		if !unicode.IsPrint(r) {
			return strconv.Quote(s)
		}
	}
	return s
}

// PrintableMessage returns a message as one line that can do no harm on a terminal. Messages quote
// names of files, and several errors together have a line each.
func PrintableMessage(s string) string {
	s = strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "; ")
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && size == 1 || !unicode.IsPrint(r) {
			quoted := strconv.Quote(s[:size])
			b.WriteString(quoted[1 : len(quoted)-1])
		} else {
			b.WriteString(s[:size])
		}
		s = s[size:]
	}
	return b.String()
}

// fit shortens s from its middle to at most width columns. What is most telling of a path is where it
// begins and ends.
func fit(s string, width int) string {
	if columns(s) <= width {
		return s
	}
	if width < 1 {
		return ""
	}
	runes := []rune(s)
	left, right := 0, len(runes)
	for used := 1; ; { // 1 for the ellipsis
		fromLeft := used%2 == 1 || right == left
		r := runes[right-1]
		if fromLeft {
			r = runes[left]
		}
		if used += runeColumns(r); used > width {
			break
		}
		if fromLeft {
			left++
		} else {
			right--
		}
	}
	return string(runes[:left]) + "…" + string(runes[right:])
}

// columns is how many columns of a terminal s takes at most.
func columns(s string) int {
	n := 0
	for _, r := range s {
		n += runeColumns(r)
	}
	return n
}

// wide are the blocks of characters that take two columns, as ranges.
var wide = [...][2]rune{
	{0x1100, 0x115f},
	{0x2e80, 0xa4cf},
	{0xac00, 0xd7a3},
	{0xf900, 0xfaff},
	{0xfe30, 0xfe6f},
	{0xff00, 0xff60},
	{0xffe0, 0xffe6},
	{0x1f300, 0x1faff},
	{0x20000, 0x3fffd},
}

func runeColumns(r rune) int {
	for _, w := range wide {
		if w[0] <= r && r <= w[1] {
			return 2
		}
	}
	return 1
}

// Table is text in columns. The zero Table is empty.
type Table struct {
	Header []string
	Rows   [][]string
	Footer string
}

// String writes the table. A cell may have several lines. The last column is as wide as it likes.
func (t *Table) String() string {
	width := make([]int, len(t.Header))
	for _, row := range append([][]string{t.Header}, t.Rows...) {
		for i, cell := range row {
			for line := range strings.SplitSeq(cell, "\n") {
				width[i] = max(width[i], columns(line))
			}
		}
	}
	total := -2
	for _, w := range width {
		total += w + 2
	}
	var b strings.Builder
	ruler := strings.Repeat("-", max(total, 0)) + "\n"
	writeRow(&b, t.Header, width)
	b.WriteString(ruler)
	for _, row := range t.Rows {
		writeRow(&b, row, width)
	}
	b.WriteString(ruler)
	if t.Footer != "" {
		b.WriteString(t.Footer + "\n")
	}
	return b.String()
}

func writeRow(b *strings.Builder, row []string, width []int) {
	lines := 1
	cells := make([][]string, len(row))
	for i, cell := range row {
		cells[i] = strings.Split(cell, "\n")
		lines = max(lines, len(cells[i]))
	}
	for n := range lines {
		var line strings.Builder
		for i := range row {
			cell := ""
			if n < len(cells[i]) {
				cell = cells[i][n]
			}
			line.WriteString(cell)
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", width[i]-columns(cell)+2))
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
}
