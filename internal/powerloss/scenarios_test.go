package powerloss_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sync"
	"syscall"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/internal/durable"
	"github.com/kura-backup/kura/internal/durable/durabletest"
	"github.com/kura-backup/kura/internal/durable/lossy"
)

// scenario is a way to use a store.
type scenario struct {
	name string
	run  func(ctx context.Context, r *run) error
}

// scenarios are all uses of a store, and of what lies under it, in which an fsync
// matters.
var scenarios = []scenario{
	{"one writer", oneWriter},
	{"many at once", manyAtOnce},
	{"two processes, one dies", oneDies},
	{"no links", noLinks},
	{"fsync fails", syncFails},
	{"objects that another program put there", foreigners},
	{"a store in new folders", newFolders},
	{"no answer to a link", noAnswer},
	{"a file that is replaced", replaced},
}

// oneWriter puts, lists and deletes, one after the other.
func oneWriter(ctx context.Context, r *run) error {
	c, _ := r.open()
	return r.use(ctx, c, 6)
}

// use does n things with a store.
func (r *run) use(ctx context.Context, c *client, n int) error {
	for range n {
		if err := r.something(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) something(ctx context.Context, c *client) error {
	switch r.rng.IntN(8) {
	case 0:
		return r.listAll(ctx, c, func(name string) error {
			if r.rng.IntN(3) == 0 {
				_, err := c.Get(ctx, name, 0, -1, nil)
				return gone(err)
			}
			return nil
		})
	case 1:
		deleted := false
		return r.listAll(ctx, c, func(name string) error {
			if deleted || r.rng.IntN(4) > 0 {
				return nil
			}
			deleted = true
			return gone(c.Delete(ctx, name))
		})
	}
	name := r.name()
	if _, ok := r.led.deleted[name]; ok {
		return nil // no name is used twice
	}
	if err := c.Put(ctx, name, r.bytes()); !errors.Is(err, backends.ErrExist) {
		return err
	}
	return nil
}

// gone forgives that another process was faster.
func gone(err error) error {
	if errors.Is(err, backends.ErrNotExist) {
		return nil
	}
	return err
}

func (r *run) listAll(ctx context.Context, c *client, see func(name string) error) error {
	for info, err := range c.List(ctx, "", "") {
		if err == nil {
			err = see(info.Name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// manyAtOnce has several goroutines in each of two processes put objects.
func manyAtOnce(ctx context.Context, r *run) error {
	type object struct {
		name string
		data []byte
	}
	var wg sync.WaitGroup
	errs := make([]error, 6)
	clients := [2]*client{}
	for i := range clients {
		clients[i], _ = r.open()
	}
	for i := range errs {
		c := clients[i%2]
		objects := []object{{r.name(), r.bytes()}, {r.name(), r.bytes()}}
		wg.Go(func() {
			for _, o := range objects {
				if err := c.Put(ctx, o.name, o.data); err != nil && !errors.Is(err, backends.ErrExist) {
					errs[i] = err
					return
				}
				for _, err := range c.List(ctx, "", o.name) {
					if err != nil {
						errs[i] = err
					}
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// oneDies lets a process die at any operation, and another go on from what it sees.
func oneDies(ctx context.Context, r *run) error {
	first, m := r.open()
	if r.rng.IntN(2) == 0 {
		m.DieAfter(1 + r.rng.IntN(40))
	} else {
		m.DieAfterLink(1 + r.rng.IntN(3))
	}
	if err := r.use(ctx, first, 6); err != nil && !m.Dead() {
		return err
	}
	r.from = r.disk.Ops()
	second, _ := r.open()
	if err := r.listAll(ctx, second, func(string) error { return nil }); err != nil {
		return err
	}
	return r.use(ctx, second, 3)
}

// noLinks is a file system that can only rename.
func noLinks(ctx context.Context, r *run) error {
	fsys := durabletest.New(r.disk.Mount(r.dir))
	fsys.Fail = func(_ int, op durabletest.Op) (durabletest.When, error) {
		if op.Kind == "link" {
			return durabletest.Before, syscall.EPERM
		}
		return 0, nil
	}
	return r.use(ctx, r.led.client(fsys), 6)
}

// syncFails lets every fifth fsync fail. Who gets an error tries another name, as a
// program does that is started again.
func syncFails(ctx context.Context, r *run) error {
	asked := r.disk.OnSync
	r.disk.OnSync = func(s lossy.Sync) lossy.Answer {
		if r.rng.IntN(5) == 0 {
			return lossy.Fails
		}
		if asked != nil {
			return asked(s)
		}
		return lossy.Works
	}
	c, _ := r.open()
	for range 8 {
		if err := r.something(ctx, c); err != nil && !errors.Is(err, syscall.EIO) {
			return err
		}
	}
	return nil
}

// foreigners are copied into the store while it is in use, by a program that syncs
// files and no folders, as rsync --fsync does.
func foreigners(ctx context.Context, r *run) error {
	m := r.disk.Mount(r.dir)
	c, _ := r.open()
	for range 2 {
		name := fmt.Sprintf("data/%d%04x", r.rng.IntN(90)+10, r.rng.IntN(1<<16))
		data := r.bytes()
		r.led.foreign(name, data)
		dir := path.Join("data", path.Base(name)[:2])
		for _, d := range []string{"data", dir} {
			if err := m.Mkdir(d, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
		}
		hidden := path.Join(dir, ".copy")
		f, err := m.CreateExcl(hidden, 0o600)
		if err != nil {
			return err
		}
		_, err = f.Write(data)
		if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
			return err
		}
		if err := m.Rename(hidden, path.Join(dir, path.Base(name))); err != nil {
			return err
		}
		if err := r.listAll(ctx, c, func(string) error { return nil }); err != nil {
			return err
		}
		if err := r.something(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// newFolders makes the folder of the store and those above it first.
func newFolders(ctx context.Context, r *run) error {
	r.dir = "backups/2026/store"
	if err := durable.MkdirAll(r.disk.Mount("."), r.dir, 0o700); err != nil {
		return err
	}
	c, _ := r.open()
	return r.use(ctx, c, 3)
}

// noAnswer is a server that is cut off when it is asked for a link, which it does or
// does not do, and whose files cannot be read for a while.
func noAnswer(ctx context.Context, r *run) error {
	fsys := durabletest.New(r.disk.Mount(r.dir))
	when := durabletest.When(r.rng.IntN(2))
	links, opens := 1+r.rng.IntN(3), r.rng.IntN(2)
	fsys.Fail = func(_ int, op durabletest.Op) (durabletest.When, error) {
		switch {
		case op.Kind == "link":
			if links--; links == 0 {
				return when, syscall.EIO
			}
		case op.Kind == "open" && links <= 0 && opens > 0:
			opens--
			return durabletest.Before, syscall.EIO
		}
		return 0, nil
	}
	c := r.led.client(fsys)
	for range 4 {
		name, data := r.name(), r.bytes()
		err := c.Put(ctx, name, data)
		if backends.IsUnclear(err) {
			// What every caller does: looks at the name, and takes its own bytes for a success.
			if got, gerr := c.Get(ctx, name, 0, -1, nil); gerr == nil && string(got) == string(data) {
				r.led.settled(name, data)
			}
		}
	}
	return nil
}

// replaced writes one file again and again: afterwards it has the content that was
// acknowledged last, or one that was on its way.
func replaced(ctx context.Context, r *run) error {
	const name = "manifest"
	m := r.disk.Mount(".")
	var versions [][]byte
	var acked []int
	for range 8 {
		versions = append(versions, r.bytes())
		if err := durable.WriteReplace(ctx, m, name, versions[len(versions)-1]); err != nil {
			return err
		}
		acked = append(acked, r.led.ack())
	}
	r.look = func(at int, d *lossy.Disk) error {
		last := -1
		for last+1 < len(acked) && acked[last+1] <= at {
			last++
		}
		got, err := readAll(d.Mount("."), name)
		if errors.Is(err, fs.ErrNotExist) && last < 0 {
			return nil
		}
		if err != nil {
			return err
		}
		for _, v := range versions[max(last, 0):min(last+2, len(versions))] {
			if string(got) == string(v) {
				return nil
			}
		}
		return fmt.Errorf("the file has %d bytes that are not version %d or %d", len(got), last, last+1)
	}
	return nil
}

func readAll(fsys durable.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	b := make([]byte, info.Size())
	_, err = f.ReadAt(b, 0)
	return b, err
}
