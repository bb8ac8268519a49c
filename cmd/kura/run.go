package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"

	"github.com/spf13/cobra"

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

	// progress is what SIGUSR1 asks.
	progress atomic.Pointer[ui.Progress]
}

// run is the program but for its end, and returns the exit code. exit ends it at once.
func run(args []string, stdin, stdout, stderr *os.File, exit func(int)) int {
	a := &app{term: ui.NewTerminal(stdout, stderr), stdin: stdin, stderr: stderr}
	ctx, stop := a.handleSignals(context.Background(), exit)
	defer stop()

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
		// The flags may not have been read up to --json.
		a.term.JSON = a.term.JSON || a.globals.json
	}
	code := exitCode(ctx, err)
	if code != exitOK {
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

A repository is a folder that is made with "kura init". Each "kura backup" adds a snapshot to it and
stores only what the repository does not have yet. "kura snapshots" and "kura ls" show what is there,
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
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return asUsage(err) })
	root.SetHelpCommand(helpCommand())
	a.globals.addFlags(root.PersistentFlags())
	root.AddCommand(
		a.initCommand(),
		a.backupCommand(),
		a.deviceCommand(),
		a.snapshotsCommand(),
		a.lsCommand(),
		a.restoreCommand(),
		a.dumpCommand(),
		a.importTarCommand(),
		a.redisCommand(),
		a.copyCommand(),
		a.checkCommand(),
		a.repairCommand(),
		a.statsCommand(),
		a.doctorCommand(),
		a.forgetCommand(),
		a.unforgetCommand(),
		a.pinCommand(),
		a.unpinCommand(),
		a.tagCommand(),
		a.pruneCommand(),
		a.catCommand(),
		a.cacheCommand(),
		a.keyCommand(),
		a.mysqlCommand(),
		a.unlockCommand(),
		a.versionCommand(),
	)
	return root
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
