package ui

import (
	"fmt"
	"strings"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/retain"
)

// ForgetGroup is what a policy says of one group of snapshots.
type ForgetGroup struct {
	By      retain.GroupBy
	Key     retain.Key
	Keep    []*repo.Snapshot
	Reasons [][]string // of Keep
	Remove  []*repo.Snapshot
	Lone    bool // see retain.Decision
}

// ForgetOptions say how to show it.
type ForgetOptions struct {
	Compact bool
	Named   bool                       // the snapshots were named: there is no policy
	Freed   map[object.SessionID]int64 // what only the removed ones need; nil if nobody asked
}

type forgetGroupMessage struct {
	Tags    []string          `json:"tags"`
	Host    string            `json:"host"`
	Paths   []string          `json:"paths"`
	Keep    []Snapshot        `json:"keep"`
	Remove  []removedSnapshot `json:"remove"`
	Reasons []keepReasonJSON  `json:"reasons"`
	Lone    bool              `json:"lone,omitempty"`
}

type removedSnapshot struct {
	Snapshot
	Freed *int64 `json:"freed,omitempty"`
}

type keepReasonJSON struct {
	Snapshot Snapshot `json:"snapshot"`
	Matches  []string `json:"matches"`
}

// Forget prints what a policy keeps and removes.
func (t *Terminal) Forget(groups []ForgetGroup, o ForgetOptions) {
	if t.JSON {
		out := make([]forgetGroupMessage, len(groups))
		for i, g := range groups {
			out[i] = g.message(o.Freed)
		}
		t.Message(out)
		return
	}
	// The user knows which ones were named; what they free is news.
	if t.Quiet || o.Named && o.Freed == nil {
		return
	}
	var lone []string
	for _, g := range groups {
		if title := g.title(); title != "" {
			t.Print("snapshots " + title + ":\n")
		}
		if len(g.Keep) > 0 {
			reasons := make([]string, len(g.Reasons))
			for i, r := range g.Reasons {
				reasons[i] = strings.Join(r, "\n")
			}
			t.Print(fmt.Sprintf("keep %s:", Count(uint64(len(g.Keep)), "snapshot")))
			t.Print(snapshotTable(g.Keep, tableOptions{reasons: reasons, compact: o.Compact}).String())
		}
		if len(g.Remove) > 0 {
			t.Print(fmt.Sprintf("remove %s:", Count(uint64(len(g.Remove)), "snapshot")))
			t.Print(snapshotTable(g.Remove, tableOptions{freed: o.freed(g.Remove), compact: o.Compact}).String())
		}
		if g.Lone {
			lone = append(lone, g.title())
		}
	}
	for _, title := range lone {
		t.Info("warning: there is only one snapshot " + title + ", so no policy removes it; did host or paths change? kura forget ID or another --group-by does")
	}
}

func (o *ForgetOptions) freed(list []*repo.Snapshot) []string {
	if o.Freed == nil {
		return nil
	}
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = Bytes(uint64(max(0, o.Freed[s.ID])))
	}
	return out
}

func (g *ForgetGroup) title() string {
	var parts []string
	if g.By.Host {
		parts = append(parts, "of host "+Printable(g.Key.Host))
	}
	if g.By.Paths {
		parts = append(parts, "of "+strings.ReplaceAll(lines(g.Key.Paths), "\n", ", "))
	}
	if g.By.Tags && len(g.Key.Tags) > 0 {
		parts = append(parts, "tagged "+strings.ReplaceAll(lines(g.Key.Tags), "\n", ", "))
	}
	return strings.Join(parts, " ")
}

func (g *ForgetGroup) message(freed map[object.SessionID]int64) forgetGroupMessage {
	m := forgetGroupMessage{
		Tags: g.Key.Tags, Host: g.Key.Host, Paths: make([]string, 0, len(g.Key.Paths)),
		Keep: makeSnapshots(g.Keep), Remove: make([]removedSnapshot, len(g.Remove)),
		Reasons: make([]keepReasonJSON, len(g.Keep)), Lone: g.Lone,
	}
	for i, s := range g.Remove {
		m.Remove[i].Snapshot = MakeSnapshot(s)
		if n, ok := freed[s.ID]; ok {
			m.Remove[i].Freed = &n
		}
	}
	for _, p := range g.Key.Paths {
		text, _ := jsonText(p)
		m.Paths = append(m.Paths, text)
	}
	for i := range g.Keep {
		m.Reasons[i] = keepReasonJSON{m.Keep[i], g.Reasons[i]}
	}
	return m
}
