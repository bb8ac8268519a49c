package soak

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/gc"
	"github.com/kura-backup/kura/repo/log"
)

// snapshot is what kura snapshots --json says of one.
type snapshot struct {
	ID       string   `json:"id"`
	Hostname string   `json:"hostname"`
	Paths    []string `json:"paths"`
	Partial  bool     `json:"partial"`
}

func (w *world) snapshots(who string) (list []snapshot, err error) {
	out, err := w.kura(who, "snapshots", "--json")
	if err != nil {
		return nil, err
	}
	return list, json.Unmarshal(out, &list)
}

// restore restores a snapshot and compares it with what its writer backed up.
func (w *world) restore(who string, s snapshot) (err error) {
	target, err := os.MkdirTemp(w.dir, "restored-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(target)) }()
	if len(s.Paths) != 1 {
		return fmt.Errorf("snapshot %s is of %q", s.ID, s.Paths)
	}
	if _, err := w.kura(who, "restore", s.ID+":"+s.Paths[0], "--target", target); err != nil {
		return err
	}
	got, err := describe(target)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	want, told := w.told[s.ID]
	if told && !maps.Equal(got, want) {
		return fmt.Errorf("snapshot %s of %s is not what was backed up:\n got %v\nwant %v", s.ID, s.Hostname, got, want)
	}
	if !told && !s.Partial && !slices.ContainsFunc(w.maybe[s.Hostname], func(m manifest) bool { return maps.Equal(got, m) }) {
		return fmt.Errorf("snapshot %s of %s: %w", s.ID, s.Hostname, errNobodys)
	}
	return nil
}

// errNobodys is a snapshot that has what no writer is known to have backed up. While writers are at work one may be
// about to be told.
var errNobodys = errors.New("is nothing that was backed up")

// verify looks at what is left when everybody has ended.
func (w *world) verify() {
	began := time.Now()
	forgotten := w.readLog()
	live, err := w.snapshots("verify")
	if err != nil {
		w.fail("%v", err)
		return
	}
	ids := map[string]bool{}
	for _, s := range live {
		ids[s.ID] = true
	}
	for id := range w.told {
		if !ids[id] && !forgotten[id] {
			w.fail("snapshot %s was lost: its writer was told that it is committed, and nobody forgot it", id)
		}
	}
	w.restoreAll(live)
	if err := w.with("verify", func(r *repo.Repository) error {
		_, err := gc.Run(w.t.Context(), r, gc.Options{Idle: time.Nanosecond}, gc.Events{})
		return err
	}); err != nil {
		w.fail("the last collection: %v", err)
	}
	out, err := w.kura("verify", "check", "--read-data", "--json")
	if err != nil {
		w.fail("%v", err)
	}
	for _, part := range []string{`"num_errors":0`, `"garbage_objects":0`, `"unfinished_objects":0`} {
		if !strings.Contains(string(out), part) {
			w.fail("check lacks %s: %s", part, out)
		}
	}
	w.t.Logf("%d snapshots are left and are what was backed up (%v)", len(live), time.Since(began).Round(time.Second))
	if len(live) == 0 && !w.t.Failed() {
		w.fail("nothing is left: the test showed nothing")
	}
}

// restoreAll restores the snapshots, two at a time.
func (w *world) restoreAll(live []snapshot) {
	var g sync.WaitGroup
	next := make(chan snapshot)
	for n := range 2 {
		g.Go(func() {
			for s := range next {
				if err := w.restore(fmt.Sprintf("verify%d", n), s); err != nil {
					w.fail("%v", err)
				}
			}
		})
	}
	for _, s := range live {
		next <- s
	}
	close(next)
	g.Wait()
}

// entries is what the log has.
type entries struct {
	all, snapshots, forgets, collections, revoked, gone int
}

// readLog returns the snapshots that were forgotten.
func (w *world) readLog() map[string]bool {
	forgotten := map[string]bool{}
	var n entries
	err := w.with("verify", func(r *repo.Repository) error {
		return r.Log().Entries(w.t.Context(), func(rec *log.Record) error {
			if rec.Void != nil {
				return fmt.Errorf("entry %d is void: %w", rec.N, rec.Void)
			}
			n.all++
			switch e := rec.Entry; e.Kind {
			case log.KindSnapshot:
				n.snapshots++
				for _, id := range e.Supersede {
					forgotten[id.String()] = true
				}
			case log.KindForget:
				n.forgets++
				for _, id := range e.Snapshots {
					forgotten[id.String()] = true
				}
			case log.KindCollect:
				n.collections++
				n.revoked += len(e.Revoke)
				n.gone += len(e.Gone)
			}
			return nil
		})
	})
	if err != nil {
		w.fail("%v", err)
	}
	w.t.Logf("the log has %d entries: %d snapshots, %d of forgetting, %d collections that revoked %d sessions and ended %d snapshots",
		n.all, n.snapshots, n.forgets, n.collections, n.revoked, n.gone)
	return forgotten
}

// report prints what happened.
func (w *world) report() {
	c := w.counts
	w.t.Logf("%d commits, %d conflicts, %d runs begun again because of a collection, %d given up", c.commits, c.conflicts, c.repeats, c.gaveUp)
	w.t.Logf("%d forgets, %d prunes, %d impatient collections (%d sessions revoked), %d gave way to another, %d checks and restores",
		c.forgets, c.prunes, c.impatient, c.revoked, c.busy, c.looks)
	w.t.Logf("%d processes killed, %d stopped for a while", c.killed, c.stopped)
	if c.commits == 0 {
		w.fail("nothing was committed: the test showed nothing")
	}
	if c.killed+c.stopped == 0 {
		w.fail("no process was killed or stopped: the test showed nothing")
	}
}
