package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/kura-backup/kura/internal/clock"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/retain"
	"github.com/kura-backup/kura/source/files"
	"github.com/kura-backup/kura/tree"
)

const (
	maxTries = 5  // how often a run starts again because others collected what it relied on
	maxNamed = 10 // of how many paths the error of a run says what is wrong
)

// sourceFiles is what manifests call files of this machine.
const sourceFiles = "files"

// Run makes a snapshot. Entries of the source that could not be read are reported by ev.Error and counted
// in the summary; an error says that there is no snapshot: ErrNothing, that of
// the source, or what the repository said. When ctx is cancelled Run ends soon; what was
// uploaded by then is used by the next run.
func Run(ctx context.Context, r *repo.Repository, o Options, ev Events) (*Result, error) {
	return run(ctx, r, o, ev, hooks{})
}

func run(ctx context.Context, r *repo.Repository, o Options, ev Events, h hooks) (*Result, error) {
	sel, err := newSelection(&o)
	if err != nil {
		return nil, err
	}
	if o.Host == "" {
		if o.Host, err = os.Hostname(); err != nil {
			return nil, fmt.Errorf("backup: %w", err)
		}
		o.Host = text(o.Host)
	}
	a := &attempt{repo: r, opts: &o, events: ev, hooks: h, selection: sel, start: clock.Now()}
	if a.timeGiven = !o.Time.IsZero(); !a.timeGiven {
		a.opts.Time = a.start
	}
	try := a.files
	if o.Source != nil {
		try = a.fromSource
		a.paths, err = sourcePaths(o.Source)
	} else {
		a.paths, a.through, err = cleanPaths(o.Paths)
	}
	for _, s := range append([]string{o.Host}, o.Tags...) {
		if err == nil && !utf8.ValidString(s) {
			err = fmt.Errorf("backup: %q: hosts and tags have to be UTF-8", s)
		}
	}
	if err == nil {
		err = a.manifest().Check() // before hours of work, and not after them
	}
	if err != nil {
		return nil, err
	}
	before := r.Log().Conflicts()
	for n := 1; ; n++ {
		res, err := a.once(ctx, try)
		switch {
		case err == nil:
			res.Repeats, res.Conflicts = n-1, r.Log().Conflicts()-before
			return res, nil
		case !errors.Is(err, repo.ErrStale):
			return nil, err
		case o.Source != nil:
			return nil, fmt.Errorf("backup: %w. What was backed up can not be read again here: run the backup again", err)
		case n == maxTries:
			return nil, fmt.Errorf("backup: gave up after %d tries: %w", n, err)
		}
		if err := r.Refresh(ctx); err != nil {
			return nil, err
		}
	}
}

// attempt is a run, and in it the attempt that is under way.
type attempt struct {
	repo      *repo.Repository
	opts      *Options
	events    Events
	hooks     hooks
	selection *selection
	paths     []string        // sorted
	through   map[string]bool // paths of which what a symlink leads to is meant
	start     time.Time

	timeGiven bool // the snapshot's time is not that of the run

	id        object.SessionID   // of the run: that of its first session
	committed []object.SessionID // partial snapshots that the run has committed

	parent  *repo.Snapshot
	details []byte // what a source says beside its files
	report  *reporter
	session *repo.Session
	broken  error // why it could not be followed by another, written behind the walk's gate
}

// once makes one attempt with a new session, which is over afterwards.
func (a *attempt) once(ctx context.Context, try func(context.Context) (object.BlobID, error)) (_ *Result, err error) {
	require, err := newRequirements(a.opts.Require)
	if err != nil {
		return nil, fmt.Errorf("backup: require: %w", err)
	}
	a.report = newReporter(a.events, require)
	a.session, err = a.repo.NewSession(ctx, repo.SessionOptions{
		Compression: a.opts.Compression, Host: a.opts.Host, DryRun: a.opts.DryRun,
		Packing: a.opts.Packing, Similar: a.opts.Similar,
	})
	if err != nil {
		return nil, err
	}
	if a.id.IsZero() {
		a.id = a.session.ID()
	}
	root, err := try(ctx)
	if err == nil {
		err = require.err()
	}
	if err != nil {
		a.session.Abort()
		return nil, err
	}
	res := &Result{Parent: a.parent, Start: a.start, Unchanged: a.opts.SkipIfUnchanged && a.isAsParent(root)}
	if a.opts.DryRun || res.Unchanged {
		err = a.session.Flush()
	} else {
		res.Snapshot, err = a.commit(a.session, root, false)
	}
	if err != nil {
		return nil, err
	}
	a.report.stored(a.session.Stats())
	res.Summary = a.report.summary(a.session.Stats())
	if res.End = clock.Now(); res.Snapshot != nil {
		res.End = time.Unix(0, res.Snapshot.End)
	}
	return res, nil
}

// isAsParent reports whether the parent says all that a snapshot of this run would say of the files. It does not if
// the run has stored anything: the parent may miss what was lost in the repository, and a partial snapshot of the run
// has to be superseded.
func (a *attempt) isAsParent(root object.BlobID) bool {
	if a.parent == nil || !a.parent.Complete() || len(a.committed) > 0 || a.session.Stats().Added > 0 {
		return false
	}
	id, err := a.parent.RootID()
	return err == nil && id == root && a.parent.Details == string(a.details)
}

// files backs up the given paths and returns the root's page.
func (a *attempt) files(ctx context.Context) (object.BlobID, error) {
	readable, err := a.readable()
	if err != nil {
		return object.BlobID{}, err
	}
	ps, err := a.parents(ctx)
	if err != nil {
		return object.BlobID{}, err
	}
	a.parent = ps[0]
	w := newWalk(a.repo, a.session, a.report, a.selection, ps, newPlan(readable))
	w.hooks = a.hooks
	if w.hooks.walk != nil {
		w.hooks.walk(w)
	}
	w.rules = rules{a.opts.IgnoreCtime, a.opts.IgnoreInode, a.opts.WithAtime}
	var helpers []func(context.Context) error
	if !a.opts.DryRun {
		life := ctx // sessions live on when the helpers have ended
		helpers = append(helpers, func(ctx context.Context) error { return a.partials(ctx, life, w) })
	}
	if a.opts.Scan {
		helpers = append(helpers, w.scan)
	}
	a.broken = nil
	if err := w.run(ctx, workerCount(a.opts.ReadConcurrency), helpers...); err != nil {
		return object.BlobID{}, cmp.Or(a.broken, err)
	}
	return w.rootID, nil
}

// readable returns those of the paths that can be looked at and are not excluded.
func (a *attempt) readable() ([]string, error) {
	pool := files.NewPool()
	defer pool.Close()
	cwd := pool.Root("/")
	var out []string
	var failed failures
	for _, p := range a.opts.NoMatch {
		a.report.error(p, errNoMatch)
		failed.add(p, errNoMatch)
	}
	for _, p := range a.paths {
		if a.selection.excludesPath(p) {
			continue
		}
		if a.selection.isOwn(p) { // lists and wildcards have it as well: it is an error only where there is nothing else
			failed.add(p, errOwn)
			continue
		}
		var st files.Stat
		err := cwd.Stat(p, false, &st)
		if err == nil && st.Type == tree.Symlink && a.through[p] {
			if err = cwd.Stat(p, true, &files.Stat{}); err == nil {
				err = ErrChanged // it led nowhere a moment ago
			}
		}
		if err != nil {
			a.report.error(p, err)
			failed.add(p, err)
			continue
		}
		if !a.selection.tooLarge(&st) {
			out = append(out, p)
		}
	}
	switch {
	case len(out) > 0:
		return out, nil
	case failed.n > 0:
		return nil, fmt.Errorf("%w: %w", ErrNothing, failed.err())
	case len(a.paths) > 0:
		return nil, fmt.Errorf("%w: all of them are excluded", ErrNothing)
	}
	return nil, fmt.Errorf("%w: there are none", ErrNothing)
}

// failures are what is wrong with paths, of which an error names the first: there may be hundreds of thousands.
type failures struct {
	first []error
	n     int
}

func (f *failures) add(path string, err error) {
	if f.n++; f.n <= maxNamed {
		f.first = append(f.first, fmt.Errorf("%s: %w", path, err))
	}
}

func (f *failures) err() error {
	if f.n > maxNamed {
		return errors.Join(append(f.first, fmt.Errorf("and %d more", f.n-maxNamed))...)
	}
	return errors.Join(f.first...)
}

func (a *attempt) parents(ctx context.Context) (parents, error) {
	switch {
	case a.opts.Force:
		return parents{}, nil
	case a.opts.Parent != nil:
		if !isLive(a.repo, a.opts.Parent) {
			return parents{}, nil // it was forgotten, maybe since this run began
		}
		return parents{a.opts.Parent}, nil
	}
	return findParents(ctx, a.repo, a.sameGroup)
}

// sameGroup reports whether a snapshot is one that could be the parent.
func (a *attempt) sameGroup(s *repo.Snapshot) bool {
	by := retain.DefaultGroupBy
	if a.opts.ParentBy != nil {
		by = *a.opts.ParentBy
	}
	return s.Source == a.source() && (!a.timeGiven || !s.When().After(a.opts.Time)) &&
		(!by.Host || s.Host == a.opts.Host) && (!by.Paths || slices.Equal(s.PathStrings(), a.paths)) &&
		(!by.Tags || slices.Equal(sortedSet(s.Tags), sortedSet(a.opts.Tags)))
}

// source is what manifests call that which is backed up.
func (a *attempt) source() string {
	if a.opts.Source != nil {
		return a.opts.Source.Kind()
	}
	return sourceFiles
}

func sortedSet(list []string) []string { return slices.Compact(slices.Sorted(slices.Values(list))) }

// commit commits what session s has stored as a snapshot with the given root.
func (a *attempt) commit(s *repo.Session, root object.BlobID, partial bool) (*repo.Snapshot, error) {
	m := a.manifest()
	m.Root = root[:]
	snap, err := s.Commit(repo.CommitOptions{
		Manifest: m, Partial: partial, Run: a.id, Supersede: a.committed,
		Stored: func(st repo.Stats) { m.Summary = a.report.summary(st) },
	})
	if err != nil {
		return nil, err
	}
	if partial {
		a.committed = []object.SessionID{snap.ID} // the ones before are superseded by it
		a.report.sessionOver(s.Stats())
	}
	return snap, nil
}

// text is s as a manifest can have it: what is not UTF-8 is shown as such. Patterns may have any bytes, for names that do.
func text(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

func (a *attempt) manifest() *repo.Manifest {
	m := &repo.Manifest{
		Time: a.opts.Time.UnixNano(), Host: a.opts.Host, UID: uint32(os.Getuid()), GID: uint32(os.Getgid()),
		Program: a.opts.Program, Start: a.start.UnixNano(), End: clock.Now().UnixNano(), Source: a.source(),
		Details: string(a.details),
	}
	if a.timeGiven {
		m.TimeGiven = 1
	}
	if u, err := user.Current(); err == nil {
		m.User = text(u.Username)
	}
	for _, p := range a.paths {
		m.Paths = append(m.Paths, []byte(p))
	}
	m.Tags = sortedSet(a.opts.Tags)
	for _, x := range slices.Concat(a.opts.Excludes, a.opts.Own, a.opts.IExcludes) {
		if x != "" {
			m.Excludes = append(m.Excludes, text(x))
		}
	}
	if a.parent != nil {
		m.Parent = a.parent.ID[:]
	}
	return m
}
