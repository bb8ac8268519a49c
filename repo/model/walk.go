package model

import (
	"context"
	"math/rand/v2"
)

// walk takes random steps in the world of c, starting anew whenever a path is
// long steps long or nothing can happen any more. The same seed takes the same
// steps. It checks each state, and the clean collection from one in 16.
func walk(ctx context.Context, c *config, seed uint64, steps uint64, long int) result {
	g := newGenerator(c)
	rng := rand.New(rand.NewPCG(seed, 0x6b757261))
	var res result
	var path []int // the steps taken since the start: group and choice by turns
	s := newState(c)
	var order []int
	for i := range g.groups() {
		order = append(order, i)
	}
	// Rooms get full of garbage; deleting is as likely as two actors' steps.
	order = append(order, g.groups()-2)
	for res.steps < steps {
		if res.steps&0xfff == 0 && ctx.Err() != nil {
			break
		}
		group, ok := g.some(&s, order, rng)
		if !ok || len(path) >= 2*long {
			s, path = newState(c), path[:0]
			continue
		}
		pick := rng.IntN(len(g.out))
		if a := g.out[pick].act; (a == writerCrash || a == collectorCrash) && rng.IntN(8) != 0 {
			continue // dying all the time is no way to get into trouble
		}
		path = append(path, group, pick)
		x := &g.out[pick]
		res.steps++
		res.counts[x.act]++
		why := x.bad
		s = x.s
		s.tidy()
		if why == "" {
			why = s.check(g.strict)
		}
		if why == "" && res.steps%16 == 0 {
			var done bool
			if why, done = g.clean(&s); done {
				res.cleaned++
			}
		}
		if why != "" {
			res.bad = &violation{why: why, trace: retrace(c, path)}
			break
		}
	}
	res.full = g.full
	for a := range g.also {
		res.counts[a] += g.also[a]
	}
	return res
}

// some lists the steps of one group that has any, chosen at random.
func (g *generator) some(s *state, order []int, rng *rand.Rand) (int, bool) {
	rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	for _, i := range order {
		g.out = g.out[:0]
		if g.group(s, i); len(g.out) > 0 {
			return i, true
		}
	}
	return 0, false
}

// retrace tells the steps of a walk.
func retrace(c *config, path []int) []string {
	g := newGenerator(c)
	s := newState(c)
	n := newNames()
	var out []string
	for i := 0; i < len(path); i += 2 {
		g.out = g.out[:0]
		g.group(&s, path[i])
		x := g.out[path[i+1]]
		out = append(out, n.tell(&s, &x))
		s = x.s
		s.tidy()
	}
	return out
}
