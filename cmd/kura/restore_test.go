package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// Every flag of restore is used by a script.
func TestRestore_EveryFlag_IsInAScript(t *testing.T) {
	names, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, "kura restore ") {
				lines = append(lines, line+" ")
			}
		}
	}
	all := strings.Join(lines, "")
	flags := 0
	new(app).restoreCommand().Flags().VisitAll(func(f *pflag.Flag) {
		flags++
		pattern := `\s--` + f.Name + `[\s=]`
		if f.Shorthand != "" {
			pattern += `|\s-` + f.Shorthand + `\s`
		}
		if !regexp.MustCompile(pattern).MatchString(all) {
			t.Errorf("no script uses --%s", f.Name)
		}
	})
	if flags < 20 || len(lines) < 20 {
		t.Fatalf("%d flags, %d lines", flags, len(lines))
	}
}
