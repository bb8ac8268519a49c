package thief_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/kura-backup/kura/internal/testnames"
)

// TestThreatModel_TestsThatItNames_Exist keeps docs/threat-model.md from promising what nothing shows, and from leaving
// an attack of this package out.
func TestThreatModel_TestsThatItNames_Exist(t *testing.T) {
	root := filepath.Join("..", "..")
	text, err := os.ReadFile(filepath.Join(root, "docs", "threat-model.md"))
	if err != nil {
		t.Fatal(err)
	}
	there := testnames.In(t, root)
	named := map[string]bool{}
	for _, m := range regexp.MustCompile("`(Test\\w+)`").FindAllSubmatch(text, -1) {
		named[string(m[1])] = true
		if there[string(m[1])] == nil {
			t.Errorf("there is no %s", m[1])
		}
	}
	for name, folders := range there {
		if slices.Contains(folders, filepath.Join(root, "internal", "thief")) && !named[name] && name != t.Name() {
			t.Errorf("%s is not named", name)
		}
	}
}
