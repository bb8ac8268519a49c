package device

import (
	"context"
	"sync"

	"github.com/kura-backup/kura/source/device/snapshot"
)

// held are copies while they are read.
type held struct {
	taken *snapshot.Taken

	mu   sync.Mutex
	open *Device // the one that is read just now
	gone bool
}

// opened notes which device is read from now on.
func (h *held) opened(d *Device) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open = d
	if h.gone {
		_ = d.Close() // who reads it finds out
	}
}

// removeEarly removes the copies as soon as they can not be relied on any more, or are in the way of others: what was read of them may take
// long until a store has taken it, and that is not to be waited for. The function that it returns ends that, and returns
// what went wrong.
func (h *held) removeEarly(ctx, watched context.Context) func() error {
	var err error
	done := make(chan struct{})
	stop := context.AfterFunc(watched, func() {
		defer close(done)
		if ctx.Err() != nil { // the run is told to end, which is something else
			return
		}
		h.mu.Lock()
		if h.gone = true; h.open != nil {
			_ = h.open.Close()
		}
		h.mu.Unlock()
		err = h.taken.Remove(ctx)
	})
	return func() error {
		if !stop() {
			<-done
		}
		return err
	}
}
