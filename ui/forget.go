package ui

import (
	"fmt"
	"strings"

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
}

type forgetGroupMessage struct {
	Tags    []string         `json:"tags"`
	Host    string           `json:"host"`
	Paths   []string         `json:"paths"`
	Keep    []Snapshot       `json:"keep"`
	Remove  []Snapshot       `json:"remove"`
	Reasons []keepReasonJSON `json:"reasons"`
}

type keepReasonJSON struct {
	Snapshot Snapshot `json:"snapshot"`
	Matches  []string `json:"matches"`
}

// Forget prints what a policy keeps and removes.
func (t *Terminal) Forget(groups []ForgetGroup) {
	if t.JSON {
		out := make([]forgetGroupMessage, len(groups))
		for i, g := range groups {
			out[i] = g.message()
		}
		t.Message(out)
		return
	}
	if t.Quiet {
		return
	}
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
			t.Print(snapshotTable(g.Keep, reasons).String())
		}
		if len(g.Remove) > 0 {
			t.Print(fmt.Sprintf("remove %s:", Count(uint64(len(g.Remove)), "snapshot")))
			t.Print(snapshotTable(g.Remove, nil).String())
		}
	}
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

func (g *ForgetGroup) message() forgetGroupMessage {
	m := forgetGroupMessage{
		Tags: g.Key.Tags, Host: g.Key.Host, Paths: make([]string, 0, len(g.Key.Paths)),
		Keep: makeSnapshots(g.Keep), Remove: makeSnapshots(g.Remove),
		Reasons: make([]keepReasonJSON, len(g.Keep)),
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
