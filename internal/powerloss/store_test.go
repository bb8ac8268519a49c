package powerloss_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"path"
	"testing"

	"github.com/kura-backup/kura/internal/durable/lossy"
	"github.com/kura-backup/kura/internal/testrand"
)

var (
	statesFlag = flag.Int("powerloss.states", 24_000, "states to look at, two thirds of them in stores, a third in repositories")
	seedFlag   = flag.Uint64("powerloss.seed", 0, "seed of the power failures; 0 draws one")
)

// seeded returns the seed of a test, which it logs.
func seeded(t testing.TB) uint64 {
	seed := *seedFlag
	if seed == 0 {
		seed = testrand.Seed(t)
	}
	t.Logf("seed %d (repeat with -powerloss.seed)", seed)
	return seed
}

// run is one program on one disk.
type run struct {
	disk *lossy.Disk
	dir  string // where the store is
	led  *ledger
	rng  *rand.Rand
	from int // the first operation before which the power may fail

	// look, if it is set, is what to look at after a power failure instead of the
	// store's objects.
	look func(at int, d *lossy.Disk) error
}

func newRun(rng *rand.Rand) *run {
	d := lossy.New()
	return &run{disk: d, dir: ".", led: newLedger(d), rng: rng}
}

// open opens the store for another process.
func (r *run) open() (*client, *lossy.Mount) {
	m := r.disk.Mount(r.dir)
	return r.led.client(m), m
}

func (r *run) bytes() []byte {
	b := make([]byte, 1+r.rng.IntN(3000))
	for i := range b {
		b[i] = byte(r.rng.Uint32())
	}
	return b
}

// name draws the name of an object: in few folders, so that they are shared.
func (r *run) name() string {
	if r.rng.IntN(4) == 0 {
		return fmt.Sprintf("log/%016d", r.rng.IntN(3)*1000+r.rng.IntN(3))
	}
	return fmt.Sprintf("%s/%d%c%04x", []string{"data", "tree"}[r.rng.IntN(2)], r.rng.IntN(2), "ab"[r.rng.IntN(2)], r.rng.IntN(1<<16))
}

// play runs a scenario.
func (s *scenario) play(ctx context.Context, seed uint64, prepare func(*run)) (*run, error) {
	r := newRun(rand.New(rand.NewPCG(seed, hashOf(s.name))))
	if prepare != nil {
		prepare(r)
	}
	if err := s.run(ctx, r); err != nil {
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	return r, nil
}

// search runs a scenario and looks at what each power failure leaves. It returns the
// first violation.
func (s *scenario) search(ctx context.Context, seed uint64, perPrefix int, n *tally, prepare func(*run)) error {
	r, err := s.play(ctx, seed, prepare)
	if err != nil {
		return err
	}
	look := r.look
	if look == nil {
		look = func(at int, d *lossy.Disk) error {
			_, err := r.led.verify(ctx, at, r.led.reopen(d, r.dir))
			return err
		}
	}
	return r.search(perPrefix, n, look)
}

// search looks at states after every prefix.
func (r *run) search(perPrefix int, n *tally, look func(at int, d *lossy.Disk) error) error {
	p := lossy.NewPlayer(r.disk, r.rng)
	p.Scratch = path.Join(r.dir, "tmp")
	n.operations += r.disk.Ops()
	n.acknowledged += len(r.led.acks)
	for {
		if p.At() >= r.from {
			n.prefixes++
			for d := range p.States(perPrefix, r.led.epoch(p.At())) {
				n.states++
				if err := look(p.At(), d); err != nil {
					return fmt.Errorf("power failure after operation %d: %w", p.At(), err)
				}
			}
		}
		if !p.Step() {
			return nil
		}
	}
}

func hashOf(s string) (h uint64) {
	for i := range len(s) {
		h = h*31 + uint64(s[i])
	}
	return h
}

func TestStore_PowerFailsAnywhere_WhatWasAcknowledgedIsThere(t *testing.T) {
	seed := seeded(t)
	want := *statesFlag * 2 / 3
	if testing.Short() {
		want = min(want, 2000)
	}
	total := tally{}
	for i := range scenarios {
		n := tally{}
		for round := uint64(0); n.states < want/len(scenarios); round++ {
			if err := scenarios[i].search(t.Context(), seed+round, 24, &n, nil); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
		}
		n.log(t, scenarios[i].name, seed)
		total.states += n.states
	}
	t.Logf("%d different states in all", total.states)
}
