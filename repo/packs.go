package repo

import (
	"context"
	crand "crypto/rand"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/pack"
	"github.com/kura-backup/kura/seal"
)

// finishedPack is a pack that is stored.
type finishedPack struct {
	ref  object.Ref
	size int64
	dir  *pack.Directory
}

// packs are the open packs of a session and the uploads of full ones. Two data packs are open at a
// time and each segment goes to either at random: where a chunk lies, and how long a pack's segments
// are in order, then says less about which known file was backed up.
type packs struct {
	s       *Session
	secrets map[object.BlobType]*seal.Secret
	open    map[object.BlobType][]*openPack
	buffers map[object.BlobType]chan []byte // memory for packs that are open or being uploaded
	uploads *errgroup.Group

	mu    sync.Mutex
	rng   *rand.ChaCha8
	ready []*finishedPack

	groups *grouper // nil unless asked for

	life     sync.Once     // starts the signs of life
	signed   chan struct{} // closed when the first was given
	lifeStop context.CancelFunc
	lifeDone chan struct{}
}

// openPack is a pack that is being filled.
type openPack struct {
	mu sync.Mutex
	b  *pack.Builder
}

func newPacks(s *Session) (*packs, error) {
	p := &packs{
		s: s, secrets: map[object.BlobType]*seal.Secret{}, uploads: new(errgroup.Group), signed: make(chan struct{}),
		open: map[object.BlobType][]*openPack{
			object.DataBlob: {new(openPack), new(openPack)},
			object.TreeBlob: {new(openPack)},
		},
		buffers: map[object.BlobType]chan []byte{
			object.DataBlob: make(chan []byte, dataBuffers(s.r.store)),
			object.TreeBlob: make(chan []byte, 2),
		},
	}
	for t, c := range p.buffers {
		for range cap(c) {
			c <- nil // allocated when it is first used
		}
		secret, err := s.r.Keys().NewSecret(kindOf(t))
		if err != nil {
			return nil, err
		}
		p.secrets[t] = secret
	}
	if s.opts.Packing.Groups {
		p.groups = &grouper{r: s.r, sid: s.id}
	}
	var seed [32]byte
	crand.Read(seed[:]) // never fails
	p.rng = rand.NewChaCha8(seed)
	return p, nil
}

// dataBuffers is how many data packs are open or being uploaded. A far store takes longer to answer: with one
// upload more, the first backup of 1 GB over 50 ms took 7 % less.
func dataBuffers(store backends.Store) int {
	if store.Caps().Local {
		return 4
	}
	return 5
}

// add seals a segment into an open pack. A pack that has no room is closed and uploaded beside
// whatever happens next.
func (p *packs) add(t object.BlobType, n pack.NewSegment) error {
	o := p.pick(t)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.b != nil && !o.b.Fits(len(n.Stored)) {
		p.finish(t, o, false)
	}
	if o.b == nil {
		var buf []byte
		select {
		case buf = <-p.buffers[t]:
		case <-p.s.ctx.Done():
			return p.s.err()
		}
		class := object.PackClass(t)
		opts := p.s.opts.Packing.Options(class)
		if buf == nil {
			buf = make([]byte, 0, opts.BufferSize(class))
		}
		var err error
		if o.b, err = pack.NewBuilder(p.s.r.Keys(), class, p.s.id, p.secrets[t], opts, buf); err != nil {
			return err
		}
		p.beginLife()
	}
	return o.b.Add(n)
}

func (p *packs) pick(t object.BlobType) *openPack {
	open := p.open[t]
	if len(open) == 1 {
		return open[0]
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return open[coin(p.rng)]
}

// finish begins to close and upload an open pack. o.mu is held. Directory, parity and name take as long as ten segments
// do: meanwhile others go into the next pack.
func (p *packs) finish(t object.BlobType, o *openPack, pad bool) {
	b := o.b
	o.b = nil
	p.uploads.Go(func() error {
		obj, ref, dir, err := b.Finish(pad)
		defer func() { p.buffers[t] <- obj[:0] }()
		if err != nil {
			return p.s.fail(err)
		}
		if !p.s.opts.DryRun {
			<-p.signed
		}
		if err := p.put(ref, obj); err != nil {
			return p.s.fail(err)
		}
		p.s.stored.Add(uint64(len(obj)))
		p.mu.Lock()
		defer p.mu.Unlock()
		p.ready = append(p.ready, &finishedPack{ref: ref, size: int64(len(obj)), dir: dir})
		return nil
	})
}

// put stores a pack, and adds it to a group if there are any.
func (p *packs) put(ref object.Ref, obj []byte) error {
	if p.s.opts.DryRun {
		return nil
	}
	if err := putObject(p.s.ctx, p.s.r.store, ref.Name(), obj); err != nil {
		return err
	}
	p.s.r.trees.put(ref, obj)
	if p.groups == nil {
		return nil
	}
	return p.groups.add(p.s.ctx, ref, obj)
}

// close uploads what is open and waits for all uploads.
func (p *packs) close() error {
	var errs []error
	for t, open := range p.open {
		for _, o := range open {
			o.mu.Lock()
			if o.b != nil && p.s.err() == nil {
				p.finish(t, o, true)
			}
			o.b = nil
			o.mu.Unlock()
		}
	}
	errs = append(errs, p.uploads.Wait())
	if p.groups != nil && p.s.err() == nil {
		errs = append(errs, p.groups.close(p.s.ctx))
	}
	if p.lifeStop != nil {
		p.lifeStop()
		<-p.lifeDone
	}
	return errors.Join(errs...)
}

// finished returns the packs that are stored, in the order of their names.
func (p *packs) finished() []*finishedPack {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := slices.Clone(p.ready)
	slices.SortFunc(out, func(a, b *finishedPack) int { return a.ref.Compare(b.ref) })
	return out
}

// lifeEvery is how often a session that stores packs gives a sign of life.
const lifeEvery = 5 * time.Minute

// beginLife makes the session give signs of life until close: as soon as there will be a pack, since the first sign has to come before the
// first pack, and a small backup has that at its end. By them later sessions find packs to adopt, and collectors see who is
// at work. They save work and decide nothing, so that errors do not matter.
func (p *packs) beginLife() {
	if p.s.opts.DryRun {
		return
	}
	p.life.Do(func() {
		var ctx context.Context
		ctx, p.lifeStop = context.WithCancel(p.s.ctx)
		p.lifeDone = make(chan struct{})
		go p.live(ctx)
	})
}

func (p *packs) live(ctx context.Context) {
	defer close(p.lifeDone)
	p.sign(ctx, 0)
	close(p.signed)
	tick := time.NewTicker(lifeEvery)
	defer tick.Stop()
	for k := uint32(1); ; k++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			p.sign(ctx, k)
		}
	}
}

// signOnce gives a sign of life if there was none yet.
func (p *packs) signOnce(ctx context.Context) {
	p.life.Do(func() { p.sign(ctx, 0) })
}

func (p *packs) sign(ctx context.Context, k uint32) {
	_ = p.s.r.PutSign(ctx, p.s.id, k, p.s.opts.Host)
}
