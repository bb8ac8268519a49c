package remote

import (
	"context"
	"fmt"
	"time"

	"github.com/kura-backup/kura/remote/frames"
)

const (
	aliveEvery = 15 * time.Second
	aliveLimit = time.Minute // for which nothing may come
)

// beat says again and again that somebody is here, until ctx ends. A network that is gone does not say so, and ssh's server asks nobody:
// a program there would wait for hours, with all that it has stopped, locked or frozen.
func (s *server) beat(ctx context.Context) {
	tick := time.NewTicker(aliveEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if s.conn.Send(ctx, aliveFrame, 0, nil) != nil {
				return // the connection has ended, and whoever reads tells why
			}
		}
	}
}

// listen ends the connection when nothing has come for a while.
func (p *Peer) listen() { watch(p.conn, aliveLimit, nil, p.conn.Received) }

// watch ends a connection when what moves has not for a while, until it is enough.
func watch(c *frames.Conn, limit time.Duration, enough <-chan struct{}, moved func() uint64) {
	tick := time.NewTicker(limit)
	defer tick.Stop()
	for before := uint64(0); ; {
		select {
		case <-enough:
			return
		case <-c.Ended():
			return
		case <-tick.C:
		}
		now := moved()
		if now == before {
			_ = c.End(fmt.Errorf("%w: nothing came for %v", ErrCut, limit))
			return
		}
		before = now
	}
}
