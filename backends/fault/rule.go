package fault

import (
	"context"
	"slices"
	"strings"

	"github.com/kura-backup/kura/internal/trigger"
)

// Op is a method of a Store.
type Op string

// The methods that can fail.
const (
	Put    Op = "put"
	Get    Op = "get"
	List   Op = "list"
	Delete Op = "delete"
)

// Call is one call of a method.
type Call struct {
	Op     Op
	Name   string // the prefix of a List
	After  string // of a List
	Offset int64  // of a Get
	Length int64  // of a Get, as asked for; of a Put, the size
}

// Rule says which calls fail and how. It is a value: each method returns a
// changed copy, and one Rule can be injected into several Stores, each of which
// counts for itself. A Rule without an effect does nothing but count.
type Rule struct {
	ops    []Op
	prefix string
	when   trigger.When

	effect effect
	bytes  int
	err    error
	hook   func(context.Context, Call) error
	die    bool
}

type effect uint8

const (
	nothing effect = iota
	before
	after
	torn
)

// On begins a rule for the given methods, or for all of them when none is given.
// It fires on the first call, once.
func On(ops ...Op) Rule { return Rule{ops: slices.Clone(ops), when: trigger.Once} }

// Prefix restricts the rule to names that start with p (of a List, the prefix
// that is listed).
func (r Rule) Prefix(p string) Rule { r.prefix = p; return r }

// Nth lets the first n-1 matching calls pass.
func (r Rule) Nth(n int) Rule { r.when.Nth = n; return r }

// Times makes the rule fire on k matching calls from the first one on.
func (r Rule) Times(k int) Rule { r.when.Times = k; return r }

// Always makes the rule fire without end from the first matching call on.
func (r Rule) Always() Rule { r.when.Times = -1; return r }

// Rate makes the rule fire on a matching call only with probability p, drawn
// from seed.
func (r Rule) Rate(p float64, seed uint64) Rule { r.when.Rate, r.when.Seed = p, seed; return r }

// Before answers with err and does nothing.
func (r Rule) Before(err error) Rule { r.effect, r.err = before, err; return r }

// After does the operation and then answers with err.
func (r Rule) After(err error) Rule { r.effect, r.err = after, err; return r }

// Torn does n bytes of a Put, which no sound store does: an object of the first n
// bytes is in place. Of a Get it delivers n bytes, of a List n objects. Then it
// answers with err; a Get of which nobody should notice that it is short has a
// nil err. A Delete is never torn: it fails before it is done.
func (r Rule) Torn(n int, err error) Rule { r.effect, r.bytes, r.err = torn, n, err; return r }

// Hook calls f first, for delays and for things that happen meanwhile. If f
// returns an error, that is the answer and nothing is done.
func (r Rule) Hook(f func(context.Context, Call) error) Rule { r.hook = f; return r }

// Die makes the Store answer every later call with ErrDead. The call that it
// fires on ends with ErrDead, too, if the rule has no other error.
func (r Rule) Die() Rule { r.die = true; return r }

func (r Rule) matches(c Call) bool {
	return (len(r.ops) == 0 || slices.Contains(r.ops, c.Op)) && strings.HasPrefix(c.Name, r.prefix)
}

// armed is a rule in a Store, with its counts; the Store's mutex guards it.
type armed struct {
	Rule
	*trigger.Armed
}

func arm(r Rule) *armed { return &armed{r, r.when.Arm()} }

func (a *armed) fires(c Call) bool { return a.matches(c) && a.Fires() }
