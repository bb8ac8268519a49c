package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kura-backup/kura/internal/clock"
	"github.com/kura-backup/kura/internal/durable"
	"github.com/kura-backup/kura/runbook"
	"github.com/kura-backup/kura/ui"
)

// runbookWorld is what a plan acts upon: this machine, the repository that was named, and whoever sits at the terminal.
func (a *app) runbookWorld(o *runbookOptions, plan *runbook.Plan) *runbook.World {
	program := "kura"
	if path, err := os.Executable(); err == nil {
		program = path
	}
	return &runbook.World{
		Exec: func(ctx context.Context, c runbook.Exec) error {
			if a.typed != nil && sameProgram(c.Argv[0], program) {
				return c.RunWith(ctx, []string{envPassword + "=" + string(a.typed)})
			}
			return c.Run(ctx)
		},
		OpenDir:   func(path string) (durable.FS, error) { return durable.OpenDir(path) },
		Kura:      func(args ...string) []string { return append(append([]string{program}, args...), o.globals...) },
		CheckKura: checkCommandLine,
		Uses:      func() []string { return append(a.usedFiles(), program, plan.File) },
		Find: func(program string) error {
			if _, err := exec.LookPath(program); err != nil {
				return fmt.Errorf("there is no program %s that could be run", program)
			}
			return nil
		},
		Resolve: func(ctx context.Context, wants []runbook.Want) (pins []runbook.Pin, err error) {
			if err := a.passwordForSteps(ctx); err != nil {
				return nil, err
			}
			return a.resolveSnapshots(ctx, wants)
		},
		Ask: func(ctx context.Context, question string) (bool, error) { return a.answer(ctx, question, o.yes) },
		CanAsk: func() bool {
			tty, done := a.keyboard()
			if tty != nil {
				done()
			}
			return o.yes || o.dryRun || tty != nil
		},
		Getenv: os.Getenv,
		Now:    clock.Now,
		Host:   runbook.ThisHost(),
		Events: a.runbookEvents(),
	}
}

// answer asks a question, unless the answer was given before.
func (a *app) answer(ctx context.Context, question string, yes bool) (bool, error) {
	if yes {
		a.term.Info(question + " yes (--yes)")
		return true, nil
	}
	tty, done := a.keyboard()
	if tty == nil {
		return false, fmt.Errorf("%w: %s", runbook.ErrNobody, question)
	}
	defer done()
	return a.confirm(ctx, tty, question)
}

// givenGlobals returns the flags of all commands that were given, to be given to the commands of a plan as well: but for those about
// what is printed.
func givenGlobals(cmd *cobra.Command) (args []string) {
	globals := cmd.Root().PersistentFlags()
	cmd.Flags().Visit(func(f *pflag.Flag) {
		switch f.Name {
		case "quiet", "verbose", "json":
			return
		}
		if globals.Lookup(f.Name) != f {
			return
		}
		name := "--" + f.Name
		if f.Name == "password-file" { // the long name is another flag's where there is a server
			name = "-p"
		}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			for _, v := range list.GetSlice() {
				args = append(args, name, v)
			}
			return
		}
		if f.Value.Type() == "bool" {
			args = append(args, name+"="+f.Value.String())
			return
		}
		args = append(args, name, f.Value.String())
	})
	return args
}

// understand reads a command line as this program would.
func understand(args []string) (*cobra.Command, error) {
	fresh := &app{term: ui.NewPlain(io.Discard, io.Discard)}
	cmd, rest, err := fresh.rootCommand().Find(args)
	if err == nil {
		err = cmd.ParseFlags(rest)
	}
	return cmd, err
}

// checkCommandLine looks whether this program would understand arguments, of which some were added.
func checkCommandLine(args, added []string) error {
	cmd, err := understand(args)
	if err == nil {
		err = cmd.ValidateArgs(cmd.Flags().Args())
	}
	if err == nil {
		err = restoresAsSaid(cmd.Flags(), added)
	}
	return inPlan(err)
}

// inPlan is an error of which it is the plan that is wrong, and not this command line.
func inPlan(err error) error {
	if err == nil {
		return nil
	}
	return errors.New(asUsage(err).Error())
}

// notAdded are the flags that a plan can not add to a step that restores, and what to write in their place.
var notAdded = map[string]string{
	"target": "the step restores to where its own key says; what restores the files of a server is a step of kind run",
	"dir":    "the step restores to where its own key says",
	"to":     "the step restores to where its own key says",
	"yes":    "say replace = true, so that it is known that the step may be done again",
	"on":     "the step restores on this machine, as those around it work on this one; what works on another is a step of kind run",

	"repo":            "give it to kura runbook: it counts for all steps, and for finding the snapshots",
	"repository-file": "give it to kura runbook: it counts for all steps, and for finding the snapshots",
}

// restoresAsSaid refuses flags with which a step would do something else than what is looked at, and what is taken back.
func restoresAsSaid(flags *pflag.FlagSet, added []string) error {
	if f := flags.Lookup("dry-run"); f != nil && f.Value.String() == "true" {
		return errors.New("with --dry-run it would restore nothing")
	}
	return flags.ParseAll(added, func(f *pflag.Flag, _ string) error {
		if why := notAdded[f.Name]; why != "" {
			return fmt.Errorf("args has --%s: %s", f.Name, why)
		}
		return nil
	})
}

// sameProgram reports whether a command is that of a program's file. Nobody else is given its password.
func sameProgram(command, program string) bool {
	path, err := exec.LookPath(command)
	if err != nil {
		return false
	}
	one, err1 := os.Stat(path)
	other, err2 := os.Stat(program)
	return err1 == nil && err2 == nil && os.SameFile(one, other)
}

// passwordForSteps asks for the repository's password, if it is to be typed, once for all commands of a plan.
func (a *app) passwordForSteps(ctx context.Context) error {
	if err := a.globals.readAgain(); err != nil {
		return err
	}
	p, err := a.place()
	if err != nil {
		return err
	}
	source, err := a.access(p).secret()
	if err != nil || source != nil || p.embedded != nil {
		return err
	}
	tty, done, err := a.keyboardFor(a.access(p))
	if err != nil {
		return err
	}
	defer done()
	password, err := a.readPassword(ctx, tty, "password for the repository:")
	if err != nil {
		return err
	}
	if _, err := newPassword(password, "the password"); err != nil {
		return err
	}
	a.typed = password
	return nil
}

// usedFiles are the files and folders that the commands of a plan need.
func (a *app) usedFiles() []string {
	used := a.globals.files()
	if p, err := a.place(); err == nil && p.peer == nil {
		used = a.opens(p)
		if folder, ok := strings.CutPrefix(p.String(), "local:"); ok {
			used = append(used, folder)
		}
	}
	if cache, err := a.globals.cache(); err == nil && cache != "" {
		used = append(used, cache)
	}
	return used
}

// opens are the files and folders by which a repository is opened, and a connection to it is made.
func (a *app) opens(p *place) []string {
	paths := a.globals.files()
	if p.embedded != nil {
		paths = append(paths, p.embedded.key)
	}
	if private := a.globals.private; private != "" {
		paths = append(paths, filepath.Dir(private)) // by what is in there who comes later knows that an agent works
	}
	store := &a.globals.store
	for _, name := range []string{
		cmp.Or(given(store.caCert, envCACert), os.Getenv("AWS_CA_BUNDLE")), given(store.clientCert, envClientCert),
		os.Getenv("AWS_SHARED_CREDENTIALS_FILE"), os.Getenv("AWS_CONFIG_FILE"),
	} {
		if name != "" {
			paths = append(paths, name)
		}
	}
	if home, err := os.UserHomeDir(); err == nil { // what S3 and ssh look up by themselves
		for scheme, folder := range map[string]string{"s3:": ".aws", "sftp:": ".ssh"} {
			path := filepath.Join(home, folder)
			if _, err := os.Lstat(path); err == nil && strings.HasPrefix(p.String(), scheme) {
				paths = append(paths, path)
			}
		}
	}
	return paths
}

// files are those that the repository and its password are read from.
func (o *access) files() (files []string) {
	for _, f := range []struct{ flag, variable string }{
		{o.repositoryFile, envRepositoryFile}, {o.passwordFile, envPasswordFile}, {o.keyFile, envKeyFile},
	} {
		if file := given(f.flag, f.variable); file != "" {
			files = append(files, file)
		}
	}
	return files
}

// readAgain refuses pipes: each step of a plan reads the file by itself, and a pipe is empty after the first one.
func (o *access) readAgain() error {
	for _, file := range o.files() {
		info, err := os.Stat(file)
		if err == nil && !info.Mode().IsRegular() || strings.HasPrefix(file, "/dev/") || strings.HasPrefix(file, "/proc/") {
			return usage(fmt.Sprintf("%s can be read only once, and the steps of a plan read it again", file),
				"name a file that stays, or a command with --password-command")
		}
	}
	return nil
}
