package layers

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/kura-backup/kura/internal/testnames"
)

var (
	seedRow    = regexp.MustCompile(`(?m)^\| ([A-Z]\d+) \| (.*) \|$`)
	cellEnd    = regexp.MustCompile(`[^\\] \| `)
	testName   = regexp.MustCompile("`((?:Test|Fuzz)\\w+)`")
	scriptList = regexp.MustCompile("scripts?((?:(?:,| and)? `[a-z0-9_]+`(?: \\([^)]*\\))?)+)")
	scriptName = regexp.MustCompile("`([a-z0-9_]+)`")
	aside      = regexp.MustCompile(`\([^)]*\)`)
)

// TestSeeds_EachRow_NamesATestThatExists keeps docs/seeds.md from promising what nothing shows: a row names a test, or says why
// something is not done.
func TestSeeds_EachRow_NamesATestThatExists(t *testing.T) {
	root := filepath.Join("..", "..")
	page, err := os.ReadFile(filepath.Join(root, "docs", "seeds.md"))
	if err != nil {
		t.Fatal(err)
	}
	functions := testnames.In(t, root)
	rows := map[string]bool{}
	for _, m := range seedRow.FindAllStringSubmatch(string(page), -1) {
		id, cells := m[1], cellEnd.Split(m[2], -1)
		if rows[id] {
			t.Errorf("%s is there twice", id)
		}
		rows[id] = true
		if len(cells) != 2 {
			t.Errorf("%s has %d columns behind its id", id, len(cells))
			continue
		}
		named := 0
		for _, name := range testName.FindAllStringSubmatch(cells[1], -1) {
			named++
			if functions[name[1]] == nil {
				t.Errorf("%s: there is no %s", id, name[1])
			}
		}
		for _, list := range scriptList.FindAllStringSubmatch(cells[1], -1) {
			for _, name := range scriptName.FindAllStringSubmatch(aside.ReplaceAllString(list[1], ""), -1) {
				named++
				if _, err := os.Stat(filepath.Join(root, "cmd", "kura", "testdata", name[1]+".txtar")); err != nil {
					t.Errorf("%s: there is no script %s: %v", id, name[1], err)
				}
			}
		}
		if named == 0 && !strings.Contains(cells[1], "not done") {
			t.Errorf("%s names no test, and does not say what is not done", id)
		}
	}
	// What looks like a row and was not read would not be looked at either.
	if lines := regexp.MustCompile(`(?m)^\| *[A-Za-z]+\d`).FindAllString(string(page), -1); len(lines) != len(rows) || len(rows) < 100 {
		t.Errorf("%d rows of %d", len(rows), len(lines))
	}
}
