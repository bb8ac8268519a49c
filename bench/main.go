package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
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
	o, err := parseOptions(args)
	if err != nil {
		return err
	}
	if o.blobs > 0 {
		return benchBlobs(ctx, o)
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

	began := time.Now()
	machine := describeMachine(work)
	chosen, err := chooseTools(ctx, o, work)
	if err != nil {
		return err
	}
	var far *farStore
	if o.far > 0 {
		if chosen, err = farTools(chosen); err != nil {
			return err
		}
		if far, err = startFar(o); err != nil {
			return err
		}
		defer far.stop()
	}
	sources, err := makeSources(ctx, o, steps, work)
	if err != nil {
		return err
	}
	if err := checkSpace(work, chosen, steps, sources); err != nil {
		return err
	}
	b := &bench{options: o, work: work, far: far, tools: chosen, steps: steps, sources: sources, results: make(results)}
	for n := range o.rounds {
		if err := b.round(ctx, n); err != nil {
			return err
		}
	}
	r := report{
		facts: b.facts(machine, began, commandLine(os.Args)),
		table: resultTable(steps, chosen, b.results, far != nil),
	}
	fmt.Print(r.text())
	if o.out == "" {
		return nil
	}
	return os.WriteFile(o.out, []byte(r.markdown()), 0o644)
}

// commandLine is how to run the same again.
func commandLine(args []string) string {
	program := args[0]
	if strings.Contains(program, "/go-build") {
		program = "go run ./bench"
	}
	words := []string{program}
	for _, a := range args[1:] {
		if a == "" || strings.ContainsAny(a, " \t\n'\"\\$&|;<>()*?[]#~`") {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		words = append(words, a)
	}
	return strings.Join(words, " ")
}
