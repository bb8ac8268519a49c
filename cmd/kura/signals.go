package main

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// handleSignals returns a context that SIGINT and SIGTERM cancel: the command ends in an orderly way, and
// with it the program. A second one ends the program at once, which is safe too: what is not in the
// log does not count. SIGUSR1 shows the progress. stop ends the handling.
func (a *app) handleSignals(parent context.Context, exit func(int)) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGUSR1)
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
					a.term.Info("interrupted: ending in an orderly way; interrupt again to end at once")
					cancel(errInterrupted)
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
