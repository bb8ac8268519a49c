package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/kura-backup/kura/backends/location"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/seal"
)

func (a *app) initCommand() *cobra.Command {
	var from access
	singleWriter := false
	cmd := &cobra.Command{
		Use:   "init",
		Short: "make a repository",
		Long: `Make a repository: in a folder, in S3, or in a folder of a server with ssh. The folder or bucket is made if it
is missing. Give it a folder of its own, or in a bucket a prefix.

What is in the repository can be read with its password only. With --key-file the repository is opened
by a key file in place of a password; the file is generated if it is not there. Whoever loses the password
or the key file loses the backup, so keep a copy of it in another place.

With --from-repo the new repository calls the same data by the same names as another one, and cuts files in
the same places, so that "kura copy" between the two is quick, and backups made directly into either share what
was copied. Everything else, passwords and keys too, is its own. Whoever has a key of either can tell what both
have in common.

Into a repository any number of clients can write at once, if the store refuses to put a name twice. Whether
it does is tried first. A store that does not takes a repository with --single-writer: whoever writes into it
has a lease meanwhile, others are refused, and after a crash for up to 24 hours. This can not be changed
later. docs/single-writer.md says more.

An init that was interrupted can be run again with the same password or key file.`,
		Example: `  kura init -r /mnt/disk/backup
  kura init -r /mnt/disk/backup --password-file ~/.kura-password
  kura init -r /mnt/disk/backup --key-file ~/kura.key
  kura init -r s3:https://s3.example.com/bucket/servers
  kura init -r sftp:backup@vault.example.com:/srv/backup
  kura init -r /mnt/second/backup --from-repo /mnt/disk/backup --from-key-file ~/kura.key`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runInit(cmd.Context(), &from, singleWriter) },
	}
	cmd.Flags().BoolVar(&singleWriter, "single-writer", false, "let one client at a time write, for stores that do not keep several apart")
	from.addFromFlags(cmd.Flags())
	return cmd
}

func (a *app) runInit(ctx context.Context, from *access, singleWriter bool) error {
	name, err := a.globals.named()
	if err != nil {
		return err
	}
	if name == "" {
		return usage("no repository was named", "say where to make it: kura init -r /mnt/disk/backup")
	}
	l, err := location.Parse(name)
	if err != nil {
		return err
	}
	p := &place{Location: l, singleWriter: singleWriter}
	shared, err := a.sharedKeys(ctx, from)
	if err != nil {
		return err
	}
	credential, madeKey, err := a.newCredential(ctx)
	if err != nil {
		return err
	}
	r, err := a.initialise(ctx, p, credential, shared)
	if err != nil {
		return a.explainKey(ctx, p, err, madeKey)
	}
	if madeKey != "" {
		a.term.Info("generated the key file " + madeKey)
		a.term.Info("copy it to another place now: without it nobody can open this repository")
	}
	a.term.Initialised(hex.EncodeToString(idOf(r)), p.String())
	return r.Close()
}

// sharedKeys returns the keys of the repository whose names for data the new one shall share, or nil.
func (a *app) sharedKeys(ctx context.Context, from *access) (keys *seal.Keyring, err error) {
	if !from.isNamed() {
		if from.passwordFile+from.passwordCommand+from.keyFile != "" {
			return nil, usage("what opens another repository was given, and not which one", "name it with --from-repo")
		}
		return nil, nil
	}
	p, err := from.fromPlace()
	if err != nil {
		return nil, err
	}
	err = a.withPlace(ctx, p, func(r *session) error {
		keys = r.Keys()
		return nil
	})
	return keys, err
}

func idOf(r *session) []byte {
	id := r.Config().ID
	return id[:]
}

// newCredential returns the credential of a new repository, and the key file that it generated, if it
// did.
func (a *app) newCredential(ctx context.Context) (c seal.Credential, madeKey string, err error) {
	source, err := a.globals.secret()
	if err != nil {
		return nil, "", err
	}
	if source == nil {
		c, err = a.askNewPassword(ctx)
		return c, "", err
	}
	if source.isKeyFile() {
		c, made, err := loadOrMakeKey(source.value)
		if made {
			madeKey = source.value
		}
		return c, madeKey, err
	}
	c, err = source.read(a, ctx, source.value)
	return c, "", err
}

// explainKey removes a key file that was generated for a repository that surely was not made with it.
// Otherwise it stays: an init that was cut off is finished with the same key, and another one, at the same time, may have
// found the file and made the repository with it.
func (a *app) explainKey(ctx context.Context, p *place, err error, madeKey string) error {
	if madeKey == "" {
		return err
	}
	if !errors.Is(err, repo.ErrExists) {
		return withHint(err, fmt.Sprintf("the key file %s was generated; run kura init again with it", madeKey))
	}
	oerr := a.tryKey(ctx, p, madeKey)
	switch {
	case errors.Is(oerr, repo.ErrWrongKey):
		return errors.Join(err, os.Remove(madeKey))
	case oerr == nil:
		return withHint(err, fmt.Sprintf("it opens with the key file %s, which stays", madeKey))
	}
	return withHint(err, fmt.Sprintf("the key file %s was generated, and stays, since it may be that of the repository: %v", madeKey, oerr))
}

// tryKey opens a repository with a key file, and closes it again.
func (a *app) tryKey(ctx context.Context, p *place, path string) error {
	c, err := readKey(path)
	if err != nil {
		return err
	}
	store, err := a.openStore(ctx, p.Open)
	if err != nil {
		return err
	}
	r, err := repo.Open(ctx, store, repo.OpenOptions{Credential: c})
	if errors.Is(err, repo.ErrSingleWriter) { // it says so only to whom the key fits
		err = nil
	}
	if r != nil {
		err = r.Close()
	}
	return errors.Join(err, store.Close())
}
