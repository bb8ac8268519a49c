package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/location"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/seal"
)

// passwordTries is how often a password is asked for that does not fit.
const passwordTries = 3

// place is a repository as the user named it.
type place struct {
	location.Location
	// embedded is set for the repository that kura made for somebody who named none.
	embedded *embedded
}

// place finds out which repository is meant: the one named, or else the embedded one, if there is one.
func (a *app) place() (*place, error) {
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
	return usage("no repository was named", "name one with -r, --repository-file, $"+envRepository+" or $"+envRepositoryFile,
		"kura init -r /mnt/disk/backup makes one")
}

// named returns the repository that flags or else the environment name, or "".
func (o *globalOptions) named() (string, error) {
	if o.repository != "" && o.repositoryFile != "" {
		return "", usage("both -r and --repository-file were given", "give one of them")
	}
	name, file := o.repository, o.repositoryFile
	if name == "" && file == "" {
		var err error
		if name, file, err = environmentRepository(); err != nil {
			return "", err
		}
	}
	if file != "" {
		return readLine(file, "repository file")
	}
	return name, nil
}

func environmentRepository() (name, file string, err error) {
	name, file = given("", envRepository), given("", envRepositoryFile)
	if name != "" && file != "" {
		return "", "", usage("both $"+envRepository+" and $"+envRepositoryFile+" are set", "unset one of them, or use -r")
	}
	return name, file, nil
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
	store, err := a.openStore(ctx, p.Open)
	if err != nil {
		return nil, explainOpen(p, err)
	}
	for try := 1; ; try++ {
		credential, typed, err := a.credential(ctx, p)
		if err != nil {
			return nil, errors.Join(err, store.Close())
		}
		r, err := repo.Open(ctx, store, repo.OpenOptions{Credential: credential, CacheDir: cache})
		if err == nil {
			if cerr := r.CacheError(); cerr != nil {
				a.term.Info(fmt.Sprintf("the cache can not be written, which costs time: %v", cerr))
			}
			return &session{Repository: r, place: p, store: store}, nil
		}
		if typed && errors.Is(err, repo.ErrWrongKey) && !isDamage(err) && try < passwordTries {
			a.term.Info("this is not the password; try again")
			continue
		}
		return nil, errors.Join(explainOpen(p, err), store.Close())
	}
}

// openStore opens or creates a store with the settings that were given: do is [location.Location.Open] or
// Create.
func (a *app) openStore(ctx context.Context, do func(context.Context, location.Options) (backends.Store, error)) (backends.Store, error) {
	rates, err := a.globals.rates()
	if err != nil {
		return nil, err
	}
	o, err := a.globals.storeOptions()
	if err != nil {
		return nil, err
	}
	store, err := do(ctx, o)
	if err != nil {
		return nil, err
	}
	return limited(store, rates), nil
}

// credential returns the password or key that was given, that of the embedded repository, or one that
// is typed at the terminal.
func (a *app) credential(ctx context.Context, p *place) (c seal.Credential, typed bool, err error) {
	source, err := a.globals.secret()
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
	c, err = a.askPassword(ctx, false)
	return c, true, err
}

// explainOpen says what to do about a repository that does not open.
func explainOpen(p *place, err error) error {
	switch {
	case errors.Is(err, log.ErrRollback):
		return err
	case isDamage(err):
		return withHint(err, "without this object nothing can be read: put it back from another copy of the repository, if there is one",
			"change nothing else in the repository until then",
			"what else there is can be verified with kura check --no-key")
	case errors.Is(err, repo.ErrNoRepository), errors.Is(err, backends.ErrNoStore):
		return withHint(fmt.Errorf("there is no repository at %v%w", p, hidden{err}),
			"is the disk mounted, and the name right",
			fmt.Sprintf("kura init -r %v makes a repository there", p))
	case errors.Is(err, repo.ErrWrongKey):
		return withHint(fmt.Errorf("wrong password or key for %v%w", p, hidden{err}),
			"look at --password-file, --password-command, --key-file and the KURA_ variables for which one was used")
	}
	return err
}

// hidden is an error whose text another one has put better.
type hidden struct{ err error }

func (h hidden) Error() string { return "" }
func (h hidden) Unwrap() error { return h.err }
