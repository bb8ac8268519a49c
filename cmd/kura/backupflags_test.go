package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// files DIR MIN MAX fails unless the number of files below DIR is in the range.
func cmdFiles(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: files DIR MIN MAX")
	}
	least, err := strconv.Atoi(args[1])
	ts.Check(err)
	most, err := strconv.Atoi(args[2])
	ts.Check(err)
	n := 0
	ts.Check(filepath.WalkDir(ts.MkAbs(args[0]), func(_ string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		return err
	}))
	if n < least || n > most {
		ts.Fatalf("%d files in %s", n, args[0])
	}
}

func TestTextLines_Encodings(t *testing.T) {
	want := []string{"a é", "", " b "}
	for name, text := range map[string]string{
		"UTF-8": "a é\n\n b ", "ends": "a é\r\n\r\n b \r\n", "mark": "\uFEFFa é\n\n b \n",
		"UTF-16 LE": "\xff\xfea\x00 \x00\xe9\x00\r\x00\n\x00\n\x00 \x00b\x00 \x00", "UTF-16 BE": "\xfe\xff\x00a\x00 \x00\xe9\x00\n\x00\n\x00 \x00b\x00 ",
	} {
		if got := textLines([]byte(text)); strings.Join(got, "|") != strings.Join(want, "|") || len(got) != len(want) {
			t.Errorf("%s: %q", name, got)
		}
	}
	if got := textLines([]byte("\xff\x80\n")); len(got) != 1 || got[0] != "\xff\x80" {
		t.Errorf("other bytes: %q", got)
	}
	for _, odd := range []string{"", "\xff\xfe", "\xff\xfea", "\xfe\xff\xd8\x00"} {
		textLines([]byte(odd)) // does not panic
	}
}
