package probe

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/clock"
)

// random returns bytes that no server can guess, compress or deduplicate.
func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return b
}

const small = 1 << 10

// putAndRead puts small objects and one of 1 MiB, and reads each at once through both connections.
func (p *prober) putAndRead(ctx context.Context) error {
	var times []time.Duration
	for i, size := range []int{small, small, small, small, small, 1 << 20} {
		name, data := p.name(fmt.Sprintf("put-%d", i)), random(size)
		start := clock.Now()
		if err := p.store.Put(ctx, name, data); err != nil {
			return p.refused(err)
		}
		if size == small {
			times = append(times, clock.Since(start))
		}
		for _, s := range []backends.Store{p.store, p.second} {
			if err := p.reads(ctx, s, name, data); err != nil {
				return err
			}
		}
		if err := p.lists(ctx, p.second, name); err != nil {
			return err
		}
	}
	slices.Sort(times)
	p.report.Latency = times[len(times)/2]
	if p.timed {
		return nil
	}
	_, err := p.storeTime(ctx)
	return err
}

// refused sorts out why the first put failed.
func (p *prober) refused(err error) error {
	if errors.Is(err, backends.ErrNoCreateOnly) {
		p.found(NoCreateOnly, "%v", err)
		return errStop
	}
	return err
}

// reads compares what comes back with what was put.
func (p *prober) reads(ctx context.Context, s backends.Store, name string, data []byte) error {
	got, late, err := p.get(ctx, s, name)
	switch {
	case errors.Is(err, backends.ErrNotExist):
		p.found(LostWrite, "%d bytes were put with success, and %v later there is no such object", len(data), patience)
		return errStop
	case err != nil:
		p.found(Unreadable, "%d bytes were put with success and can not be read back: %v", len(data), err)
		return errStop
	case late > 0:
		p.found(ReadAfterPut, "an object could not be read at once, but %v later", late.Round(time.Millisecond))
	}
	return p.compare(got, data)
}

// compare names the first difference.
func (p *prober) compare(got, data []byte) error {
	switch n := common(got, data); {
	case n == len(data) && n == len(got):
		return nil
	case n == len(got):
		p.found(Truncated, "%d bytes were put with success and %d come back", len(data), len(got))
	default:
		p.found(Bytes, "%d bytes were put with success and %d come back, other ones from byte %d on", len(data), len(got), n)
	}
	return errStop
}

// common is the length of the beginning that two texts share.
func common(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// get reads an object, if need be for a while again, and says after what time it was there.
func (p *prober) get(ctx context.Context, s backends.Store, name string) (data []byte, late time.Duration, err error) {
	late, err = p.await(ctx, func() (err error) {
		data, err = s.Get(ctx, name, 0, -1, nil)
		return err
	}, backends.ErrNotExist)
	return data, late, err
}

// await tries until there is another error than the one of what is not there yet, or patience ends. It returns 0 if the
// first try did.
func (p *prober) await(ctx context.Context, try func() error, notYet error) (time.Duration, error) {
	start := clock.Now()
	for first := true; ; first = false {
		err := try()
		if !errors.Is(err, notYet) && first {
			return 0, err
		}
		if elapsed := clock.Since(start); !errors.Is(err, notYet) || elapsed > patience {
			return elapsed, err
		}
		select {
		case <-time.After(patience / 15):
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// lists sees that an object is listed at once.
func (p *prober) lists(ctx context.Context, s backends.Store, name string) error {
	errAbsent := errors.New("not listed")
	late, err := p.await(ctx, func() error {
		for info, err := range s.List(ctx, name, "") {
			if err != nil {
				return err
			}
			if info.Name == name {
				return nil
			}
		}
		return errAbsent
	}, errAbsent)
	switch {
	case errors.Is(err, errAbsent):
		p.found(ListAfterPut, "an object that was put is not listed %v later", patience)
		return errStop
	case late > 0:
		p.found(ListAfterPut, "an object that was put was not listed at once, but %v later", late.Round(time.Millisecond))
	}
	return err
}

// twice puts a name that is taken, through both connections.
func (p *prober) twice(ctx context.Context) error {
	if p.o.SingleWriter {
		return nil
	}
	name, data := p.name("twice"), random(small)
	if err := p.store.Put(ctx, name, data); err != nil {
		return p.refused(err)
	}
	for _, s := range []backends.Store{p.second, p.store} {
		err := s.Put(ctx, name, random(small))
		switch {
		case err == nil:
			p.found(CreateOnly, "a second put of the same name was answered with success")
		case errors.Is(err, backends.ErrNoCreateOnly):
			return p.refused(err)
		case !errors.Is(err, backends.ErrExist):
			return err
		}
	}
	if p.report.Has(CreateOnly) {
		return nil
	}
	got, _, err := p.get(ctx, p.store, name)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, data) {
		p.found(CreateOnly, "a second put of the same name was refused, and has changed the object all the same")
	}
	return nil
}

// races puts names at the same moment from several clients.
func (p *prober) races(ctx context.Context) error {
	if p.o.SingleWriter || p.report.Has(CreateOnly) {
		return nil // the latter says it all
	}
	for round := range p.o.Rounds {
		if p.report.Has(CreateOnlyRace) {
			break
		}
		if err := p.race(ctx, p.name(fmt.Sprintf("race-%d", round))); err != nil {
			return err
		}
	}
	return nil
}

func (p *prober) race(ctx context.Context, name string) error {
	datas, errs := make([][]byte, p.o.Racers), make([]error, p.o.Racers)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range p.o.Racers {
		s := p.store
		if i%2 == 1 {
			s = p.second
		}
		datas[i] = random(small)
		wg.Go(func() {
			<-start
			errs[i] = s.Put(ctx, name, datas[i])
		})
	}
	close(start)
	wg.Wait()
	var winners []int
	for i, err := range errs {
		switch {
		case err == nil:
			winners = append(winners, i)
		case !errors.Is(err, backends.ErrExist) && !backends.IsUnclear(err):
			return err
		}
	}
	switch {
	case len(winners) > 1:
		p.found(CreateOnlyRace, "of %d who put a name at the same moment %d were answered with success", p.o.Racers, len(winners))
		return nil
	case len(winners) == 0:
		if !slices.ContainsFunc(errs, backends.IsUnclear) {
			p.found(CreateOnlyRace, "of %d who put a name at the same moment none was answered with success", p.o.Racers)
		}
		return nil
	}
	got, _, err := p.get(ctx, p.store, name)
	if err != nil && !errors.Is(err, backends.ErrNotExist) {
		return err
	}
	switch {
	case err != nil:
		p.found(LostWrite, "of several who put a name at once one was answered with success, and there is no such object")
		return errStop
	case !bytes.Equal(got, datas[winners[0]]):
		p.found(CreateOnlyRace, "of several who put a name at once one was answered with success, and the object has the bytes of another")
	}
	return nil
}

// ranges reads parts of an object, and what is outside of it.
func (p *prober) ranges(ctx context.Context) error {
	name, data := p.name("ranges"), random(100_000)
	if err := p.store.Put(ctx, name, data); err != nil {
		return err
	}
	size := int64(len(data))
	for _, r := range []struct{ offset, length int64 }{{0, 1}, {0, size}, {1, size - 1}, {size - 1, 1}, {4095, 4098}, {50_000, -1}} {
		want := data[r.offset:]
		if r.length >= 0 {
			want = want[:r.length]
		}
		got, err := p.store.Get(ctx, name, r.offset, r.length, nil)
		if err != nil {
			p.found(Ranges, "%d bytes from byte %d on can not be read: %v", len(want), r.offset, err)
			return ctx.Err()
		}
		if !bytes.Equal(got, want) {
			p.found(Ranges, "%d bytes were asked for from byte %d on, and %d wrong ones came", len(want), r.offset, len(got))
		}
	}
	for _, r := range []struct{ offset, length int64 }{{size, 1}, {size - 1, 2}, {size + 1, -1}} {
		if got, err := p.store.Get(ctx, name, r.offset, r.length, nil); !errors.Is(err, backends.ErrRange) {
			p.found(Ranges, "bytes beyond the end were asked for, and %d came (%v)", len(got), err)
		}
	}
	return nil
}

// listing puts many objects and looks at their order, prefixes and starting points.
func (p *prober) listing(ctx context.Context) error {
	var names []string
	for i := range p.o.Many {
		names = append(names, p.name(fmt.Sprintf("list-%06d", i)))
	}
	if err := p.putAll(ctx, names); err != nil {
		return err
	}
	for _, c := range []struct {
		prefix, after string
		want          []string
	}{
		{p.run + "list-", "", names},
		{p.run + "list-", names[len(names)/2], names[len(names)/2+1:]},
		{p.run + "list-", names[len(names)/2] + "0", names[len(names)/2+1:]},
		{names[0], "", names[:1]},
		{p.run + "list-", names[len(names)-1], nil},
		{p.run + "lost-", "", nil},
	} {
		got, err := list(ctx, p.second, c.prefix, c.after)
		if err != nil {
			return err
		}
		if slices.Equal(got, c.want) {
			continue
		}
		missing := len(c.want) - len(slices.DeleteFunc(slices.Clone(c.want), func(n string) bool { return !slices.Contains(got, n) }))
		if missing > 0 && len(got) < len(c.want) {
			p.found(ListAfterPut, "%d of %d objects that were put are not listed", missing, len(c.want))
			continue
		}
		p.found(Listing, "a listing has %d names where there are %d, or has them in another order (%s)", len(got), len(c.want), p.relative(c.prefix, c.after))
	}
	return nil
}

func (p *prober) relative(prefix, after string) string {
	return fmt.Sprintf("prefix %q, after %q", strings.TrimPrefix(prefix, p.run), strings.TrimPrefix(after, p.run))
}

func list(ctx context.Context, s backends.Store, prefix, after string) (names []string, err error) {
	for info, err := range s.List(ctx, prefix, after) {
		if err != nil {
			return nil, err
		}
		names = append(names, info.Name)
	}
	return names, nil
}

// putAll puts small objects, several at a time.
func (p *prober) putAll(ctx context.Context, names []string) error {
	errs := make([]error, p.o.Racers)
	var wg sync.WaitGroup
	for w := range p.o.Racers {
		wg.Go(func() {
			for i := w; i < len(names) && errs[w] == nil; i += p.o.Racers {
				errs[w] = p.store.Put(ctx, names[i], []byte(names[i]))
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// large puts an object of a pack's size.
func (p *prober) large(ctx context.Context) error {
	if p.o.Large < 0 {
		return nil
	}
	name, data := p.name("large"), random(p.o.Large)
	start := clock.Now()
	if err := p.store.Put(ctx, name, data); err != nil {
		return fmt.Errorf("an object of %d bytes: %w", len(data), err)
	}
	p.report.Up = rate(len(data), clock.Since(start))
	start = clock.Now()
	err := p.reads(ctx, p.second, name, data)
	p.report.Down = rate(len(data), clock.Since(start))
	return err
}

func rate(n int, d time.Duration) float64 { return float64(n) / max(d, time.Microsecond).Seconds() }

// deleting deletes an object, and again when it is not there.
func (p *prober) deleting(ctx context.Context) error {
	name := p.name("delete")
	if err := p.store.Put(ctx, name, random(small)); err != nil {
		return err
	}
	if err := p.store.Delete(ctx, name); err != nil {
		p.foundDelete(err)
		return nil
	}
	p.gone(name)
	// Not every store can tell that there was nothing to delete.
	if err := p.store.Delete(ctx, name); err != nil && !errors.Is(err, backends.ErrNotExist) {
		p.found(DeleteFails, "an object that is gone: %v", err)
	}
	if _, err := p.second.Get(ctx, name, 0, 1, nil); err == nil {
		p.found(ListAfterDelete, "an object that was deleted can still be read")
	}
	if got, err := list(ctx, p.second, name, ""); err != nil || len(got) > 0 {
		p.found(ListAfterDelete, "an object that was deleted is still listed")
		return err
	}
	return nil
}

// foundDelete sorts out why deleting failed.
func (p *prober) foundDelete(err error) {
	switch {
	case errors.Is(err, backends.ErrDenied):
		p.found(DeleteDenied, "%v", err)
	case errors.Is(err, backends.ErrLocked):
		p.found(Locked, "%v", err)
	default:
		p.found(DeleteFails, "%v", err)
	}
}
