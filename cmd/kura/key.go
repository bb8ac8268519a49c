package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/seal"
	"github.com/kura-backup/kura/ui"
)

func (a *app) keyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "show, add and remove the passwords and key files that open the repository",
		Long: `Show, add and remove keys: the passwords and key files that open the repository.

A key has one of three roles. An owner's can do everything. A maintainer's lists, forgets and prunes, and
cannot read the content of files. A writer's makes backups and can read nothing, not even what it wrote:
whoever breaks into a server finds no more than that.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.keyListCommand(), a.keyAddCommand(), a.keyRemoveCommand(), a.keyPasswdCommand())
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
		c, made, err := loadOrMakeKey(o.keyFile)
		if made {
			a.term.Info("generated the key file " + o.keyFile)
		}
		return c, err
	}
	return a.askPassword(ctx, true)
}

func (a *app) keyListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "list the keys",
		Long:  `List the keys. The star marks the one that was used to open the repository. Which role a key has only it itself can tell.`,
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withRepository(cmd.Context(), func(r *session) error {
				slots, err := r.Slots(cmd.Context())
				if err != nil {
					return err
				}
				a.term.Keys(slots, r.Keys().Role())
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
	role := "owner"
	cmd := &cobra.Command{
		Use:   "add",
		Short: "add a key",
		Long:  `Add a password or key file that opens the repository, as an owner, a maintainer or a writer.`,
		Example: `  kura key add
  kura key add --role writer --new-key-file www.key`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runKeyAdd(cmd.Context(), &o, role) },
	}
	o.addFlags(cmd.Flags())
	cmd.Flags().StringVar(&role, "role", role, "what the key may do: owner, maintainer or writer")
	return cmd
}

func (a *app) runKeyAdd(ctx context.Context, o *newKeyOptions, name string) error {
	role, err := seal.ParseRole(name)
	if err != nil {
		return usage(err.Error(), "the roles are owner, maintainer and writer")
	}
	return a.withRepository(ctx, func(r *session) error {
		c, err := o.credential(ctx, a)
		if err != nil {
			return err
		}
		id, err := r.AddSlot(ctx, role, c, seal.DefaultCost)
		if errors.Is(err, seal.ErrNoKey) {
			return fmt.Errorf("a %v's key can not make a key of an %v%w", r.Keys().Role(), role, hidden{err})
		}
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
		Long: `Remove a key. The one in use can not be removed.

This does not undo what the key has given: whoever opened the repository with it, or kept a copy of keys/,
may have the secrets inside, and reads what they can get hold of in the store. Removing a key keeps those out who
only know the password. Where a machine was broken into, take away its access to the store as well.`,
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
				if errors.Is(err, repo.ErrSlotInUse) {
					return withHint(fmt.Errorf("key %s is the one in use%w", id, hidden{err}), "open the repository with another key to remove this one")
				}
				if err != nil {
					return err
				}
				a.term.KeyRemoved(id)
				return nil
			})
		},
	}
}

// findSlot returns the id that the prefix is of.
func findSlot(ctx context.Context, r *session, prefix string) (string, error) {
	slots, err := r.Slots(ctx)
	if err != nil {
		return "", err
	}
	var found []string
	for _, s := range slots {
		if len(prefix) >= 4 && len(prefix) <= len(s.ID) && s.ID[:len(prefix)] == prefix {
			found = append(found, s.ID)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return "", withHint(fmt.Errorf("there is no key %s: %w", ui.Printable(prefix), repo.ErrNotFound), "kura key list lists them; give at least four digits")
	}
	return "", fmt.Errorf("%d keys begin with %s", len(found), prefix)
}

func (a *app) keyPasswdCommand() *cobra.Command {
	var o newKeyOptions
	cmd := &cobra.Command{
		Use:   "passwd",
		Short: "change the password of the key in use",
		Long: `Change the password, or the key file, of the key in use. The new one is added before the old one is
removed; if it is interrupted, both open the repository.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			return a.withRepository(ctx, func(r *session) error {
				c, err := o.credential(ctx, a)
				if err != nil {
					return err
				}
				id, err := r.ReplaceSlot(ctx, c, seal.DefaultCost)
				if err != nil {
					return err
				}
				a.term.KeyAdded(id, r.Keys().Role())
				return nil
			})
		},
	}
	o.addFlags(cmd.Flags())
	return cmd
}
