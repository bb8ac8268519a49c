package snapshot

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kura-backup/kura/internal/clock"
)

// namePrefix is what the names of all copies begin with.
const namePrefix = "kura-"

// Taker makes copies of devices that stand still. The fields are set before it is used; it may be used by several goroutines.
type Taker struct {
	Kind     string
	Provider Provider
	Leases   *Leases

	// Freeze are mount points to freeze; FreezeDevices says to freeze, too, what is mounted of the devices.
	Freeze        []string
	FreezeDevices bool
	// Watchdog watches over that. Its time is also the longest for which the lock is held.
	Watchdog Watchdog
	// Own is what this run needs to go on: it must not be frozen.
	Own []string

	// Lock is a command, for /bin/sh, that takes a lock, runs the command that it gets as further arguments, and lets go of the lock. Holder are the arguments
	// with which this program calls RunHolder.
	Lock   string
	Holder []string
	Stderr *os.File // for what the command prints; nil is nowhere
}

// Taken are the copies of devices.
type Taken struct {
	Copies []Copy        // in the order of the paths
	Made   time.Time     // between freeze and thaw
	Frozen time.Duration // how long the first of the file systems stood still
	Locked time.Duration
	Lock   map[string]string // what the lock's command says of itself

	taker  *Taker
	leases []*Lease
	kept   bool
}

// Take makes copies of all devices at one moment, as far as the steps in between allow that. Remove must be called
// in any case, unless there is an error.
func (t *Taker) Take(ctx context.Context, paths []string) (_ *Taken, err error) {
	standing, err := t.toFreeze(paths)
	if err != nil {
		return nil, err
	}
	defer standing.close()
	taken := &Taken{taker: t}
	defer func() {
		if err != nil {
			err = errors.Join(err, taken.Remove(ctx))
		}
	}()
	for _, p := range paths {
		if err := taken.announce(p); err != nil {
			return nil, err
		}
	}
	if err := taken.copyAll(ctx, standing, paths); err != nil {
		return nil, err
	}
	if err := taken.note(); err != nil {
		return nil, err
	}
	return taken, taken.check(ctx)
}

// copyAll makes the copies, with watchdogs over what stands still.
func (taken *Taken) copyAll(ctx context.Context, standing places, paths []string) error {
	watched, err := standing.watched(ctx, taken.taker.Watchdog)
	if err == nil {
		err = syncAll(standing, paths)
	}
	if err == nil {
		err = taken.underLock(ctx, watched)
	}
	for _, f := range watched {
		err = errors.Join(err, f.dismiss())
	}
	return err
}

// underLock makes the copies while the lock is held, if there is one.
func (taken *Taken) underLock(ctx context.Context, watched []*frozen) error {
	hold, err := taken.taker.lock(ctx)
	if err != nil {
		return err
	}
	err = taken.standStill(ctx, watched, hold != nil || len(watched) > 0)
	if hold != nil {
		var unlocked error
		taken.Lock = hold.said
		if taken.Locked, unlocked = hold.release(err == nil); unlocked != nil {
			err = errors.Join(err, unlocked)
		}
	}
	return err
}

// syncAll writes what is dirty, so that a freeze, also the one that a volume manager makes, has little to wait for: that of the file
// systems that are mounted of the devices first, then what they have made dirty of those around them.
func syncAll(standing places, paths []string) error {
	for _, p := range paths {
		mounted, err := mountsOf(p)
		if err != nil {
			return err
		}
		for _, m := range mounted {
			if f, err := os.Open(m.At); err == nil { // otherwise it is out of reach, and what follows takes longer
				if err := errors.Join(syncFile(f), f.Close()); err != nil {
					return err
				}
			}
		}
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		if err := errors.Join(syncFile(f), f.Close()); err != nil {
			return err
		}
	}
	for _, p := range standing {
		if err := syncFile(p.dir); err != nil {
			return err
		}
	}
	return nil
}

func syncFile(f *os.File) error {
	// Of a device this is the file system that its node lies in; its own data are synced by Fsync.
	err := unix.Syncfs(int(f.Fd()))
	if err == nil {
		if err = unix.Fsync(int(f.Fd())); errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EROFS) {
			err = nil
		}
	}
	if err != nil {
		return fmt.Errorf("snapshot: sync of %s: %w", f.Name(), err)
	}
	return nil
}

// standStill freezes, copies and thaws. If others wait for that it has a limit.
func (taken *Taken) standStill(ctx context.Context, watched []*frozen, limited bool) (err error) {
	t := taken.taker
	if limited {
		var cancel context.CancelFunc
		longest := t.Watchdog.Longest
		why := fmt.Errorf("snapshot: others would have waited for longer than %v: %w", longest, context.DeadlineExceeded)
		ctx, cancel = context.WithTimeoutCause(ctx, longest, why)
		defer cancel()
	}
	var still []*frozen
	defer func() {
		for i, f := range slices.Backward(still) {
			held, thawErr := f.thaw()
			if i == 0 {
				taken.Frozen = held
			}
			err = errors.Join(err, thawErr)
		}
	}()
	for _, f := range watched {
		if err := f.freeze(ctx); err != nil {
			return err
		}
		still = append(still, f)
	}
	taken.Made = clock.Now()
	for i := range taken.Copies {
		if err := t.Provider.Create(ctx, &taken.Copies[i]); err != nil {
			return err
		}
	}
	if ctx.Err() != nil { // not all providers look at that, and not all that they wait for can be ended
		return context.Cause(ctx)
	}
	return nil
}

// announce names a copy that is going to be made, and takes the lease for it.
func (taken *Taken) announce(path string) error {
	t := taken.taker
	name, err := newName()
	if err != nil {
		return err
	}
	c := Copy{Kind: t.Kind, Name: name, Of: path}
	switch p := t.Provider.(type) {
	case command:
		c.Command = p.text
	case reflink, btrfs:
		if c.Folder, err = folderOf(path); err != nil {
			return err
		}
	}
	lease, err := t.Leases.take(&c, leaseSuffix)
	if err != nil {
		return fmt.Errorf("snapshot: noting what will have to be removed: %w", err)
	}
	taken.leases, taken.Copies = append(taken.leases, lease), append(taken.Copies, c)
	return nil
}

// note adds to the leases what is known of the copies by now, such as where they are.
func (taken *Taken) note() error {
	for i, l := range taken.leases {
		if err := l.update(&taken.Copies[i]); err != nil {
			return fmt.Errorf("snapshot: noting what will have to be removed: %w", err)
		}
	}
	return nil
}

// newName returns a name that nobody has or guesses.
func newName() (string, error) {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", err
	}
	return namePrefix + hex.EncodeToString(b[:]), nil
}

// check returns why one of the copies can not be relied on.
func (taken *Taken) check(ctx context.Context) error {
	for i := range taken.Copies {
		if err := taken.taker.Provider.Check(ctx, &taken.Copies[i]); err != nil {
			return err
		}
	}
	return nil
}

// Watch looks at the copies every so often while they are read, and cancels the context that it returns when one can not be relied on any more. The
// function that it returns ends the watching, looks a last time, and returns why.
func (taken *Taken) Watch(ctx context.Context, every time.Duration) (context.Context, func() error) {
	watched, cancel := context.WithCancelCause(ctx)
	quit, done := make(chan struct{}), make(chan error, 1)
	go func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				done <- taken.check(ctx)
				return
			case <-tick.C:
			}
			if err := taken.check(ctx); err != nil {
				cancel(err)
				<-quit
				done <- err
				return
			}
		}
	}()
	return watched, func() error {
		close(quit)
		err := <-done
		cancel(nil)
		return err
	}
}

// removeTime is how long removing the copies may take, also for a run that was told to end.
const removeTime = 5 * time.Minute

// Remove removes the copies. What can not be removed keeps its lease: the next run tries it again.
func (taken *Taken) Remove(ctx context.Context) error {
	if taken.kept {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTime)
	defer cancel()
	var errs []error
	for i := range taken.leases {
		var err error
		if c := &taken.Copies[i]; c.begun {
			err = taken.taker.Provider.Remove(ctx, c)
		}
		if err == nil {
			err = taken.leases[i].end()
		} else {
			err = fmt.Errorf("snapshot: removing %s of %s: %w", taken.Copies[i].Name, taken.Copies[i].Of, err)
			_ = taken.leases[i].f.Close() // which lets go of it
		}
		errs = append(errs, err)
	}
	taken.leases, taken.Copies = nil, nil
	return errors.Join(errs...)
}

// Keep leaves the copies for the next run, which compares its own with them.
func (taken *Taken) Keep() error {
	for i := range taken.leases {
		kept, err := taken.taker.Leases.take(&taken.Copies[i], keptSuffix)
		if err != nil {
			return err
		}
		if err := errors.Join(kept.f.Close(), taken.leases[i].end()); err != nil {
			return err
		}
	}
	taken.kept = true
	return nil
}
