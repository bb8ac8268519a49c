// Package testnames finds the tests of a tree, for tests that keep pages from naming some that are not there.
package testnames

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var function = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)

// In returns the names of all functions of tests below a folder, each with the folders in which there is one of that name.
func In(t testing.TB, root string) map[string][]string {
	t.Helper()
	names := map[string][]string{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(p, "_test.go") {
			return err
		}
		code, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		for _, m := range function.FindAllSubmatch(code, -1) {
			names[string(m[1])] = append(names[string(m[1])], filepath.Dir(p))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
