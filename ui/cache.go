package ui

import (
	"fmt"
	"time"

	"github.com/kura-backup/kura/repo/caches"
)

// Cache is a cache of a repository, and what became of it.
type Cache struct {
	caches.Folder
	Old   bool // it was not used for long
	Freed bool
}

type cacheMessage struct {
	ID       string    `json:"id"`
	Location string    `json:"location,omitempty"`
	LastUsed time.Time `json:"last_used"`
	Size     *int64    `json:"size,omitempty"`
	InUse    bool      `json:"in_use,omitempty"`
	Old      bool      `json:"old,omitempty"`
	Freed    bool      `json:"freed,omitempty"`
}

// Caches prints the caches in a folder, or what freeing the old ones has done.
func (t *Terminal) Caches(root string, list []Cache, cleanup bool) {
	if t.JSON {
		out := make([]cacheMessage, len(list))
		for i, c := range list {
			location, _ := jsonText(c.Location)
			out[i] = cacheMessage{ID: c.ID, Location: location, LastUsed: c.Used, InUse: c.InUse, Old: c.Old, Freed: c.Freed}
			if c.Size >= 0 {
				out[i].Size = &list[i].Size
			}
		}
		t.Message(out)
		return
	}
	if cleanup {
		t.freed(list)
		return
	}
	if len(list) == 0 {
		t.Info("no caches in " + Printable(root))
		return
	}
	table := Table{Header: []string{"Repository", "Last used", "Size", "Remarks", "Location"}}
	var total int64
	old := 0
	for _, c := range list {
		size := ""
		if c.Size >= 0 {
			size = Bytes(uint64(c.Size))
			total += c.Size
		}
		remark := ""
		switch {
		case c.InUse:
			remark = "in use"
		case c.Old:
			remark = "old"
			old++
		}
		table.Rows = append(table.Rows, []string{c.ID[:8], Time(c.Used), size, remark, Printable(c.Location)})
	}
	table.Footer = Count(uint64(len(list)), "cache") + " in " + Printable(root)
	if total > 0 {
		table.Footer += ", " + Bytes(uint64(total))
	}
	t.Write([]byte(table.String()))
	if old > 0 {
		t.Info(fmt.Sprintf("hint: kura cache --cleanup frees %d of them", old))
	}
}

func (t *Terminal) freed(list []Cache) {
	if t.Quiet {
		return
	}
	n, size := 0, int64(0)
	for _, c := range list {
		switch {
		case c.Freed:
			n++
			size += max(0, c.Size)
			t.Print("freed " + t.cacheName(c))
		case c.InUse:
			t.Print("in use: " + t.cacheName(c))
		}
	}
	line := "freed " + Count(uint64(n), "cache")
	if size > 0 {
		line += ", " + Bytes(uint64(size))
	}
	t.Print(line)
}

func (t *Terminal) cacheName(c Cache) string {
	if c.Location == "" {
		return c.ID[:8]
	}
	return c.ID[:8] + " " + t.Printable(c.Location)
}
