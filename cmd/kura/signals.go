package main

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// handleSignals returns a context that SIGINT, SIGTERM and, but under nohup, SIGHUP cancel: the command ends in an orderly way,
// and with it the program. A second one ends the program at once, which is safe too: what is not in the
// log does not count. SIGUSR1 shows the progress. stop ends the handling.
func (a *app) handleSignals(parent context.Context, exit func(int)) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGUSR1)
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(signals, syscall.SIGHUP)
	}
	var done sync.WaitGroup
	quit := make(chan struct{})
	done.Go(func() {
		for {
			select {
			case <-quit:
				return
			case s := <-signals:
				switch {
				case s == syscall.SIGUSR1:
					if p := a.progress.Load(); p != nil {
						p.Now()
					}
				case ctx.Err() == nil:
					cancel(errInterrupted) // first: it may be nobody who reads what is printed
					a.term.Info("interrupted: ending in an orderly way; interrupt again to end at once")
				default:
					exit(exitInterrupted)
				}
			}
		}
	})
	return ctx, func() {
		signal.Stop(signals)
		close(quit)
		done.Wait()
		cancel(nil)
	}
}

// outliveOutput keeps a program alive whose output nobody reads any more: writing to a closed pipe is an error then, and not
// the end of everything. It is for commands that have things to put in order. It does not ignore the signal, which
// what they start would inherit.
func outliveOutput() (stop func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGPIPE)
	return func() { signal.Stop(signals) }
}
