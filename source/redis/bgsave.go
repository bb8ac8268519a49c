package redis

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/kura-backup/kura/internal/clock"
	"github.com/kura-backup/kura/source"
)

// Errors of saves.
var (
	ErrNotReady   = errors.New("redis: the server is not ready")
	ErrSaveFailed = errors.New("redis: the server could not save its data; its log says why")
	ErrSlowSave   = errors.New("redis: the server has not saved its data in time")
	ErrStale      = errors.New("redis: the server is a replica without its master, and has old data")
	ErrOtherFile  = errors.New("redis: the file is not the one that the server has just saved")
)

const (
	firstPoll = 20 * time.Millisecond
	lastPoll  = time.Second
)

// askOffset notes how far replication is. What a replica has that has lost its master may be days old.
func (s *Source) askOffset(ctx context.Context, c *conn) error {
	info, err := c.info(ctx, "replication")
	if err != nil {
		return err
	}
	s.details.Role = info["role"]
	s.details.ReplicationID = info["master_replid"]
	s.details.ReplicationOffset, _ = strconv.ParseInt(info["master_repl_offset"], 10, 64) // 0 if the server does not say
	if link := info["master_link_status"]; s.details.Role == "slave" && link != "up" {
		s.details.MasterLink = link
		if !s.o.AllowStale {
			return fmt.Errorf("%w: the link to %s:%s is %s since %s s", ErrStale, info["master_host"], info["master_port"], link, info["master_link_down_since_seconds"])
		}
	}
	return nil
}

// save lets the server save and reads the file.
func (s *Source) save(ctx context.Context, c *conn, out source.Writer) error {
	path := s.o.RDB
	if path == "" {
		var err error
		if path, err = dumpPath(ctx, c); err != nil {
			return err
		}
	}
	w, err := watch(ctx, c, path)
	if err != nil {
		return err
	}
	wait, cancel := context.WithTimeoutCause(ctx, s.o.Wait, ErrSlowSave)
	defer cancel()
	if err := s.letSave(wait, c); err != nil {
		return err
	}
	s.details.File = path
	f, err := openFile(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w; the server has saved it there as it sees its own machine", err)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := w.saved(ctx, c, &s.details); err != nil {
		return err
	}
	return s.store(ctx, f, f.size, out, func() error { return w.objects(f, &s.details) })
}

// dumpPath asks where the server saves.
func dumpPath(ctx context.Context, c *conn) (string, error) {
	dir, err := c.config(ctx, "dir")
	if err != nil {
		return "", err
	}
	name, err := c.config(ctx, "dbfilename")
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, name), nil
}

// time returns the server's, in whole seconds, as files say when they were begun.
func (c *conn) time(ctx context.Context) (time.Time, error) {
	v, err := c.do(ctx, "TIME")
	if err != nil {
		return time.Time{}, err
	}
	if pair, _ := v.([]any); len(pair) == 2 {
		text, _ := pair[0].(string)
		if sec, err := strconv.ParseInt(text, 10, 64); err == nil {
			return time.Unix(sec, 0), nil
		}
	}
	return time.Time{}, fmt.Errorf("%w: to TIME", errProtocol)
}

// saving is what a server says of its saves.
type saving struct {
	running bool
	ok      bool   // whether the last one was
	done    string // changes when one has ended well
	counted bool   // and always does; otherwise it is a time in seconds

	rewriting bool // an append-only file; meanwhile no save begins
}

func (c *conn) saving(ctx context.Context) (saving, error) {
	info, err := c.info(ctx, "persistence")
	if err != nil {
		return saving{}, err
	}
	now := saving{
		running: info["rdb_bgsave_in_progress"] == "1", ok: info["rdb_last_bgsave_status"] == "ok",
		rewriting: info["aof_rewrite_in_progress"] == "1",
	}
	now.done, now.counted = info["rdb_saves"]
	if !now.counted { // servers before 7
		now.done = info["rdb_last_save_time"]
	}
	return now, nil
}

// beginTime is how long a save that was put off may take to begin once it can. A server without the memory for it says so by nothing but that the
// last one has failed, and tries again every 5 seconds.
const beginTime = 15 * time.Second

// letSave returns when a save has succeeded that began after the call.
func (s *Source) letSave(ctx context.Context, c *conn) error {
	before, err := s.settle(ctx, c)
	if err != nil {
		return err
	}
	if err := s.askOffset(ctx, c); err != nil {
		return err
	}
	answer, err := s.order(ctx, c, &before)
	if err != nil {
		return err
	}
	// A save that was put off for the rewriting of an append-only file begins when that has ended.
	began := answer != "Background saving scheduled"
	var failing time.Time // since when it could begin, and the last one has failed; zero if that is not so
	for poll := firstPoll; ; poll = min(2*poll, lastPoll) {
		now, err := c.saving(ctx)
		switch {
		case err != nil:
			return err
		case now.running:
			began = true
		case now.ok && (now.done != before.done || began && !now.counted):
			return nil
		case began:
			return ErrSaveFailed
		case now.ok || now.rewriting:
			failing = time.Time{}
		case failing.IsZero():
			failing = clock.Now()
		case clock.Since(failing) > beginTime:
			return fmt.Errorf("%w: the server can not begin one", ErrSaveFailed)
		}
		if err := pause(ctx, poll); err != nil {
			return err
		}
	}
}

// settle waits for a save that is under way: it began before the backup did.
func (s *Source) settle(ctx context.Context, c *conn) (saving, error) {
	for poll := firstPoll; ; poll = min(2*poll, lastPoll) {
		now, err := c.saving(ctx)
		if err != nil || !now.running {
			return now, err
		}
		if err := pause(ctx, poll); err != nil {
			return saving{}, err
		}
	}
}

// order gives the order to save, after those saves that others have ordered at the same moment.
func (s *Source) order(ctx context.Context, c *conn, before *saving) (string, error) {
	for {
		if err := c.nextSecond(ctx, before); err != nil {
			return "", err
		}
		// Without SCHEDULE the server refuses while an append-only file is rewritten.
		answer, err := c.text(ctx, "BGSAVE", "SCHEDULE")
		refusal, ok := errors.AsType[ServerError](err)
		if !ok {
			return answer, err
		}
		now, err := s.settle(ctx, c)
		if err != nil {
			return "", err
		}
		switch {
		case now.done != before.done:
			*before = now
		case !strings.Contains(string(refusal), "already in progress"):
			return "", fmt.Errorf("%w (%w)", ErrSaveFailed, refusal)
		}
		// It may send its data to a replica, which does not count.
		if err := pause(ctx, firstPoll); err != nil {
			return "", err
		}
	}
}

// nextSecond waits until a save that ends well can be told from the last one, where all that the server says of it is in which second it ended.
func (c *conn) nextSecond(ctx context.Context, last *saving) error {
	for !last.counted {
		now, err := c.time(ctx)
		if err != nil || strconv.FormatInt(now.Unix(), 10) != last.done {
			return err
		}
		if err := pause(ctx, firstPoll); err != nil {
			return err
		}
	}
	return nil
}

// pause waits, and returns why the context has ended if it has.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
