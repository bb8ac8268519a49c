package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// flagGroup is a part of a command's flags, under a title of its own in its help.
type flagGroup struct {
	title string
	flags *pflag.FlagSet
}

// newGroup adds a group to groups.
func newGroup(groups *[]flagGroup, title string) *pflag.FlagSet {
	f := pflag.NewFlagSet(title, pflag.ContinueOnError)
	f.SortFlags = false
	*groups = append(*groups, flagGroup{title, f})
	return f
}

// groupNote is the annotation that says to which group a flag belongs.
const groupNote = "kura_group"

// addGroups makes the groups the command's flags, behind those that it has, and shows them as such.
func addGroups(cmd *cobra.Command, groups []flagGroup) {
	cmd.Flags().SortFlags = false
	for _, g := range groups {
		g.flags.VisitAll(func(f *pflag.Flag) {
			f.Annotations = map[string][]string{groupNote: {g.title}}
		})
		cmd.Flags().AddFlagSet(g.flags)
	}
	cmd.SetUsageFunc(showGroups)
}

// showGroups is the usage of a command whose flags have groups. Those that have none are the first one.
func showGroups(cmd *cobra.Command) error {
	var groups []flagGroup
	inherited := cmd.InheritedFlags()
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		title := "Flags"
		if of := f.Annotations[groupNote]; len(of) > 0 {
			title = of[0]
		} else if f.Name == "help" || inherited.Lookup(f.Name) != nil {
			return
		}
		i := slices.IndexFunc(groups, func(g flagGroup) bool { return g.title == title })
		if i < 0 {
			i = len(groups)
			newGroup(&groups, title)
		}
		groups[i].flags.AddFlag(f)
	})
	var b strings.Builder
	fmt.Fprintf(&b, "Usage:\n  %s\n\nExamples:\n%s\n", cmd.UseLine(), cmd.Example)
	for _, g := range groups {
		fmt.Fprintf(&b, "\n%s:\n%s", g.title, g.flags.FlagUsages())
	}
	fmt.Fprintf(&b, "\nGlobal Flags:\n%s", inherited.FlagUsages())
	_, err := cmd.OutOrStdout().Write([]byte(b.String()))
	return err
}
