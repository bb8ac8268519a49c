package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// scriptRun is the line of a script that runs kura, with what may stand in front of that. A usage error is no use of a flag.
var scriptRun = regexp.MustCompile(`^(?:\[[^\]]*\] *)*(?:! *)?(?:\? *)?(?:exec|exits (?:[013-9]|1\d+)) +kura +(.*)`)

// scriptRuns returns the arguments with which scripts run each command.
func scriptRuns(t *testing.T, root *cobra.Command) map[*cobra.Command][][]string {
	t.Helper()
	scripts, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	runs := map[*cobra.Command][][]string{}
	for _, name := range scripts {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			if m := scriptRun.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
				words := strings.Fields(m[1])
				if cmd, _, err := root.Find(words); err == nil {
					runs[cmd] = append(runs[cmd], words)
				}
			}
		}
	}
	return runs
}

// hasFlag reports whether a flag is among a command's arguments.
func hasFlag(words []string, f *pflag.Flag) bool {
	return slices.ContainsFunc(words, func(w string) bool {
		return w == "--"+f.Name || strings.HasPrefix(w, "--"+f.Name+"=") ||
			f.Shorthand != "" && strings.HasPrefix(w, "-"+f.Shorthand)
	})
}

// sharedFlags are those that one piece of code adds to several commands: it is enough if one of them is run with each.
func sharedFlags(a *app) []*pflag.FlagSet {
	snapshot, named, server, redis, far := new(pflag.FlagSet), new(pflag.FlagSet), new(pflag.FlagSet), new(pflag.FlagSet), new(pflag.FlagSet)
	o := new(snapshotOptions)
	o.addSnapshot(snapshot)
	o.addSnapshotOf(named, "snapshot-host")
	o.addParent(snapshot)
	o.addRun(snapshot)
	o.addHooks(snapshot)
	new(mysqlServer).addFlags(a, server)
	new(serverFlags).addFlags(a, redis)
	new(onOptions).addFlags(far)
	return []*pflag.FlagSet{snapshot, named, server, redis, far}
}

// elsewhere are flags for which scripts lack the file system, or the volume manager. Tests of devices have them.
var elsewhere = []string{"kura device backup --changes", "kura device backup --snapshot-size"}

// TestScripts_UseEveryFlag: every command is run by a script, and with each of its flags, so that none is read and then
// forgotten; and its help has them all.
func TestScripts_UseEveryFlag(t *testing.T) {
	a := new(app)
	root := a.rootCommand()
	runs := scriptRuns(t, root)
	shared := sharedFlags(a)
	used := func(cmd *cobra.Command, f *pflag.Flag) bool {
		for of, lines := range runs {
			same := of == cmd
			for _, set := range shared {
				in, there := set.Lookup(f.Name), of.Flags().Lookup(f.Name)
				same = same || in != nil && there != nil && in.Usage == f.Usage && there.Usage == f.Usage
			}
			if same && slices.ContainsFunc(lines, func(words []string) bool { return hasFlag(words, f) }) {
				return true
			}
		}
		return false
	}
	flags := 0
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
		if cmd.Hidden || cmd.HasSubCommands() || cmd == root {
			return
		}
		if len(runs[cmd]) == 0 {
			t.Errorf("no script runs %s", cmd.CommandPath())
		}
		help := cmd.UsageString()
		cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
			if f.Hidden || f.Name == "help" {
				return
			}
			name := cmd.CommandPath() + " --" + f.Name
			if flags++; !used(cmd, f) && !slices.Contains(elsewhere, name) {
				t.Errorf("no script runs %s", name)
			}
			if !strings.Contains(help, "--"+f.Name) {
				t.Errorf("it is not in the help: %s", name)
			}
		})
	}
	walk(root)
	if t.Logf("%d flags", flags); flags < 150 {
		t.Errorf("only %d flags", flags)
	}
}
