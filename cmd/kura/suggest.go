package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// otherCommands says what does here what commands of other programs do.
var otherCommands = map[string]string{
	"create":        "kura backup makes a snapshot, kura init a repository",
	"snapshot":      "kura backup makes a snapshot, kura snapshots lists them",
	"extract":       "kura restore ID --target DIR",
	"diff":          "kura backup -v names what is new or changed; for two snapshots compare what kura ls ID -l prints of each",
	"mount":         "kura ls ID:PATH looks into a snapshot, kura restore ID:PATH --target DIR and kura dump ID:PATH take a part out of it",
	"list":          "kura snapshots lists the snapshots, kura ls ID what is in one, kura key list the keys",
	"info":          "kura snapshots and kura stats show what there is",
	"delete":        "kura forget ID takes a snapshot off the list, kura prune frees its space",
	"remove":        "kura forget ID takes a snapshot off the list, kura prune frees its space",
	"rm":            "kura forget ID takes a snapshot off the list, kura prune frees its space",
	"compact":       "kura prune frees the space of forgotten snapshots",
	"verify":        "kura check --read-data",
	"recover":       "kura unforget brings forgotten snapshots back; kura check looks for damage and says what to do about it",
	"rebuild-index": "kura repair index",
	"rewrite":       "snapshots stay as they are: kura backup --exclude leaves things out of the next one, kura forget ID forgets one",
	"break-lock":    "kura has no locks",
	"passwd":        "kura key passwd",
}

// otherFlags says likewise what there is in the place of flags of other programs.
var otherFlags = map[string]string{
	"version":             "kura version",
	"retry-lock":          "kura has no locks to wait for: leave the flag out",
	"cleanup-cache":       "kura cache --cleanup",
	"key-hint":            "kura finds the key by itself: leave the flag out",
	"no-extra-verify":     "kura verifies all that it stores: leave the flag out",
	"copy-chunker-params": "kura init --from-repo makes a repository that cuts as the other one does: leave the flag out",
}

// noCommand is the error of a command that there is not.
func noCommand(cmd *cobra.Command, name string) error {
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return usage(fmt.Sprintf("there is no command %q", name), append(meant(name, otherCommands, names, cmd.CommandPath()+" "), helpOf(cmd)+" lists the commands")...)
}

// wrongFlag is the error of flags that can not be read.
func wrongFlag(cmd *cobra.Command, err error) error {
	help := "kura help explains the commands, kura help COMMAND one of them"
	if cmd.HasParent() {
		help = helpOf(cmd) + " explains the flags"
	}
	unknown := (*pflag.NotExistError)(nil)
	if !errors.As(err, &unknown) || unknown.GetSpecifiedShortnames() != "" {
		return asUsage(err, help)
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	return asUsage(err, append(meant(unknown.GetSpecifiedName(), otherFlags, names, "--"), help)...)
}

// helpOf is the command that explains a command.
func helpOf(cmd *cobra.Command) string {
	return strings.Replace(cmd.CommandPath(), "kura", "kura help", 1)
}

// meant returns a hint at what may have been meant by a name that there is not, if there is any.
func meant(name string, others map[string]string, names []string, prefix string) []string {
	if hint := others[name]; hint != "" {
		return []string{hint}
	}
	best, least := "", min(2, len(name)/2)+1
	for _, n := range names {
		if d := distance(name, n); d < least {
			best, least = n, d
		}
	}
	if best == "" {
		return nil
	}
	return []string{"did you mean " + prefix + best}
}

// distance counts the bytes to insert, remove or replace that make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			next := corner
			if a[i] != b[j] {
				next = 1 + min(corner, row[j], row[j+1])
			}
			corner, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}
