package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kura-backup/kura/backends/location"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/seal"
)

// embedded is the repository for somebody who just runs "kura backup ~": it lies in the user's data
// folder and is opened by a generated key file in the configuration folder.
type embedded struct {
	dir string
	key string
}

func findEmbedded() (*embedded, error) {
	data, err := xdg("XDG_DATA_HOME", ".local/share")
	if err != nil {
		return nil, err
	}
	config, err := xdg("XDG_CONFIG_HOME", ".config")
	if err != nil {
		return nil, err
	}
	return &embedded{dir: filepath.Join(data, "kura", "default"), key: filepath.Join(config, "kura", "default.key")}, nil
}

// xdg returns a folder of the XDG base directory specification, which ignores relative paths.
func xdg(variable, fallback string) (string, error) {
	if dir := os.Getenv(variable); filepath.IsAbs(dir) {
		return dir, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		// Without a home there can be no repository in it.
		return "", errNoneNamed()
	}
	return filepath.Join(home, fallback), nil
}

// exists reports whether the repository was made. One whose init was cut off was not.
func (e *embedded) exists() bool {
	for _, name := range []string{object.ConfigName, object.ConfigCopyName} {
		if _, err := os.Lstat(filepath.Join(e.dir, name)); err == nil {
			return true
		}
	}
	return false
}

func (e *embedded) place() (*place, error) {
	l, err := location.Parse("local:" + e.dir)
	if err != nil {
		return nil, err
	}
	return &place{Location: l, embedded: e}, nil
}

// placeOrOffer is place for backups: at a terminal, somebody who named no repository and has no
// embedded one is offered to make it.
func (a *app) placeOrOffer(ctx context.Context) (*place, error) {
	p, err := a.place()
	if !errors.As(err, new(*usageError)) {
		return p, err
	}
	if name, nerr := a.globals.named(); nerr != nil || name != "" {
		return nil, err
	}
	e, eerr := findEmbedded()
	if eerr != nil {
		return nil, err
	}
	tty, done := a.keyboard()
	if tty == nil {
		return nil, err
	}
	defer done()
	a.term.Error("kura: no repository was named, and there is none at " + e.dir)
	a.term.Error("kura: one can be made there, with a generated key in " + e.key)
	yes, cerr := a.confirm(ctx, tty, "make it?")
	if cerr != nil {
		return nil, cerr
	}
	if !yes {
		return nil, err
	}
	return a.makeEmbedded(ctx, e)
}

func (a *app) makeEmbedded(ctx context.Context, e *embedded) (*place, error) {
	p, err := e.place()
	if err != nil {
		return nil, err
	}
	credential, _, err := loadOrMakeKey(e.key)
	if err != nil {
		return nil, err
	}
	r, err := a.initialise(ctx, p, credential, nil)
	if err != nil {
		return nil, err
	}
	if err := r.Close(); err != nil {
		return nil, err
	}
	a.term.Error("kura: made a repository at " + e.dir)
	a.term.Error("kura: its key is " + e.key)
	a.term.Error("kura: copy the key to another place now: without it nobody can restore anything")
	a.term.Error("kura: this repository is on a disk of this machine, not off-site: it does not outlive that disk, theft or fire;")
	a.term.Error("kura: kura init -r makes one on another disk")
	return p, nil
}

// initialise makes a repository. With the keys of another one it shares the names of blobs with that.
func (a *app) initialise(ctx context.Context, p *place, credential seal.Credential, from *seal.Keyring) (*session, error) {
	cache, err := a.globals.cache()
	if err != nil {
		return nil, err
	}
	store, err := a.makeStore(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("make %v: %w", p, err)
	}
	r, err := repo.Init(ctx, store, repo.InitOptions{Credential: credential, Cost: passwordCost, CacheDir: cache, From: from, SingleWriter: p.singleWriter})
	if errors.Is(err, repo.ErrExists) {
		err = withHint(fmt.Errorf("there is a repository at %v already%w", p, hidden{err}), fmt.Sprintf("kura backup -r %v PATH… backs up into it", p))
	}
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return &session{Repository: r, place: p, store: store}, nil
}

// passwordCost is the cost of trying a new password. Tests make it cheap.
var passwordCost = seal.DefaultCost
