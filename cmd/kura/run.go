package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/spf13/cobra"

	"github.com/kura-backup/kura/remote"
	"github.com/kura-backup/kura/ui"
)

// app is one run of the program: what its commands share.
type app struct {
	globals globalOptions
	term    *ui.Terminal
	stdin   *os.File
	stderr  *os.File // to ask questions at

	// stdinTaken is set when standard input was read as a list.
	stdinTaken bool

	// begun is set when the command line was understood, and errors stop being about it.
	begun bool

	// typed is the password that was typed once for the steps of a plan, or nil.
	typed []byte

	// peer is set for a command that is run for a kura on another machine, which has the repository.
	peer *remote.Peer

	// retryTold is when it was told last that a request is tried again, in Unix nanoseconds.
	retryTold atomic.Int64

	// progress is what SIGUSR1 asks.
	progress atomic.Pointer[ui.Progress]
}

// run is the program but for its end, and returns the exit code. exit ends it at once.
func run(args []string, stdin, stdout, stderr *os.File, exit func(int)) int {
	a := &app{term: ui.NewTerminal(stdout, stderr), stdin: stdin, stderr: stderr}
	ctx, stop := a.handleSignals(context.Background(), exit)
	defer stop()
	return a.execute(ctx, args, stdout, stderr)
}

// execute runs a command line and returns the exit code.
func (a *app) execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := a.rootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		err = a.term.Err()
	}
	if err != nil && !a.begun {
		err = asUsage(err)
		// The flags were not read behind the one that is wrong.
		a.term.JSON = a.term.JSON || a.globals.json || slices.Contains(args, "--json")
	}
	code := exitCode(ctx, err)
	if code != exitOK && !errors.As(err, new(exitStatus)) {
		message, hints := explain(code, err)
		a.term.Fatal(code, message, hints)
	}
	return code
}

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "kura",
		Short: "back up files into an encrypted, deduplicating repository",
		Long: `kura backs up files into an encrypted, deduplicating repository, and restores them.

A repository is made with "kura init", in a folder, in S3 or on a server with ssh. Each "kura backup" adds
a snapshot to it and stores only what the repository does not have yet. "kura snapshots" and "kura ls" show what is there,
"kura restore" brings it back, "kura check" looks for damage. "kura forget" and "kura prune" free the
space of snapshots that are no longer wanted.

Exit codes:
  0  all is well
  1  an error
  2  the command line is wrong, or something it needs was not given
  3  a snapshot was made, but some of the source could not be read
  4  stored data is damaged
 10  there is no repository at the place
 11  others were busy in the repository; try again
 12  wrong password or key
130  interrupted`,
		Example: `  export KURA_REPOSITORY=/mnt/disk/backup KURA_PASSWORD_FILE=~/.kura-password
  kura init
  kura backup ~
  kura restore latest:/home/me/Documents --target /tmp/documents`,
		Args:              noArgs,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return a.begin(cmd) },
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(wrongFlag)
	root.SetHelpCommand(helpCommand())
	a.globals.addFlags(root.PersistentFlags())
	for _, g := range a.commands() {
		root.AddGroup(&cobra.Group{ID: g.title, Title: g.title})
		for _, cmd := range g.commands {
			cmd.GroupID = g.title
		}
		root.AddCommand(g.commands...)
		root.SetHelpCommandGroupID(g.title) // in the end, the last one
	}
	root.AddCommand(a.agentCommand())
	a.allowElsewhere(root)
	return root
}

// commandGroup is a part of the list of commands, under a title of its own.
type commandGroup struct {
	title    string
	commands []*cobra.Command
}

func (a *app) commands() []commandGroup {
	return []commandGroup{
		{"Backing up, and restoring:", []*cobra.Command{
			a.initCommand(), a.backupCommand(), a.snapshotsCommand(), a.lsCommand(), a.findCommand(), a.restoreCommand(), a.dumpCommand(), a.copyCommand(),
		}},
		{"Other sources, and plans for recovery:", []*cobra.Command{
			a.importTarCommand(), a.mysqlCommand(), a.redisCommand(), a.deviceCommand(), a.runbookCommand(),
		}},
		{"What stays, and for how long:", []*cobra.Command{
			a.forgetCommand(), a.unforgetCommand(), a.pruneCommand(), a.pinCommand(), a.unpinCommand(), a.tagCommand(),
		}},
		{"Keys, damage, the store:", []*cobra.Command{
			a.keyCommand(), a.checkCommand(), a.repairCommand(), a.statsCommand(), a.doctorCommand(), a.unlockCommand(),
		}},
		{"More:", []*cobra.Command{a.cacheCommand(), a.catCommand(), a.versionCommand()}},
	}
}

// helpCommand is cobra's, but that it fails where there is nothing to explain.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "help [COMMAND]",
		Short:   "explain a command",
		Long:    "Explain a command: what it does, and its flags. Without one, list the commands.",
		Example: "  kura help backup",
		RunE: func(help *cobra.Command, args []string) error {
			cmd, rest, err := help.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return usage(fmt.Sprintf("there is no command %q to explain", strings.Join(args, " ")), "kura help lists the commands")
			}
			cmd.InitDefaultHelpFlag()
			return cmd.Help()
		},
	}
}

// begin is called when the command line was understood.
func (a *app) begin(cmd *cobra.Command) error {
	a.begun = true
	a.term.JSON, a.term.Quiet, a.term.Verbose = a.globals.json, a.globals.quiet, a.globals.verbose
	return noneEmpty(cmd)
}

// showProgress shows the progress of a verb until the function that it returns is called.
func (a *app) showProgress(ctx context.Context, source func() ui.Status, message func(ui.Status, ui.Timing) any) (stop func()) {
	p := a.term.StartProgress(ctx, source, message)
	a.progress.Store(p)
	return func() {
		a.progress.Store(nil)
		p.Stop()
	}
}
