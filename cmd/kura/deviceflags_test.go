package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Every flag that only the commands for devices have occurs in a script that runs the command.
func TestScripts_UseEveryFlagOfDevices(t *testing.T) {
	names, err := filepath.Glob("testdata/device*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	scripts := ""
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		scripts += string(b)
	}
	common := new(cobra.Command)
	new(snapshotOptions).addFlags(common, new([]flagGroup))
	flags := 0
	for _, cmd := range new(app).deviceCommand().Commands() {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if common.Flags().Lookup(f.Name) != nil && cmd.Name() == "backup" {
				return
			}
			flags++
			for line := range strings.Lines(scripts) {
				_, args, ok := strings.Cut(line, "kura device "+cmd.Name()+" ")
				if args = " " + strings.TrimSpace(args) + " "; ok && strings.Contains(args, " --"+f.Name+" ") {
					return
				}
			}
			t.Errorf("no script runs kura device %s --%s", cmd.Name(), f.Name)
		})
	}
	if t.Logf("%d flags", flags); flags < 20 {
		t.Errorf("only %d flags", flags)
	}
}
