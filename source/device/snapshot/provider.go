package snapshot

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Provider makes one kind of copy. It is safe for concurrent use.
type Provider interface {
	// Create makes a copy of the device or image c.Of, and says in c what is known of it. After an error Remove is called,
	// too, if it had begun.
	Create(ctx context.Context, c *Copy) error
	// Check returns ErrOverflow, or why that is not known, if a copy can not be relied on any more, and ErrPool if it is in the way of others. It
	// is called before, while and after the copy is read.
	Check(ctx context.Context, c *Copy) error
	// Remove removes a copy. If there is none, that is no error.
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

	begun bool // there may be something to remove
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
