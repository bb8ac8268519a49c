package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Every flag of these commands occurs in a script that runs the command.
func TestScripts_UseEveryFlag(t *testing.T) {
	scripts, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	runs := map[string][]string{} // lines by command
	for _, name := range scripts {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			if _, args, ok := strings.Cut(line, "kura "); ok && !strings.HasPrefix(line, "#") {
				words := strings.Fields(args)
				runs[words[0]] = append(runs[words[0]], " "+strings.Join(words, " ")+" ")
			}
		}
	}
	a := new(app)
	flags := 0
	for _, cmd := range []*cobra.Command{a.forgetCommand(), a.unforgetCommand(), a.pruneCommand(), a.pinCommand(), a.unpinCommand(), a.tagCommand(), a.snapshotsCommand(), a.dumpCommand(), a.importTarCommand()} {
		if len(runs[cmd.Name()]) == 0 {
			t.Errorf("no script runs kura %s", cmd.Name())
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			flags++
			for _, line := range runs[cmd.Name()] {
				if strings.Contains(line, " --"+f.Name+" ") || strings.Contains(line, " --"+f.Name+"=") {
					return
				}
			}
			t.Errorf("no script runs kura %s --%s", cmd.Name(), f.Name)
		})
	}
	if t.Logf("%d flags", flags); flags < 30 {
		t.Errorf("only %d flags", flags)
	}
}
