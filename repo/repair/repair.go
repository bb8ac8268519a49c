package repair

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/seal"
)

var (
	// ErrRevoked is returned when a collector took the run for dead, and what it had uploaded is garbage.
	// Nothing was changed; the next run starts anew.
	ErrRevoked = errors.New("repair: a collector has revoked this run; run the repair again")

	// ErrManyMissing is returned by Packs and Snapshots when so many packs are missing, or have not a byte that can be read,
	// that it looks like a disk or a folder that is not mounted, or a cable: dropping them, or forgetting all that needs them,
	// would make all of them garbage.
	ErrManyMissing = errors.New("repair: so many packs are missing that a disk may not be mounted; nothing was changed")

	// ErrNotLive is returned by Packs for a pack that is not part of the repository's newest state.
	ErrNotLive = errors.New("repair: the repository has no such pack, or does not use it any more")
)

// Events tell how a run goes. Nil functions are not called, and no two at the same time.
type Events struct {
	Phase    func(name string)
	Step     func(done, total uint64)
	Pack     func(PackOutcome)     // what became of a damaged pack
	Snapshot func(SnapshotOutcome) // what became of a damaged snapshot
}

func (e *Events) phase(name string) {
	if e.Phase != nil {
		e.Phase(name)
	}
}

func (e *Events) step(done, total int) {
	if e.Step != nil {
		e.Step(uint64(done), uint64(total))
	}
}

// mayCollect refuses keys that can not sign collect entries.
func mayCollect(r *repo.Repository) error {
	if role := r.Keys().Role(); role < seal.Maintainer {
		return fmt.Errorf("repair: this needs a maintainer's or the owner's key, this is a %v's", role)
	}
	return nil
}

// lifeEvery is how often a run gives a sign of life.
const lifeEvery = 5 * time.Minute

// live gives signs of life of the session until stop is called. They only save work, so that errors do not
// matter.
func live(ctx context.Context, r *repo.Repository, sid object.SessionID, host string) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	_ = r.PutSign(ctx, sid, 0, host)
	wg.Go(func() {
		tick := time.NewTicker(lifeEvery)
		defer tick.Stop()
		for k := uint32(1); ; k++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				_ = r.PutSign(ctx, sid, k, host)
			}
		}
	})
	return func() {
		cancel()
		wg.Wait()
	}
}

// tooMany returns an ErrManyMissing if too many of all packs are missing to be lost: more than half, or each of several of a class,
// whose folder may be a mount of its own.
func tooMany(packs map[object.Ref]log.Pack, missing func(object.Ref) bool) error {
	all, gone := map[object.Class]int{}, map[object.Class]int{}
	sum := 0
	for ref := range packs {
		all[ref.Class]++
		if missing(ref) {
			gone[ref.Class]++
			sum++
		}
	}
	if sum*2 > len(packs) {
		return fmt.Errorf("%w: %d of %d", ErrManyMissing, sum, len(packs))
	}
	for _, class := range []object.Class{object.DataPack, object.TreePack} {
		if n := gone[class]; n > 1 && n == all[class] {
			return fmt.Errorf("%w: all %d %v packs", ErrManyMissing, n, class)
		}
	}
	return nil
}

// unread reports whether an error is the store's word that it can not read what is there. That may be a cable, or a disk that is well
// again tomorrow: nobody knows what is lost.
func unread(ctx context.Context, err error) bool {
	_, ok := errors.AsType[*backends.Error](err)
	return ok && repo.Unreadable(ctx, err) && !errors.Is(err, fs.ErrPermission)
}

// isDamage reports whether an error is about one object: that it is missing, not what was written, or can not
// be read. What this user may not read is no damage, and nothing goes because of it.
func isDamage(ctx context.Context, err error) bool {
	if errors.Is(err, fs.ErrPermission) {
		return false
	}
	return errors.As(err, new(*repo.DamageError)) || errors.Is(err, backends.ErrNotExist) ||
		errors.Is(err, backends.ErrRange) || repo.Unreadable(ctx, err)
}
