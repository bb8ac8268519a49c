package restore

import (
	"os/user"
	"slices"
	"strconv"

	"github.com/kura-backup/kura/tree"
)

// owners finds the numbers that users and groups have here by their names. It belongs to one goroutine.
type owners struct{ users, groups map[string]uint32 }

func newOwners() *owners {
	return &owners{users: map[string]uint32{}, groups: map[string]uint32{}}
}

// noID stands for a name that nobody has here.
const noID = ^uint32(0)

func (o *owners) user(name string) uint32 {
	return lookUp(o.users, name, func() (string, error) {
		u, err := user.Lookup(name)
		if err != nil {
			return "", err
		}
		return u.Uid, nil
	})
}

func (o *owners) group(name string) uint32 {
	return lookUp(o.groups, name, func() (string, error) {
		g, err := user.LookupGroup(name)
		if err != nil {
			return "", err
		}
		return g.Gid, nil
	})
}

func lookUp(known map[string]uint32, name string, find func() (string, error)) uint32 {
	if id, ok := known[name]; ok {
		return id
	}
	id := noID
	if text, err := find(); err == nil {
		if n, err := strconv.ParseUint(text, 10, 32); err == nil {
			id = uint32(n)
		}
	}
	known[name] = id
	return id
}

// metaOf takes what is restored of a node. nodePath is for what can not be.
func (w *walker) metaOf(n *tree.Node, nodePath func() string) meta {
	m := metaOf(n)
	m.xattrs = slices.DeleteFunc(m.xattrs, func(x tree.XAttr) bool { return !w.run.xattrs.selects(x.Name) })
	if w.owners == nil {
		return m
	}
	m.uid = w.idOf(n.User, m.uid, w.owners.user, nodePath)
	m.gid = w.idOf(n.Group, m.gid, w.owners.group, nodePath)
	return m
}

// idOf returns the number that somebody has here by name, or else the one in the snapshot.
func (w *walker) idOf(name string, number uint32, find func(string) uint32, nodePath func() string) uint32 {
	if name == "" {
		return number
	}
	if id := find(name); id != noID {
		return id
	}
	w.run.rep.omit("the owner by its name, which nobody has here, but by its number", nil, nodePath)
	return number
}
