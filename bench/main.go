package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, os.Args[1:])
	interrupted := ctx.Err() != nil
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case interrupted:
		fmt.Fprintln(os.Stderr, "bench: interrupted")
		os.Exit(130)
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run measures what the command line asks for and writes what came out.
func run(ctx context.Context, args []string) (err error) {
	if asked, err := standIn(args); asked {
		return err
	}
	o, err := parseOptions(args)
	if err != nil {
		return err
	}
	if len(o.scale) > 0 {
		return benchScale(ctx, o)
	}
	if o.blockdiff {
		return benchBlockdiff(ctx, o)
	}
	if o.report != nil {
		records, err := loadRecords(o.report)
		if err != nil {
			return err
		}
		return newReport(records).write(o.out)
	}
	steps, err := chooseSteps(newSteps(datasets), o.steps)
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp(o.work, "kura-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()

	b := &bench{options: o, work: work, steps: steps, began: time.Now(), machine: describeMachine(work), sources: make(map[*dataset]*source)}
	if b.tools, err = chooseTools(ctx, o, work); err != nil {
		return err
	}
	if o.far > 0 {
		if b.tools, err = farTools(b.tools); err != nil {
			return err
		}
		if b.far, err = startFar(o); err != nil {
			return err
		}
		defer b.far.stop()
	}
	b.record.Section, b.record.Cores = o.section(), runtime.NumCPU()
	for _, t := range b.tools {
		b.record.Programs = append(b.record.Programs, t.program())
	}
	if err := settle(ctx, o.settle); err != nil {
		return err
	}
	for _, d := range datasets {
		if err := b.dataset(ctx, d); err != nil {
			return err
		}
	}
	b.record.Facts = b.facts()
	return newReport([]*record{&b.record}).write(o.out)
}

// commandLine is how to run the same again.
func commandLine(args []string) string {
	words := []string{"go run ./bench"} // wherever it was built
	for _, a := range args[1:] {
		if a == "" || strings.ContainsAny(a, " \t\n'\"\\$&|;<>()*?[]#~`") {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		words = append(words, a)
	}
	return strings.Join(words, " ")
}
