package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kura-backup/kura/internal/sshrun"
	"github.com/kura-backup/kura/remote"
)

// defaultReconnect is for how long a machine that was reached once is tried again.
const defaultReconnect = 10 * time.Minute

// onOptions say on which machine a command works, and how that is reached.
type onOptions struct {
	on        string
	ssh       string
	sudo      bool
	trusted   bool
	keep      bool
	binary    string
	reconnect time.Duration
}

func (o *onOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.on, "on", "", "work on the machine with this `url`, ssh://user@host:port, with its files and programs")
	f.StringVar(&o.ssh, "ssh", "", "`command` in place of ssh, with its first arguments, as in 'ssh -i key'")
	f.BoolVar(&o.sudo, "sudo", false, "work as root there, by sudo -n")
	f.BoolVar(&o.trusted, "trusted", false, "let that machine read the names and times of all files in all snapshots, so that it need not read again what has not changed")
	f.BoolVar(&o.keep, "keep-agent", false, "keep this program there, in the user's cache folder, so that it need not be sent the next time")
	f.StringVar(&o.binary, "agent-binary", "", "`file` with this version of kura for that machine, where it is of another kind")
	f.DurationVar(&o.reconnect, "reconnect", defaultReconnect, "connect again for so much `time` after the connection was cut; 0: never")
}

// farCommand is what a command needs to know of itself to work on another machine.
type farCommand struct {
	purpose remote.Purpose
	paths   bool   // its arguments are paths there
	many    bool   // it makes more than one snapshot
	target  string // the flag that is a path there
	choose  chooser
	env     []string // the variables of this machine that it is told, beside those of all
}

// farCommands are the commands that do.
var farCommands = map[string]farCommand{
	"backup":                {purpose: remote.Backup, paths: true},
	"restore":               {purpose: remote.Restore, target: "target", choose: chooseAny},
	"device backup":         {purpose: remote.Update, paths: true}, // a map refers to what is there
	"device restore":        {purpose: remote.Restore, target: "to", choose: chooseAny},
	"mysql backup":          {purpose: remote.Backup},
	"mysql archive-binlogs": {purpose: remote.Update, many: true}, // it goes on from what is there
	"mysql restore":         {purpose: remote.Restore, target: "target", choose: chooseMySQL},
	"redis backup":          {purpose: remote.Backup, env: []string{envRedisPassword}},
	"redis restore":         {purpose: remote.Restore, target: "dir", choose: chooseRedis, env: []string{envRedisPassword}},
}

const onTitle = "Another machine (docs/remote.md; files that flags name are those of that machine)"

// allowElsewhere gives the commands that can work on another machine the flags for it.
func (a *app) allowElsewhere(root *cobra.Command) {
	for name, e := range farCommands {
		cmd, _, err := root.Find(strings.Fields(name))
		if err != nil {
			panic(err) // the table is wrong, and every test finds it
		}
		o := new(onOptions)
		var group []flagGroup
		o.addFlags(newGroup(&group, onTitle))
		addGroups(cmd, group)
		here := cmd.RunE
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			job, err := o.job(cmd, args, e)
			switch {
			case err != nil:
				return err
			case job == nil:
				return here(cmd, args)
			}
			return a.runOn(cmd.Context(), job)
		}
	}
}

// job is a command for another machine.
type job struct {
	onOptions
	farCommand
	machine sshrun.Machine
	cmd     *cobra.Command
	args    []string // there
	there   string   // what the target is there
	argv    []string
	// again is set if the command can be run again after it was cut off.
	again bool
}

// job returns what is to be done on another machine, or nil if none is named.
func (o *onOptions) job(cmd *cobra.Command, args []string, e farCommand) (*job, error) {
	j := &job{onOptions: *o, farCommand: e, cmd: cmd}
	var err error
	if j.args, j.there, err = j.find(cmd, args); err != nil {
		return nil, err
	}
	if j.machine == (sshrun.Machine{}) {
		for _, flag := range []string{"ssh", "sudo", "trusted", "keep-agent", "agent-binary", "reconnect"} {
			if cmd.Flags().Changed(flag) {
				return nil, wrongArgs(cmd, "--"+flag+" is for work on another machine: --on says which")
			}
		}
		return nil, nil
	}
	if o.reconnect < 0 {
		return nil, usage("--reconnect is less than nothing")
	}
	if err := refuseInput(cmd); err != nil {
		return nil, err
	}
	if j.trusted && j.purpose == remote.Backup {
		j.purpose = remote.Update
	}
	yes := cmd.Flags().Lookup("yes")
	j.again = yes == nil || yes.Value.String() == "true"
	j.argv = argvOf(cmd, j.args, e.target, j.there)
	return j, nil
}

// find finds out which machine is meant, by the flag or by URLs in the place of paths, and returns the paths there.
func (j *job) find(cmd *cobra.Command, args []string) (paths []string, target string, err error) {
	name := ""
	note := func(text string) (path string, err error) {
		m, path, err := sshrun.ParseURL(text)
		switch {
		case err != nil:
			return "", usage(fmt.Sprintf("%s: %v", withoutPassword(text), err))
		case name != "" && m != j.machine:
			return "", usage(fmt.Sprintf("%s and %s are two machines", name, text), "run the command once for each")
		}
		name, j.machine = text, m
		return path, nil
	}
	if cmd.Flags().Changed("on") {
		path, err := note(j.on)
		if err != nil {
			return nil, "", err
		}
		if path != "" && path != "/" {
			return nil, "", usage("--on "+j.on+": this is the place for a machine, not for a path", "kura backup --on "+j.machine.String()+" "+path)
		}
	}
	notPath := j.paths && flagIs(cmd, "stdin-from-command") || !j.paths
	isURL := func(text string) bool { return strings.HasPrefix(text, sshrun.Scheme) }
	if paths = slices.Clone(args); !notPath && slices.ContainsFunc(args, isURL) {
		for i, text := range args {
			if !isURL(text) {
				return nil, "", usage(fmt.Sprintf("%q is here, and others of the paths are on another machine", text), "run the command once for each machine")
			}
			if paths[i], err = note(text); err == nil && paths[i] == "" {
				err = usage(text+": which path there?", text+"/ is all of its file system")
			}
			if err != nil {
				return nil, "", err
			}
		}
	}
	if f := cmd.Flags().Lookup(j.target); j.target != "" && f != nil {
		if target = f.Value.String(); isURL(target) {
			text := target
			if target, err = note(text); err == nil && target == "" {
				err = usage(text + ": which path there?")
			}
		}
	}
	return paths, target, err
}

// withoutPassword is a URL as it can be shown.
func withoutPassword(text string) string {
	rest, isURL := strings.CutPrefix(text, sshrun.Scheme)
	if at := strings.LastIndex(rest, "@"); isURL && at >= 0 && strings.Contains(rest[:at], ":") {
		return sshrun.Scheme + "…" + rest[at:]
	}
	return text
}

func flagIs(cmd *cobra.Command, name string) bool {
	f := cmd.Flags().Lookup(name)
	return f != nil && f.Value.String() == "true"
}

// refuseInput refuses what would be read from standard input, which is here.
func refuseInput(cmd *cobra.Command) (err error) {
	if flagIs(cmd, "stdin") {
		return usage("--stdin is of this machine, and the backup of another one", "there, --stdin-from-command takes the output of a command")
	}
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if kind, _ := pflag.UnquoteUsage(f); kind == "file" && slices.Contains(values(f), "-") {
			err = usage("--"+f.Name+" - is standard input, which is of this machine", "name a file of the other machine")
		}
	})
	return err
}

// nameRepositoryPassword is the flag for it of commands whose --password-file is a server's.
const nameRepositoryPassword = "repository-password-file"

// globalsThere are the global flags that are for the machine where the command works; all others are about the repository.
var globalsThere = []string{"quiet", "verbose", "json", "pack-size", "parity", "parity-groups"}

// argvOf writes the command line again, as it is to be run on another machine.
func argvOf(cmd *cobra.Command, args []string, targetFlag, target string) []string {
	argv := strings.Fields(cmd.CommandPath())[1:]
	var of onOptions
	own := new(pflag.FlagSet)
	of.addFlags(own)
	cmd.Flags().Visit(func(f *pflag.Flag) {
		switch {
		case own.Lookup(f.Name) != nil, f.Name == nameRepositoryPassword:
		case cmd.InheritedFlags().Lookup(f.Name) != nil && !slices.Contains(globalsThere, f.Name):
		case f.Name == targetFlag:
			argv = append(argv, "--"+f.Name+"="+target)
		default:
			for _, value := range written(f) {
				argv = append(argv, "--"+f.Name+"="+value)
			}
		}
	})
	return append(append(argv, "--"), args...)
}

// values are those of a flag, of which some can be given several times.
func values(f *pflag.Flag) []string {
	if list, ok := f.Value.(pflag.SliceValue); ok {
		return list.GetSlice()
	}
	return []string{f.Value.String()}
}

// written are the values of a flag as a command line has them. Lists, and pairs of names, are read as CSV.
func written(f *pflag.Flag) []string {
	kind := f.Value.Type()
	if kind != "stringSlice" && kind != "stringToString" {
		return values(f)
	}
	text := f.Value.String()
	text = text[1 : len(text)-1] // without the brackets
	if kind == "stringToString" && strings.Count(text, "=") == 1 {
		text += "," + text // a pair alone is not read as CSV
	}
	return []string{text}
}
