package thief_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestThreatModel_TestsThatItNames_Exist keeps docs/threat-model.md from promising what nothing shows, and from leaving
// an attack of this package out.
func TestThreatModel_TestsThatItNames_Exist(t *testing.T) {
	root := filepath.Join("..", "..")
	text, err := os.ReadFile(filepath.Join(root, "docs", "threat-model.md"))
	if err != nil {
		t.Fatal(err)
	}
	there, ours := map[string]bool{}, map[string]bool{}
	function := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(p, "_test.go") {
			return err
		}
		code, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		for _, m := range function.FindAllSubmatch(code, -1) {
			there[string(m[1])] = true
			if filepath.Dir(p) == filepath.Join(root, "internal", "thief") {
				ours[string(m[1])] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for _, m := range regexp.MustCompile("`(Test\\w+)`").FindAllSubmatch(text, -1) {
		named[string(m[1])] = true
		if !there[string(m[1])] {
			t.Errorf("there is no %s", m[1])
		}
	}
	for name := range ours {
		if !named[name] && name != t.Name() {
			t.Errorf("%s is not named", name)
		}
	}
}
