package reader_test

import (
	"bytes"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const maxLines = 720

// TestReader_Size_StaysBelowItsLimit counts all lines of all sources, as wc -l does.
func TestReader_Size_StaysBelowItsLimit(t *testing.T) {
	lines := 0
	for _, name := range sources(t) {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		lines += bytes.Count(b, []byte{'\n'})
	}
	if t.Logf("%d lines of %d", lines, maxLines); lines > maxLines {
		t.Errorf("%d lines, more than %d", lines, maxLines)
	}
}

// TestReader_Imports_NothingOfKura: with code shared, the reader would show nothing
// about the pages it is written from.
func TestReader_Imports_NothingOfKura(t *testing.T) {
	for _, name := range sources(t) {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			path, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(path, "kura-backup") {
				t.Errorf("%s imports %s", name, path)
			}
		}
	}
}

func sources(t *testing.T) (names []string) {
	t.Helper()
	all, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range all {
		if !strings.HasSuffix(name, "_test.go") {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		t.Fatal("no sources")
	}
	return names
}
