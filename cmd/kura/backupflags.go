package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kura-backup/kura/backup"
	"github.com/kura-backup/kura/retain"
	"github.com/kura-backup/kura/source/pattern"
)

// envReadConcurrency is for --read-concurrency.
const envReadConcurrency = "KURA_READ_CONCURRENCY"

type backupOptions struct {
	filesFrom, filesFromVerbatim, filesFromRaw []string

	excludes, iexcludes, excludeFiles, iexcludeFiles []string
	excludeCaches                                    bool
	ifPresent                                        []string
	largerThan                                       string
	ignoreFiles                                      []string
	oneFileSystem                                    bool

	snapshotOptions
	groupBy                  string
	force, skipIfUnchanged   bool
	ignoreCtime, ignoreInode bool
	withAtime, noScan        bool
	readConcurrency          string

	stdin            bool
	stdinFilename    string
	stdinFromCommand bool
	streams          []string
}

// addFlags adds the flags in groups, and returns the names of those that are about files.
func (o *backupOptions) addFlags(cmd *cobra.Command) (ofFiles []string) {
	var groups []flagGroup
	f := newGroup(&groups, "What to back up (all can be given several times)")
	f.StringArrayVar(&o.filesFrom, "files-from", nil, "back up the paths that match the patterns in this `file`, one a line; - is standard input")
	f.StringArrayVar(&o.filesFromVerbatim, "files-from-verbatim", nil, "back up the paths in this `file`, one a line, taken as they are")
	f.StringArrayVar(&o.filesFromRaw, "files-from-raw", nil, "back up the paths in this `file`, with a zero byte behind each")

	f = newGroup(&groups, "What to leave out (patterns, files and names can be given several times)")
	f.StringArrayVarP(&o.excludes, "exclude", "e", nil, "leave out what matches this `pattern`")
	f.StringArrayVar(&o.iexcludes, "iexclude", nil, "the same, with no difference between upper and lower case in the `pattern`")
	f.StringArrayVar(&o.excludeFiles, "exclude-file", nil, "leave out what matches a pattern in this `file`, one a line; $NAME is a variable, $$ a dollar sign")
	f.StringArrayVar(&o.iexcludeFiles, "iexclude-file", nil, "the same, with no difference between upper and lower case in the `file`")
	f.BoolVar(&o.excludeCaches, "exclude-caches", false, "leave out what is in folders with a CACHEDIR.TAG file as bford.info/cachedir specifies it")
	f.StringArrayVar(&o.ifPresent, "exclude-if-present", nil, "leave out what is in folders with a file `name[:header]` that begins with the header, but for that file")
	f.StringVar(&o.largerThan, "exclude-larger-than", "", "leave out files larger than this `size`, with k, m, g or t for KiB to TiB")
	f.StringArrayVar(&o.ignoreFiles, "ignore-file-name", nil, "leave out what files of this `name` in the folders say, as git does with .gitignore")
	f.BoolVarP(&o.oneFileSystem, "one-file-system", "x", false, "leave out other file systems than those of the paths, but for the folders where they are mounted")
	ofFiles = append(names(groups), "parent", "group-by", "force", "skip-if-unchanged", "ignore-ctime", "ignore-inode", "with-atime", "read-concurrency", "no-scan")

	f = newGroup(&groups, "What counts as changed")
	o.addParent(f)
	f.StringVarP(&o.groupBy, "group-by", "g", retain.DefaultGroupBy.String(), "what the `group` has in common: host, paths, tags, or nothing")
	f.BoolVarP(&o.force, "force", "f", false, "read all files, whatever the parent is")
	f.BoolVar(&o.ignoreCtime, "ignore-ctime", false, "do not read files of which only the ctime has changed")
	f.BoolVar(&o.ignoreInode, "ignore-inode", false, "do not read files of which only the inode and ctime have changed")
	f.BoolVar(&o.skipIfUnchanged, "skip-if-unchanged", false, "make no snapshot if it would be as the parent")

	f = newGroup(&groups, "The snapshot")
	o.addSnapshot(f)
	f.BoolVar(&o.withAtime, "with-atime", false, "record the times of access")

	f = newGroup(&groups, "Streams")
	f.BoolVar(&o.stdin, "stdin", false, "back up standard input")
	f.StringVar(&o.stdinFilename, "stdin-filename", "", "`name` of the file that standard input, or the command's output, becomes (default: stdin)")
	f.BoolVar(&o.stdinFromCommand, "stdin-from-command", false, "back up the output of the command that the arguments are")
	f.StringArrayVar(&o.streams, "stream", nil, "back up the output of a shell's command line as the file name: `name=command`; can be given several times")

	f = newGroup(&groups, "The run")
	o.addRun(f)
	f.BoolVar(&o.noScan, "no-scan", false, "do not count beforehand what there is to do, for the progress")
	f.StringVar(&o.readConcurrency, "read-concurrency", "", "read `n` files at once (default: $"+envReadConcurrency+", or one for each CPU)")
	o.addHooks(newGroup(&groups, hookTitle))
	addGroups(cmd, groups)
	return ofFiles
}

// names returns those of all flags of the groups.
func names(groups []flagGroup) (out []string) {
	for _, g := range groups {
		g.flags.VisitAll(func(f *pflag.Flag) { out = append(out, f.Name) })
	}
	return out
}

// checkArgs refuses what does not go together.
func (o *backupOptions) checkArgs(cmd *cobra.Command, args []string, ofFiles []string) error {
	stream := o.stdin || o.stdinFromCommand || len(o.streams) > 0
	lists := len(o.filesFrom) + len(o.filesFromVerbatim) + len(o.filesFromRaw)
	switch {
	case o.stdin && o.stdinFromCommand:
		return wrongArgs(cmd, "both --stdin and --stdin-from-command were given")
	case len(o.streams) > 0 && (o.stdin || o.stdinFromCommand):
		return wrongArgs(cmd, "--stream is for several streams: give standard input, or the one command, a name with it")
	case len(o.streams) > 0 && len(args) > 0:
		return wrongArgs(cmd, fmt.Sprintf("with --stream there can be no paths: %q", args[0]))
	case o.stdin && len(args) > 0:
		return wrongArgs(cmd, fmt.Sprintf("with --stdin there can be no paths: %q", args[0]))
	case o.stdinFromCommand && len(args) == 0:
		return usage("the output of which command?", "kura backup --stdin-from-command -- COMMAND ARGUMENT…")
	case !stream && len(args)+lists == 0:
		return wrongArgs(cmd, "back up what? name files or folders")
	case !o.stdin && !o.stdinFromCommand && o.stdinFilename != "":
		return wrongArgs(cmd, "--stdin-filename is for --stdin and --stdin-from-command")
	}
	if i := slices.IndexFunc(ofFiles, cmd.Flags().Changed); stream && i >= 0 {
		return wrongArgs(cmd, "--"+ofFiles[i]+" is about files, not about a stream")
	}
	if slices.Contains(args, "") {
		return wrongArgs(cmd, "one of the paths is empty")
	}
	return nil
}

// options makes the library's options of the flags, but for the parent and what read adds.
func (o *backupOptions) options(a *app, args []string) (out backup.Options, err error) {
	if out, err = o.snapshotOptions.options(a); err != nil {
		return out, err
	}
	out.WithAtime, out.Force, out.SkipIfUnchanged = o.withAtime, o.force, o.skipIfUnchanged
	out.IgnoreCtime, out.IgnoreInode = o.ignoreCtime, o.ignoreInode
	by, err := retain.ParseGroupBy(o.groupBy)
	if err != nil {
		return out, usage(fmt.Sprintf("--group-by %q is not a list of host, paths, tags", o.groupBy))
	}
	out.ParentBy = &by
	if n, name := givenBy("--read-concurrency", o.readConcurrency, envReadConcurrency); n != "" {
		if out.ReadConcurrency, err = strconv.Atoi(n); err != nil || out.ReadConcurrency < 1 || out.ReadConcurrency > 1000 {
			return out, usage(fmt.Sprintf("%s %q is not a number of files from 1 to 1000", name, n))
		}
	}
	if err := o.leaveOut(&out); err != nil {
		return out, err
	}
	if o.stdin || o.stdinFromCommand || len(o.streams) > 0 {
		out.Source, err = o.streamSource(a, args, out.Time)
		return out, err
	}
	// Walking the tree twice is worth it only for somebody who looks at the progress.
	out.Scan = !o.noScan && !a.term.Quiet && (a.term.Interactive() || a.term.JSON)
	return out, nil
}

// read reads the lists of what to back up and what to leave out, and looks which paths match.
func (o *backupOptions) read(a *app, args []string, out *backup.Options) error {
	for _, e := range o.excluded(out) {
		for _, file := range e.files {
			more, err := a.readPatterns(e.flag+"-file", file)
			if err != nil {
				return err
			}
			*e.to = append(*e.to, more...)
		}
		if _, err := e.parse(*e.to); err != nil {
			return usage(e.flag + ": " + err.Error())
		}
	}
	out.Paths = slices.Clone(args)
	if out.Source != nil {
		return nil
	}
	for _, file := range o.filesFrom {
		if err := a.globPaths(file, out); err != nil {
			return err
		}
	}
	for _, l := range []struct {
		files []string
		read  func(string) ([]string, error)
	}{{o.filesFromVerbatim, a.listedPaths}, {o.filesFromRaw, a.rawPaths}} {
		for _, file := range l.files {
			more, err := l.read(file)
			if err != nil {
				return err
			}
			out.Paths = append(out.Paths, more...)
		}
	}
	return nil
}

// excluded is a way to say what is left out.
type excluded struct {
	flag            string
	patterns, files []string
	parse           func([]string) (*pattern.List, error)
	to              *[]string
}

func (o *backupOptions) excluded(out *backup.Options) [2]excluded {
	return [2]excluded{
		{"--exclude", o.excludes, o.excludeFiles, pattern.Parse, &out.Excludes},
		{"--iexclude", o.iexcludes, o.iexcludeFiles, pattern.ParseFold, &out.IExcludes},
	}
}

// leaveOut sets what the flags themselves leave out.
func (o *backupOptions) leaveOut(out *backup.Options) (err error) {
	for _, e := range o.excluded(out) {
		*e.to = slices.Clone(e.patterns)
		if _, err := e.parse(*e.to); err != nil {
			return usage(e.flag + ": " + err.Error())
		}
	}
	if o.excludeCaches {
		out.IfPresent = append(out.IfPresent, backup.CacheMarker)
	}
	for _, m := range o.ifPresent {
		name, header, _ := strings.Cut(m, ":")
		if !isName(name) {
			return usage(fmt.Sprintf("--exclude-if-present %q: %q is not a file's name", m, name))
		}
		out.IfPresent = append(out.IfPresent, backup.Marker{Name: name, Header: header})
	}
	for _, name := range o.ignoreFiles {
		if !isName(name) {
			return usage(fmt.Sprintf("--ignore-file-name: %q is not a file's name", name))
		}
	}
	out.IgnoreFiles, out.OneFileSystem = o.ignoreFiles, o.oneFileSystem
	if o.largerThan != "" {
		if out.LargerThan, err = parseSize("--exclude-larger-than", o.largerThan); err != nil {
			return err
		}
		if out.LargerThan == 0 {
			return usage("--exclude-larger-than 0 would leave out all files")
		}
	}
	return nil
}

func isName(s string) bool {
	return s != "" && s != "." && s != ".." && !strings.ContainsRune(s, os.PathSeparator)
}
