package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/pflag"

	"github.com/kura-backup/kura/internal/testserver"
)

// scriptCondition knows what scripts can ask for in brackets beyond what testscript knows: mariadbd is an installed server.
func scriptCondition(cond string) (bool, error) {
	if cond == "mariadbd" {
		return testserver.HasMariaDB(), nil
	}
	return false, fmt.Errorf("there is no condition %q", cond)
}

// mariadb [DIR] starts a MariaDB server, with the data in DIR if it is given, and sets $MARIADB to its socket.
func cmdMariaDB(ts *testscript.TestScript, neg bool, args []string) {
	var s *testserver.MariaDB
	var err error
	switch {
	case neg || len(args) > 1:
		ts.Fatalf("usage: mariadb [DIR]")
	case len(args) == 1:
		s, err = testserver.StartMariaDBOn(ts.MkAbs(args[0]))
	default:
		s, err = testserver.StartMariaDB()
	}
	ts.Check(err)
	ts.Defer(s.Remove)
	ts.Setenv("MARIADB", s.Socket)
}

// Every flag of these commands occurs in a script that runs the command.
func TestScripts_UseEveryFlagOfMySQL(t *testing.T) {
	scripts, err := filepath.Glob("testdata/mysql*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	lines := map[string][]string{} // by command
	for _, name := range scripts {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			if _, args, ok := strings.Cut(line, "kura mysql "); ok && !strings.HasPrefix(line, "#") {
				words := strings.Fields(args)
				lines[words[0]] = append(lines[words[0]], " "+strings.Join(words, " ")+" ")
			}
		}
	}
	var server, snapshot pflag.FlagSet
	new(mysqlServer).addFlags(new(app), &server)
	o := new(snapshotOptions) // which are those of other sources, too
	o.addSnapshotOf(&snapshot, "snapshot-host")
	o.addParent(&snapshot)
	o.addRun(&snapshot)
	o.addHooks(&snapshot)
	flags := 0
	for _, cmd := range new(app).mysqlCommand().Commands() {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if (cmd.Name() == "backup" || cmd.Name() == "archive-binlogs") && snapshot.Lookup(f.Name) != nil {
				return
			}
			flags++
			of := lines[cmd.Name()]
			if server.Lookup(f.Name) != nil {
				of = slices.Concat(slices.Collect(maps.Values(lines))...) // the same for all
			}
			if !slices.ContainsFunc(of, func(line string) bool {
				return strings.Contains(line, " --"+f.Name+" ") || f.Shorthand != "" && strings.Contains(line, " -"+f.Shorthand+" ")
			}) {
				t.Errorf("no script runs kura mysql %s --%s", cmd.Name(), f.Name)
			}
		})
	}
	if t.Logf("%d flags", flags); flags < 40 {
		t.Errorf("only %d flags", flags)
	}
}
