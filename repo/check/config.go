package check

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/seal"
)

// config compares the two copies of what exists twice.
func (c *checker) config(ctx context.Context) error {
	if err := c.twice(ctx, object.ConfigName, object.ConfigCopyName, false, func(obj []byte) error {
		_, err := repo.DecodeConfig(c.r.Keys(), obj)
		return err
	}); err != nil {
		return err
	}
	keys, err := c.slots(ctx)
	if err != nil {
		return err
	}
	for id, s := range c.r.State().Signers {
		if !keys[id] {
			c.problem(Problem{Object: object.KeysPrefix, Hint: true, Err: fmt.Errorf("there is no slot of key %x, a %v's: nobody can open the repository with it", id, s.Role)})
		}
	}
	return nil
}

// slots compares the copies of the key slots, and returns whose they say that they are. Without their passwords
// no more than their form is known.
func (c *checker) slots(ctx context.Context) (keys map[[8]byte]bool, err error) {
	seen := map[string]bool{}
	keys = map[[8]byte]bool{}
	good := func(obj []byte) error {
		if info, err := seal.ParseSlot(obj); err == nil {
			keys[info.Key] = true
		}
		return ofClass(object.Slot)(obj)
	}
	for info, err := range c.store.List(ctx, object.KeysPrefix, "") {
		if err != nil {
			return nil, err
		}
		id, _, err := object.ParseSlotName(info.Name)
		if err != nil {
			c.problem(Problem{Object: info.Name, Err: err, Hint: true})
			continue
		}
		if seen[id] {
			continue
		}
		seen[id] = true
		if err := c.twice(ctx, object.SlotName(id, false), object.SlotName(id, true), true, good); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// ofClass accepts objects whose header is one of the class.
func ofClass(class object.Class) func([]byte) error {
	return func(obj []byte) error {
		h, err := seal.ParseHeader(obj)
		if err == nil && h.Class != class {
			err = fmt.Errorf("an object of class %v", h.Class)
		}
		return err
	}
}

// twice checks both copies of an object. Damage of one of them costs nothing while the other is good. mayLack
// says that one can be missing without any damage: whoever adds or removes a key can be cut off in between.
func (c *checker) twice(ctx context.Context, name, second string, mayLack bool, good func([]byte) error) error {
	var copies [][]byte
	var bad []Problem
	for _, n := range []string{name, second} {
		obj, err := c.store.Get(ctx, n, 0, -1, nil)
		if err == nil {
			if err = good(obj); err == nil {
				copies = append(copies, obj)
				continue
			}
		} else if !isDamage(ctx, err) {
			return err
		}
		bad = append(bad, Problem{Object: n, Err: err})
	}
	for _, p := range bad {
		p.Mendable = len(copies) > 0
		if p.Mendable {
			p.Hint = mayLack && errors.Is(p.Err, backends.ErrNotExist)
			p.Err = fmt.Errorf("%w (there are two copies, and the other one is good: copy it over this one)", p.Err)
		}
		c.problem(p)
	}
	if len(copies) == 2 && !bytes.Equal(copies[0], copies[1]) {
		// Which of them is right may need a password to tell.
		c.problem(Problem{Object: name, Err: fmt.Errorf("differs from its copy %s", second)})
		c.problem(Problem{Object: second, Err: fmt.Errorf("differs from %s", name)})
	}
	return nil
}
