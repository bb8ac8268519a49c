package main

import (
	"os"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// Every flag of these commands, but for those of all sources, occurs in the script that runs them.
func TestScripts_UseEveryFlagOfRedis(t *testing.T) {
	script, err := os.ReadFile("testdata/redis.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var shared pflag.FlagSet
	o := new(snapshotOptions)
	o.addSnapshot(&shared)
	o.addParent(&shared)
	o.addRun(&shared)
	o.addHooks(&shared)
	flags := 0
	for _, cmd := range new(app).redisCommand().Commands() {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if cmd.Name() == "backup" && shared.Lookup(f.Name) != nil {
				return
			}
			flags++
			for line := range strings.Lines(string(script)) {
				line = strings.NewReplacer("\n", " ", "=", " ").Replace(line)
				if strings.Contains(line, "kura redis "+cmd.Name()+" ") && strings.Contains(line, " --"+f.Name+" ") {
					return
				}
			}
			t.Errorf("no script runs kura redis %s --%s", cmd.Name(), f.Name)
		})
	}
	if t.Logf("%d flags", flags); flags < 22 {
		t.Errorf("only %d flags", flags)
	}
}
