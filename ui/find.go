package ui

import (
	"fmt"

	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/tree"
)

// FoundVersion is a version of a path, with the snapshots that have it, by their time.
type FoundVersion struct {
	Node      *tree.Node
	Snapshots []*repo.Snapshot
}

type foundMessage struct {
	Node
	Snapshots []string `json:"snapshots"`
}

// Found prints what was found at a path: its versions, oldest first.
func (t *Terminal) Found(path string, versions []FoundVersion) {
	if t.JSON {
		for _, v := range versions {
			t.Message(makeFound(path, v))
		}
		return
	}
	t.Print(t.Printable(path))
	for _, v := range versions {
		t.Print(fmt.Sprintf("  %s %12d %s%s  %s", unixMode(v.Node), v.Node.Size, listedTime(v.Node.MTime), t.remarks(v.Node), SnapshotRange(v.Snapshots)))
	}
}

func makeFound(path string, v FoundVersion) foundMessage {
	m := foundMessage{Node: MakeNode(path, v.Node), Snapshots: make([]string, len(v.Snapshots))}
	m.MessageType, m.Subtree = "version", ""
	for i, s := range v.Snapshots {
		m.Snapshots[i] = s.ID.String()
	}
	return m
}

// SnapshotRange writes how many snapshots there are, and the first and the last of them.
func SnapshotRange(list []*repo.Snapshot) string {
	named := func(s *repo.Snapshot) string {
		return fmt.Sprintf("%s (%s)", s.ID.Short(), s.When().Local().Format("2006-01-02 15:04"))
	}
	out := Count(uint64(len(list)), "snapshot") + ", " + named(list[0])
	if len(list) > 1 {
		out += " to " + named(list[len(list)-1])
	}
	return out
}
