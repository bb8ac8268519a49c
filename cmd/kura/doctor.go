package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/probe"
	"github.com/kura-backup/kura/ui"
)

// errUnsafe is returned when a store breaks what repositories rely on.
var errUnsafe = errors.New("a repository is not safe there")

// maxObjects is how many small objects kura doctor puts at most.
const maxObjects = 100_000

func (a *app) doctorCommand() *cobra.Command {
	var o doctorOptions
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "try out whether a store keeps what a repository relies on",
		Long: `Try out whether a store keeps what a repository relies on: that of several clients who put the same name
one wins, that what was put is there at once, is listed, and comes back as it was. All that this needs is the
place, such as a folder or a bucket: no password, and no repository in it. A repository that is there is not
touched: all that is put is named probe/…, and is removed again. The place needs room for some 20 MiB. With
--single-writer it is not tried whether names are given once, which a repository of a single writer does without.

What is found is printed with what it means and what to do. The exit code is 1 if data can be lost. That
nothing was found does not prove that nothing is wrong: it was not seen to fail.`,
		Example: `  kura doctor -r s3:https://s3.example.com/bucket/path
  kura doctor -r s3:https://s3.example.com/bucket/path --objects 1500
  kura doctor -r /mnt/disk/backup`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runDoctor(cmd.Context(), o) },
	}
	cmd.Flags().IntVar(&o.objects, "objects", 20, "put this `number` of small objects; with more than 1000 listings have several pages")
	cmd.Flags().BoolVar(&o.singleWriter, "single-writer", false, "leave out what a repository made with --single-writer does without")
	return cmd
}

type doctorOptions struct {
	objects      int
	singleWriter bool
}

func (a *app) runDoctor(ctx context.Context, o doctorOptions) error {
	if o.objects < 1 || o.objects > maxObjects {
		return usage(fmt.Sprintf("--objects %d is not a number from 1 to %d", o.objects, maxObjects))
	}
	p, err := a.place()
	if err != nil {
		return err
	}
	open := func(ctx context.Context) (backends.Store, error) { return a.openStore(ctx, p.Open) }
	if o.singleWriter {
		open = func(ctx context.Context) (backends.Store, error) { return a.openOverwriting(ctx, p.Open) }
	}
	store, err := open(ctx)
	if err == nil {
		err = errors.Join(a.examine(ctx, p, store, probe.Options{Many: o.objects, SingleWriter: o.singleWriter, Second: open}), store.Close())
	}
	if errors.Is(err, backends.ErrNoStore) {
		return withHint(err, "kura doctor looks at a place that is there: make the folder or the bucket; or is the name wrong?")
	}
	return err
}

func (a *app) examine(ctx context.Context, p *place, store backends.Store, o probe.Options) error {
	steps := new(ui.Steps)
	stop := a.showProgress(ctx, steps.Status, ui.StepsMessage)
	defer stop()
	report, err := probe.Run(ctx, store, o, probe.Events{Phase: steps.Phase})
	stop()
	if err != nil {
		return err
	}
	report.Findings = append(report.Findings, a.checkCache()...)
	for _, f := range report.Findings {
		f.Seen = withoutPackages(f.Seen)
		a.term.Finding(f)
	}
	a.term.Examined(p.String(), report)
	if report.Worst() == probe.Fatal {
		return errUnsafe
	}
	return nil
}

// checkCache sees whether the folder for caches can be written.
func (a *app) checkCache() []probe.Finding {
	dir, err := a.globals.cache()
	if err == nil && dir != "" {
		err = writable(dir)
	}
	if err == nil {
		return nil
	}
	return []probe.Finding{{
		ID: "cache", Severity: probe.Warning, Seen: err.Error(),
		Means: "everything works without a cache, slowly; and a repository that was rolled back is not noticed",
		Do:    "make the folder writable, or name another with --cache-dir",
	}}
}

func writable(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("the cache folder can not be made: %w", err)
	}
	f, err := os.CreateTemp(dir, "doctor-*")
	if err != nil {
		return fmt.Errorf("the cache folder can not be written: %w", err)
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}
