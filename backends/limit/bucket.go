package limit

import (
	"context"
	"time"

	"golang.org/x/time/rate"

	"github.com/kura-backup/kura/internal/clock"
)

// bucket is what one direction may still transfer. Nil is one without end. It is safe for concurrent use.
type bucket struct {
	limiter *rate.Limiter
	clock   clock.Clock
	sleep   sleepFunc
}

// sleepFunc waits for d, or until ctx is done, and then returns its cause.
type sleepFunc func(ctx context.Context, d time.Duration) error

func newBucket(perSecond int64, c clock.Clock, sleep sleepFunc) *bucket {
	if perSecond <= 0 {
		return nil
	}
	const least, most = 4 << 10, 1 << 20
	burst := min(max(perSecond/10, least), most)
	return &bucket{limiter: rate.NewLimiter(rate.Limit(perSecond), int(burst)), clock: c, sleep: sleep}
}

// take waits until n bytes may be transferred. Several callers take turns.
func (b *bucket) take(ctx context.Context, n int64) error {
	if b == nil {
		return nil
	}
	for n > 0 {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		some := min(n, int64(b.limiter.Burst()))
		now := b.clock.Now()
		r := b.limiter.ReserveN(now, int(some))
		if err := b.sleep(ctx, r.DelayFrom(now)); err != nil {
			r.CancelAt(b.clock.Now())
			return err
		}
		n -= some
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
