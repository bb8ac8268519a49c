package ui

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo/check"
)

type checkProblem struct {
	MessageType string    `json:"message_type"` // "error", or "hint" for what is no damage
	Error       errorText `json:"error"`
	Message     string    `json:"message"`
	During      string    `json:"during"` // "check"
	Object      string    `json:"object,omitempty"`
	Snapshot    string    `json:"snapshot,omitempty"`
	Item        string    `json:"item,omitempty"`
	ItemRaw     []byte    `json:"item_raw,omitempty"`
}

type checkSummary struct {
	MessageType        string   `json:"message_type"` // "summary"
	NumErrors          int      `json:"num_errors"`
	BrokenPacks        []string `json:"broken_packs"`
	SuggestRepairIndex bool     `json:"suggest_repair_index"`
	SuggestPrune       bool     `json:"suggest_prune"`
	Hints              int      `json:"num_hints"`
	Snapshots          int      `json:"snapshots"`
	Packs              int      `json:"packs"`
	Blobs              uint64   `json:"blobs"`
	BytesRead          int64    `json:"bytes_read"`
	ReadData           bool     `json:"read_data"`
	Garbage            int      `json:"garbage_objects"`
	Unfinished         int      `json:"unfinished_objects"`
}

// CheckProblem reports something that is wrong, while the check goes on.
func (t *Terminal) CheckProblem(p check.Problem) {
	if t.JSON {
		m := checkProblem{
			MessageType: "error", Error: errorText{p.Err.Error()}, Message: p.String(), During: "check",
			Object: p.Object, Snapshot: p.Snapshot,
		}
		if p.Hint {
			m.MessageType = "hint"
		}
		m.Item, m.ItemRaw = jsonText(p.Path)
		t.ErrorMessage(m)
		return
	}
	if p.Hint {
		t.Info("warning: " + PrintableMessage(p.String()))
		return
	}
	t.Error("kura: error: " + PrintableMessage(p.String()))
}

// Checked reports what a check found.
func (t *Terminal) Checked(r *check.Report, readData bool) {
	damaged := r.Damaged()
	if t.JSON {
		m := checkSummary{
			MessageType: "summary", NumErrors: damaged, BrokenPacks: brokenPacks(r), SuggestPrune: r.Garbage > 0,
			Hints: len(r.Problems) - damaged, Snapshots: r.Snapshots, Packs: r.Packs, Blobs: r.Blobs,
			BytesRead: r.BytesRead, ReadData: readData, Garbage: r.Garbage, Unfinished: r.Adoptable,
		}
		t.Message(m)
		return
	}
	if t.Quiet {
		return
	}
	did := "the directories of"
	if readData {
		did = "every byte of"
	}
	t.Print(fmt.Sprintf("checked %s, and %s %s with %s", Count(uint64(r.Snapshots), "snapshot"), did,
		Count(uint64(r.Packs), "pack"), Count(r.Blobs, "blob")))
	if readData {
		t.Print(fmt.Sprintf("read %s", Bytes(uint64(max(0, r.BytesRead)))))
	}
	if r.Garbage > 0 {
		t.Print(fmt.Sprintf("kura prune would delete %s that nothing needs", Count(uint64(r.Garbage), "object")))
	}
	if damaged == 0 {
		t.Print("no damage was found")
		if !readData {
			t.Info("hint: --read-data also reads the contents of all files")
		}
	}
}

// brokenPacks lists the packs that have a problem, each once and in order.
func brokenPacks(r *check.Report) []string {
	out := []string{}
	for _, p := range r.Problems {
		if strings.HasPrefix(p.Object, object.DataPrefix) || strings.HasPrefix(p.Object, object.TreePrefix) {
			if !p.Hint {
				out = append(out, p.Object)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
