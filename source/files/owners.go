package files

import (
	"os/user"
	"strconv"
	"sync"
)

// Owners knows the names of users and groups. It asks the system once for each. It is safe for
// concurrent use.
type Owners struct {
	users, groups nameCache
}

type nameCache struct {
	mu    sync.RWMutex
	names map[uint32]string
}

// User returns a user's name, or "" if there is none.
func (o *Owners) User(uid uint32) string {
	return o.users.get(uid, func(id string) string {
		if u, err := user.LookupId(id); err == nil {
			return u.Username
		}
		return ""
	})
}

// Group returns a group's name, or "" if there is none.
func (o *Owners) Group(gid uint32) string {
	return o.groups.get(gid, func(id string) string {
		if g, err := user.LookupGroupId(id); err == nil {
			return g.Name
		}
		return ""
	})
}

func (c *nameCache) get(id uint32, lookup func(string) string) string {
	c.mu.RLock()
	name, ok := c.names[id]
	c.mu.RUnlock()
	if ok {
		return name
	}
	name = lookup(strconv.FormatUint(uint64(id), 10))
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.names == nil {
		c.names = map[uint32]string{}
	}
	c.names[id] = name
	return name
}
