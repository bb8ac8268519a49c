package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kura-backup/kura/backup"
	"github.com/kura-backup/kura/repo"
)

// filterOptions select snapshots.
type filterOptions struct {
	hosts []string
	tags  []string
	paths []string
	at    string
}

func (o *filterOptions) addFlags(f *pflag.FlagSet) { o.addFlagsShort(f, "H") }

// addFlagsShort adds the flags with another short form of --host, or none.
func (o *filterOptions) addFlagsShort(f *pflag.FlagSet, host string) {
	f.StringArrayVarP(&o.hosts, "host", host, nil, "only snapshots of this `host` (can be given several times: any of them)")
	f.StringArrayVar(&o.tags, "tag", nil, "only snapshots with this `tag`, or with all of a list a,b (can be given several times: all of them)")
	f.StringArrayVar(&o.paths, "path", nil, "only snapshots of this `path` (can be given several times: all of them)")
}

func (o *filterOptions) addAt(f *pflag.FlagSet) {
	f.StringVar(&o.at, "at", "", "only snapshots made at or before this `time`, so that latest is the newest then")
}

// whichSnapshot refuses arguments that are not one snapshot. It may be left out where --at, of these flags, says as of when.
func whichSnapshot(cmd *cobra.Command, args []string, at string) error {
	switch {
	case len(args) > 1 && strings.HasPrefix(args[1], "/") && !strings.Contains(args[0], ":"):
		return usage(fmt.Sprintf("unexpected argument %q", args[1]), "a path in a snapshot stands behind a colon: "+args[0]+":"+args[1])
	case len(args) > 1:
		return wrongArgs(cmd, fmt.Sprintf("unexpected argument %q", args[1]))
	case len(args) == 0 && at == "":
		return wrongArgs(cmd, "which snapshot? latest is the newest one")
	}
	return nil
}

// filter returns the filter that was asked for.
func (o *filterOptions) filter() (f repo.SnapshotFilter, err error) {
	f.Hosts = o.hosts
	// An empty path would be the folder in which kura is run, and an empty host selects nothing, silently.
	switch unset := "was a variable not set?"; {
	case slices.Contains(o.hosts, ""):
		return f, usage("--host is empty", unset)
	case slices.Contains(o.paths, ""):
		return f, usage("--path is empty", unset)
	}
	if f.Tags, err = splitTags(o.tags); err != nil {
		return f, err
	}
	for _, p := range o.paths {
		abs, err := backup.AbsPath(p)
		if err != nil {
			return f, err
		}
		f.Paths = append(f.Paths, abs)
		if as, err := filepath.Abs(p); err == nil && as != abs {
			if f.Aliases == nil {
				f.Aliases = map[string]string{}
			}
			f.Aliases[abs] = as
		}
	}
	if o.at != "" {
		f.At, err = parseTime("--at", o.at, true)
	}
	return f, err
}

// splitTags splits lists of tags and puts them in order.
func splitTags(lists []string) ([]string, error) {
	var out []string
	for _, list := range lists {
		for tag := range strings.SplitSeq(list, ",") {
			tag = strings.TrimSpace(tag)
			if tag == "" {
				return nil, usage(fmt.Sprintf("the tags %q: one of them is empty", list))
			}
			out = append(out, tag)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}
