package local

import (
	"bytes"
	"context"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// input is one bucket of a level, at its current key.
type input struct {
	level      *openLevel
	tx         *bolt.Tx
	cursor     *bolt.Cursor
	key, value []byte // copies: the pages may only be touched under guard
	end        bool
}

func (in *input) open(bucket []byte) error {
	err := in.level.guard(func() error {
		var err error
		if in.tx, err = in.level.db.Begin(false); err != nil {
			return err
		}
		in.cursor = in.tx.Bucket(bucket).Cursor()
		in.take(in.cursor.First())
		return nil
	})
	return err
}

func (in *input) next() error {
	return in.level.guard(func() error {
		in.take(in.cursor.Next())
		return nil
	})
}

// seek returns a copy of the value of a key, valid until the next call, or nil.
func (in *input) seek(key []byte) (value []byte, err error) {
	err = in.level.guard(func() error {
		if k, v := in.cursor.Seek(key); bytes.Equal(k, key) {
			in.value = append(in.value[:0], v...)
			value = in.value
		}
		return nil
	})
	return value, err
}

func (in *input) take(k, v []byte) {
	in.end = k == nil
	in.key, in.value = append(in.key[:0], k...), append(in.value[:0], v...)
}

func (in *input) close() {
	if in.tx != nil {
		_ = in.tx.Rollback()
	}
}

// mergeBuckets goes through a bucket of several levels at once and calls fn with every key, in
// ascending order, and its values in the order of the levels, joined. Both are only valid
// during the call. A level whose keys do not ascend is damaged.
func mergeBuckets(ctx context.Context, levels []*openLevel, bucket []byte, fn func(key, values []byte) error) error {
	inputs := make([]*input, len(levels))
	for i, o := range levels {
		inputs[i] = &input{level: o}
		defer inputs[i].close()
		if err := inputs[i].open(bucket); err != nil {
			return err
		}
	}
	ended := func(in *input) bool { return in.end }
	inputs = slices.DeleteFunc(inputs, ended)
	var key, values []byte
	for n := 0; len(inputs) > 0; n++ {
		if n%4096 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		first := inputs[0]
		for _, in := range inputs[1:] {
			if bytes.Compare(in.key, first.key) < 0 {
				first = in
			}
		}
		if n > 0 && bytes.Compare(first.key, key) <= 0 {
			return first.level.damaged("keys of %s do not ascend", bucket)
		}
		key, values = append(key[:0], first.key...), values[:0]
		end := false
		for _, in := range inputs {
			if !bytes.Equal(in.key, key) {
				continue
			}
			values = append(values, in.value...)
			if err := in.next(); err != nil {
				return err
			}
			end = end || in.end
		}
		if end {
			inputs = slices.DeleteFunc(inputs, ended)
		}
		if err := fn(key, values); err != nil {
			return err
		}
	}
	return nil
}
