package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/limit"
	"github.com/kura-backup/kura/backends/location"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/remote"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/seal"
	"github.com/kura-backup/kura/ui"
)

// passwordTries is how often a password is asked for that does not fit.
const passwordTries = 3

// place is a repository as the user named it.
type place struct {
	location.Location
	// embedded is set for the repository that kura made for somebody who named none.
	embedded *embedded
	// singleWriter is set for a repository that is made for one client at a time.
	singleWriter bool
	// source is set for a repository that is taken from: what opens it.
	source *access
	// peer is set where a kura on another machine has the repository, for which this one works.
	peer *remote.Peer
}

// String is the repository's location.
func (p *place) String() string {
	if p.peer != nil {
		return "the repository of the machine that has sent me"
	}
	return p.Location.String()
}

// access is what opens the repository.
func (a *app) access(p *place) *access {
	if p.source != nil {
		return p.source
	}
	return &a.globals.access
}

// place finds out which repository is meant: the one named, or else the embedded one, if there is one.
func (a *app) place() (*place, error) {
	if a.peer != nil {
		return &place{peer: a.peer}, nil
	}
	name, err := a.globals.named()
	if err != nil {
		return nil, err
	}
	if name == "" {
		e, err := findEmbedded()
		if err != nil {
			return nil, err
		}
		if !e.exists() {
			return nil, errNoneNamed()
		}
		return e.place()
	}
	l, err := location.Parse(name)
	if err != nil {
		return nil, withHint(err, "name the repository with -r, such as -r /mnt/disk/backup")
	}
	return &place{Location: l}, nil
}

func errNoneNamed() error {
	hints := []string{
		"name one with -r, --repository-file, $" + envRepository + " or $" + envRepositoryFile,
		"kura init -r /mnt/disk/backup makes one",
	}
	if os.Getenv("RESTIC_REPOSITORY") != "" || os.Getenv("RESTIC_REPOSITORY_FILE") != "" {
		hints = append(hints, "kura reads no RESTIC_ variables: its repositories are not those of restic")
	}
	return usage("no repository was named", hints...)
}

// session is an open repository and all that has to be closed with it.
type session struct {
	*repo.Repository
	place *place
	store backends.Store
	// reports is set by a command that says itself what it had to mend.
	reports bool
}

// Close closes the repository and its store.
func (s *session) Close() error {
	return errors.Join(s.Repository.Close(), s.store.Close())
}

// withRepository opens the repository that is meant and calls fn with it.
func (a *app) withRepository(ctx context.Context, fn func(r *session) error) error {
	p, err := a.place()
	if err != nil {
		return err
	}
	return a.withPlace(ctx, p, fn)
}

func (a *app) withPlace(ctx context.Context, p *place, fn func(r *session) error) (err error) {
	r, err := a.open(ctx, p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	err = fn(r)
	if !r.reports {
		a.term.Mended(r.stillDamaged())
	}
	return err
}

// stillDamaged returns what was mended to be read, but for what the command itself has replaced.
func (s *session) stillDamaged() []object.Ref {
	st := s.State()
	return slices.DeleteFunc(s.Mended(), func(ref object.Ref) bool {
		_, valid := st.Index[ref]
		return !valid && !st.Live(ref)
	})
}

// open opens a repository. A password that was typed wrong can be typed again.
func (a *app) open(ctx context.Context, p *place) (*session, error) {
	cache, err := a.globals.cache()
	if err != nil {
		return nil, err
	}
	if p.peer != nil {
		r, err := p.peer.Open(ctx, cache)
		if err != nil {
			return nil, explainOpen(p, err)
		}
		return &session{Repository: r, place: p, store: p.peer.Store()}, nil
	}
	store, err := a.openStore(ctx, p.Open)
	if err != nil {
		return nil, explainOpen(p, err)
	}
	for try := 1; ; try++ {
		credential, typed, err := a.credential(ctx, p)
		if err != nil {
			return nil, errors.Join(err, store.Close())
		}
		r, err := repo.Open(ctx, store, repo.OpenOptions{
			Credential: credential, CacheDir: cache,
			SingleWriter: func(ctx context.Context) (backends.Store, error) {
				single, err := a.openSingleWriter(ctx, p.Open)
				if err != nil {
					return nil, err
				}
				err = store.Close()
				store = single
				return single, err
			},
		})
		if err == nil {
			if cerr := r.CacheError(); cerr != nil {
				a.term.Info(fmt.Sprintf("the cache can not be used, which costs time: %v", cerr))
			}
			r.NoteLocation(p.String())
			return &session{Repository: r, place: p, store: store}, nil
		}
		if typed && errors.Is(err, repo.ErrWrongKey) && !isDamage(err) && try < passwordTries {
			a.term.Info("this is not the password; try again")
			continue
		}
		return nil, errors.Join(explainOpen(p, err), store.Close())
	}
}

// storeSettings returns those that were given for stores.
func (a *app) storeSettings() (limit.Rates, location.Options, error) {
	rates, err := a.globals.rates()
	if err != nil {
		return rates, location.Options{}, err
	}
	o, err := a.globals.store.parse()
	o.Retry.Notify = a.retrying
	return rates, o, err
}

// openStore opens or creates a store with the settings that were given.
func (a *app) openStore(ctx context.Context, do opener) (backends.Store, error) {
	rates, o, err := a.storeSettings()
	if err != nil {
		return nil, err
	}
	store, err := do(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := checkLocks(store, o); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return limited(store, rates), nil
}

// longPause is one that comes after some shorter ones: whoever waits wants to know why.
const longPause = 3 * time.Second

// retryNews is how long nothing is said of further failures, since many requests fail when the store is not there.
const retryNews = 10 * time.Second

// retrying tells that the store did not do something, and that it is asked again.
func (a *app) retrying(op, name string, err error, pause time.Duration) {
	if e, ok := err.(*backends.Error); ok && e.Op == op && e.Name == name {
		err = e.Err // the rest was said
	}
	if a.globals.verbose == 0 {
		now, last := time.Now().UnixNano(), a.retryTold.Load()
		if pause <= longPause || last != 0 && now-last < int64(retryNews) || !a.retryTold.CompareAndSwap(last, now) {
			return
		}
	}
	// The text may be that of anything that answers in the store's place.
	a.term.Info(fmt.Sprintf("%s %s failed and is tried again in %v: %s",
		op, name, pause.Round(time.Millisecond), ui.PrintableMessage(withoutPackages(err.Error()))))
}

// credential returns the password or key that was given, that of the embedded repository, or one that
// is typed at the terminal.
func (a *app) credential(ctx context.Context, p *place) (c seal.Credential, typed bool, err error) {
	source, err := a.access(p).secret()
	if err != nil {
		return nil, false, err
	}
	switch {
	case source != nil:
		c, err = source.read(a, ctx, source.value)
		return c, false, err
	case p.embedded != nil:
		c, err = a.keyFromFile(ctx, p.embedded.key)
		return c, false, err
	}
	if a.typed != nil && p.source == nil {
		c, err = newPassword(a.typed, "the password")
		return c, false, err
	}
	c, err = a.askPasswordOf(ctx, a.access(p))
	return c, true, err
}

// explainOpen says what to do about a repository that does not open.
func explainOpen(p *place, err error) error {
	switch {
	case errors.Is(err, log.ErrRollback):
		return err
	case errors.Is(err, log.ErrRotated):
		return withHint(fmt.Errorf("the keys of %v were rotated, and this key has not got the new ones%w", p, hidden{err}),
			"run the command again; if that does not help, an owner has to run kura key rotate again")
	case errors.Is(err, log.ErrWithdrawn):
		return withHint(fmt.Errorf("this key is none of %v: it was removed, or adding it was cut off%w", p, hidden{err}),
			"kura key list, with another key, shows those that are")
	case isDamage(err):
		return withHint(err, append(
			explainFirst(err), "without this object nothing can be read: put it back from another copy of the repository, if there is one",
			"change nothing else in the repository until then",
			"what else there is can be verified with kura check --no-key",
		)...)
	case errors.Is(err, repo.ErrNoRepository), errors.Is(err, backends.ErrNoStore):
		hints := []string{notThere(p)}
		if p.source == nil {
			hints = append(hints, fmt.Sprintf("kura init -r %v makes a repository there", p))
		}
		return withHint(fmt.Errorf("there is no repository at %v%w", p, hidden{err}), hints...)
	case errors.Is(err, repo.ErrWrongKey):
		which := access{from: p.source != nil}
		flag, variables := which.flag, which.variable("KURA_")
		return withHint(fmt.Errorf("wrong password or key for %v%w", p, hidden{err}),
			fmt.Sprintf("look at %s, %s, %s and the %s variables for which one was used",
				flag("--password-file"), flag("--password-command"), flag("--key-file"), variables))
	}
	return err
}

// explainFirst says what may be the matter, or may help, where the first objects are damaged that a repository is opened by.
func explainFirst(err error) []string {
	damage := (*repo.DamageError)(nil)
	if !errors.As(err, &damage) {
		return nil
	}
	switch damage.Object {
	case object.KeysPrefix:
		return []string{"if another program made this repository, such as restic, nothing is wrong with it, but kura can not open it"}
	case object.ConfigName:
		return []string{"if config and config.copy are both gone, kura init with an owner's password or key file makes them again, and changes nothing else"}
	}
	return nil
}

// notThere asks what may be wrong with the name of a repository that is not there.
func notThere(p *place) string {
	switch scheme, _, _ := strings.Cut(p.String(), ":"); scheme {
	case "s3":
		return "is the name right: the server, the bucket and the prefix?"
	case "sftp":
		return "is the name right, and the disk of the server mounted?"
	}
	return "is the disk mounted, and the name right?"
}

// hidden is an error whose text another one has put better.
type hidden struct{ err error }

func (h hidden) Error() string { return "" }
func (h hidden) Unwrap() error { return h.err }
