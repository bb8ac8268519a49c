package main

import (
	"os"
	"strings"
	"testing"

	"github.com/kura-backup/kura/ui"
)

func TestDistance_Table(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0},
		{"", "abc", 3},
		{"abc", "", 3},
		{"backup", "backup", 0},
		{"bakup", "backup", 1},
		{"backups", "backup", 1},
		{"backop", "backup", 1},
		{"prnue", "prune", 2},
		{"sitting", "kitten", 3},
	} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

func TestMeant_NothingNear_NoHint(t *testing.T) {
	for _, name := range []string{"x", "log", "nonsense"} {
		if got := meant(name, nil, []string{"ls", "tag", "key", "copy", "snapshots"}, "kura "); got != nil {
			t.Errorf("meant(%q) = %q", name, got)
		}
	}
}

// A hint for what kura has itself is never seen, and one with a command that is not there helps nobody.
func TestOtherPrograms_HintsAreOfUse(t *testing.T) {
	root := (&app{term: ui.NewTerminal(os.Stdout, os.Stderr)}).rootCommand()
	for name, hint := range otherCommands {
		for _, c := range root.Commands() {
			if c.Name() == name {
				t.Errorf("there is a command %q, and a hint for who misses it", name)
			}
		}
		for _, part := range strings.Split(hint, "kura ")[1:] {
			word, _, _ := strings.Cut(part, " ")
			if _, rest, err := root.Find([]string{word}); word != "has" && (err != nil || len(rest) > 0) {
				t.Errorf("%q: there is no command %q", name, word)
			}
		}
	}
	for name := range otherFlags {
		if root.PersistentFlags().Lookup(name) != nil {
			t.Errorf("there is a flag %q, and a hint for who misses it", name)
		}
	}
}
