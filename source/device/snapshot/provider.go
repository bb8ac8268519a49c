package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Provider makes one kind of copy. It is safe for concurrent use.
type Provider interface {
	// Create makes a copy of the device or image c.Of, and says in c what is known of it. After an error Remove is called,
	// too, if it had begun.
	Create(ctx context.Context, c *Copy) error
	// Check returns ErrOverflow, or why that is not known, if a copy can not be relied on any more, and ErrPool if it is in the way of others. It
	// is called before, while and after the copy is read.
	Check(ctx context.Context, c *Copy) error
	// Remove removes a copy. If there is none, that is no error; if it can not be found out whether there is, that is one.
	Remove(ctx context.Context, c *Copy) error
	// Writes reports whether making a copy writes to the file system in which the image lies.
	Writes() bool
}

// Copy is a copy that is there, or may be.
type Copy struct {
	Kind    string `json:"kind"`
	Name    string `json:"name"`
	Of      string `json:"of"`
	Command string `json:"command,omitempty"` // of the provider "command"
	At      string `json:"at,omitempty"`      // where it can be read
	// Volume is what has to be removed, where that is not what is read: a subvolume, a logical volume.
	Volume string `json:"volume,omitempty"`
	State  string `json:"state,omitempty"` // names its content, where the provider can
	// Folder is by what the folder that an image lies in is known again, where the copy lies in its file system.
	Folder string `json:"folder,omitempty"`

	begun bool // there may be something to remove
}

// folderOf returns the number and the birth of the folder that an image lies in. On a mount point on which nothing is mounted, as when the
// machine starts, they are others.
func folderOf(image string) (string, error) {
	dir := filepath.Dir(image)
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, dir, 0, unix.STATX_INO|unix.STATX_BTIME, &st); err != nil {
		return "", &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	return fmt.Sprintf("%d %d.%09d", st.Ino, st.Btime.Sec, st.Btime.Nsec), nil
}

// gone returns why a copy that is not found may be there nevertheless.
func (c *Copy) gone() error {
	if c.Folder == "" {
		return nil
	}
	now, err := folderOf(c.Of)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if now != c.Folder {
		return fmt.Errorf("snapshot: %s is not found, and the folder of %s is not the one in which it was made: is its file system mounted?", c.Name, c.Of)
	}
	return nil
}

// Options are what providers can be told.
type Options struct {
	Command string // of the provider "command", for /bin/sh
	Size    int64  // of a classic LVM snapshot; 0 for a tenth of the device
}

// Kinds are the names of the providers.
var Kinds = []string{"lvm", "lvm-thin", "btrfs", "reflink", "command"}

// New returns the provider of a kind.
func New(kind string, o Options) (Provider, error) {
	switch kind {
	case "lvm":
		return lvm{size: o.Size}, nil
	case "lvm-thin":
		return lvm{thin: true}, nil
	case "btrfs":
		return btrfs{}, nil
	case "reflink":
		return reflink{}, nil
	case "command":
		if o.Command == "" {
			return nil, fmt.Errorf("%w: no command was given", ErrProvider)
		}
		return command{o.Command}, nil
	}
	return nil, fmt.Errorf("%w: %q is none of %s", ErrProvider, kind, strings.Join(Kinds, ", "))
}

// providerOf returns the provider that removes a copy.
func providerOf(c *Copy) (Provider, error) {
	if !slices.Contains(Kinds, c.Kind) || !strings.HasPrefix(c.Name, namePrefix) {
		return nil, fmt.Errorf("%w: kind %q, name %q", ErrLease, c.Kind, c.Name)
	}
	return New(c.Kind, Options{Command: c.Command})
}
