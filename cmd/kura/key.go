package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/seal"
	"github.com/kura-backup/kura/ui"
)

func (a *app) keyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "show, add, remove and rotate the keys that open the repository",
		Long: `Show, add, remove and rotate keys: the passwords and key files that open the repository, and what they give.

A key has one of three roles. An owner's can do everything. A maintainer's lists, forgets and prunes, and
cannot read the content of files. A writer's makes backups and can read nothing, not even what it wrote:
whoever breaks into a server finds no more than that.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.keyListCommand(), a.keyAddCommand(), a.keyRemoveCommand(), a.keyPasswdCommand(), a.keyRotateCommand())
	return cmd
}

// newKeyOptions say what is to open a new key slot.
type newKeyOptions struct {
	passwordFile string
	keyFile      string
}

func (o *newKeyOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.passwordFile, "new-password-file", "", "`file` with the new password in it")
	f.StringVar(&o.keyFile, "new-key-file", "", "key `file` to use in place of a password; it is generated if it is not there")
}

// credential returns the new password or key, which is typed at the terminal if no flag has it.
func (o *newKeyOptions) credential(ctx context.Context, a *app) (c seal.Credential, err error) {
	switch {
	case o.passwordFile != "" && o.keyFile != "":
		return nil, usage("both --new-password-file and --new-key-file were given", "give one of them")
	case o.passwordFile != "":
		return a.passwordFromFile(ctx, o.passwordFile)
	case o.keyFile != "":
		if _, err := os.Stat(filepath.Dir(o.keyFile)); errors.Is(err, fs.ErrNotExist) { // a folder that is made on the disk below would hide that
			return nil, usage("--new-key-file: there is no folder "+ui.Printable(filepath.Dir(o.keyFile)), "is the disk mounted? otherwise make the folder first")
		}
		c, made, err := loadOrMakeKey(o.keyFile)
		if made {
			a.term.Info("generated the key file " + o.keyFile)
		}
		return c, err
	}
	tty, done := a.keyboard()
	if tty == nil {
		return nil, usage("no new password was given, and there is no terminal to ask at", "give it with --new-password-file, or a key file with --new-key-file")
	}
	defer done()
	return a.askTwice(ctx, tty, "new password:")
}

func (a *app) keyListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "list the keys",
		Long: `List the keys: what opens each, its role, its name, and since when it is there. The star marks the one that was
used to open the repository. One without a role is no key: removing or adding it was cut off.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withRepository(cmd.Context(), func(r *session) error {
				slots, err := r.Slots(cmd.Context())
				if err != nil {
					return err
				}
				a.term.Keys(slots)
				for _, s := range slots {
					if s.Err != nil {
						err = errors.Join(err, s.Err)
					}
				}
				return err
			})
		},
	}
}

func (a *app) keyAddCommand() *cobra.Command {
	var o newKeyOptions
	role, name := "owner", ""
	cmd := &cobra.Command{
		Use:   "add",
		Short: "add a key",
		Long: `Add a password or key file that opens the repository, as an owner, a maintainer or a writer. Only an owner's key can
add others. Give each host one of its own: then each can be removed alone.`,
		Example: `  kura key add
  kura key add --role writer --name www --new-key-file www.key`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runKeyAdd(cmd.Context(), &o, role, name) },
	}
	o.addFlags(cmd.Flags())
	cmd.Flags().StringVar(&role, "role", role, "what the key may do: owner, maintainer or writer")
	cmd.Flags().StringVar(&name, "name", "", "what kura key list calls the key: the `name` of a host or a person")
	return cmd
}

func (a *app) runKeyAdd(ctx context.Context, o *newKeyOptions, roleName, name string) error {
	role, err := seal.ParseRole(roleName)
	if err != nil {
		return usage(err.Error(), "the roles are owner, maintainer and writer")
	}
	if len(name) > repo.MaxKeyName || !utf8.ValidString(name) {
		return usage(fmt.Sprintf("the name of a key is a text of at most %d bytes", repo.MaxKeyName), "give it a shorter one")
	}
	return a.withRepository(ctx, func(r *session) error {
		if err := ownersOnly(r, "add keys"); err != nil {
			return err
		}
		c, err := o.credential(ctx, a)
		if err != nil {
			return err
		}
		id, err := r.AddSlot(ctx, repo.NewSlot{Role: role, Name: name, Credential: c, Cost: passwordCost})
		if err != nil {
			return err
		}
		a.term.KeyAdded(id, role)
		return nil
	})
}

func (a *app) keyRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "remove ID",
		Short: "remove a key",
		Long: `Remove a key, by its ID or its name. From then on nothing that it signs counts: it makes no backups, forgets nothing,
and opens the repository no more. The one in use can not be removed, nor the last one of an owner.

This does not undo what the key has given: whoever opened the repository with it, or kept a copy of keys/,
may have the secrets inside. What was stored until now, and what will be stored until the keys are rotated, stays
readable for them as it was for the key, if they get hold of it in the store. After a theft take away the access to
the store, remove the key, and run kura key rotate.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return wrongArgs(cmd, "name one key; kura key list lists them")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			return a.withRepository(ctx, func(r *session) error {
				id, err := findSlot(ctx, r, args[0])
				if err != nil {
					return err
				}
				err = r.RemoveSlot(ctx, id)
				switch {
				case errors.Is(err, repo.ErrSlotInUse):
					return withHint(fmt.Errorf("key %s is the one in use%w", id, hidden{err}), "open the repository with another key to remove this one")
				case err != nil:
					return err
				}
				a.term.KeyRemoved(id)
				return nil
			})
		},
	}
}

// findSlot returns the id that the prefix is of, or that the key with the name has.
func findSlot(ctx context.Context, r *session, prefix string) (string, error) {
	slots, err := r.Slots(ctx)
	if err != nil {
		return "", err
	}
	var found []string
	for _, s := range slots {
		if len(prefix) >= 4 && strings.HasPrefix(s.ID, prefix) || s.Name == prefix && prefix != "" {
			found = append(found, s.ID)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return "", withHint(fmt.Errorf("there is no key %s: %w", ui.Printable(prefix), repo.ErrNotFound), "kura key list lists them; give at least four digits, or the name")
	}
	return "", fmt.Errorf("%d keys are called, or begin with, %s", len(found), ui.Printable(prefix))
}

// ownersOnly explains before any work what only an owner's key can do.
func ownersOnly(r *session, what string) error {
	if role := r.Keys().Role(); role != seal.Owner {
		return fmt.Errorf("only an owner's key can %s, this is a %v's", what, role)
	}
	return nil
}

func (a *app) keyPasswdCommand() *cobra.Command {
	var o newKeyOptions
	cmd := &cobra.Command{
		Use:   "passwd",
		Short: "change the password of the key in use",
		Long: `Change the password, or the key file, of the key in use. The new one is added before the old one is
removed; if it is interrupted, both open the repository.

It stays the same key: whoever knows the old password, and has kept a copy of keys/, has the key as before, and gets the
new keys of each kura key rotate, too. If a password may be known to others, add another key, remove this one with it,
and run kura key rotate.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			return a.withRepository(ctx, func(r *session) error {
				c, err := o.credential(ctx, a)
				if err != nil {
					return err
				}
				id, err := r.ReplaceSlot(ctx, c, passwordCost)
				if errors.Is(err, repo.ErrRotating) {
					return withHint(err, "try again when kura key rotate is done; if it was cut off, it must be run again, with an owner's key")
				}
				if err != nil {
					return err
				}
				a.term.KeyReplaced(id, r.Keys().Role())
				return nil
			})
		},
	}
	o.addFlags(cmd.Flags())
	return cmd
}

func (a *app) keyRotateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rotate",
		Short: "give the repository new keys, which removed ones do not get",
		Long: `Give the repository new keys. All keys that kura key list shows stay, with their passwords and key files, and get
the new ones, which begin a new epoch; nothing needs to be done on any host. Whoever has had a key that was removed before reads nothing
that is stored from now on.

What is stored already is not encrypted again: it stays readable with the old keys for whoever has them and reaches the
store. Blobs keep their names, so nothing is uploaded again. A backup that is running while the keys are rotated stops
with an error; run again it goes on from its last partial snapshot, which is some ten minutes old at most.

Only an owner's key can do this. It does not help against somebody who had an owner's key: begin a new repository then.
If it is cut off, run it again.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			return a.withRepository(ctx, func(r *session) error {
				if err := ownersOnly(r, "rotate keys"); err != nil {
					return err
				}
				res, err := r.RotateKeys(ctx)
				if err != nil {
					return err
				}
				a.term.KeysRotated(res)
				if res.Left != nil {
					return withHint(fmt.Errorf("the new keys are in use, but not all old key slots could be replaced or removed: %w", res.Left),
						"run kura key rotate again, with access to the store that may delete")
				}
				return nil
			})
		},
	}
}
