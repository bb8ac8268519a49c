package ui

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
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
	Mendable    bool      `json:"mendable,omitempty"`
}

type checkSummary struct {
	MessageType        string   `json:"message_type"` // "summary"
	NumErrors          int      `json:"num_errors"`
	BrokenPacks        []string `json:"broken_packs"`
	SuggestRepairIndex bool     `json:"suggest_repair_index"`
	SuggestPrune       bool     `json:"suggest_prune"`
	Mendable           int      `json:"num_mendable"`
	Hints              int      `json:"num_hints"`
	Snapshots          int      `json:"snapshots"`
	SnapshotsDamaged   int      `json:"snapshots_damaged"`
	FilesDamaged       int      `json:"files_damaged"`
	Packs              int      `json:"packs"`
	Blobs              uint64   `json:"blobs"`
	PacksRead          int      `json:"packs_read"`
	BytesRead          int64    `json:"bytes_read"`
	GroupsRead         int      `json:"parity_groups_read"`
	GroupBytesRead     int64    `json:"parity_bytes_read"`
	ReadData           bool     `json:"read_data"`
	NoKey              bool     `json:"no_key,omitempty"`
	Seed               uint64   `json:"seed,omitempty"`
	Garbage            int      `json:"garbage_objects"`
	Unfinished         int      `json:"unfinished_objects"`
	Quarantined        int      `json:"quarantined_objects"`
}

// CheckProblem reports something that is wrong, while the check goes on.
func (t *Terminal) CheckProblem(p check.Problem) {
	if t.JSON {
		m := checkProblem{
			MessageType: "error", Error: errorText{p.Err.Error()}, Message: p.String(), During: "check",
			Object: p.Object, Snapshot: p.Snapshot, Mendable: p.Mendable && !p.Hint,
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
func (t *Terminal) Checked(r *check.Report, choice check.Choice, noKey bool) {
	damaged := r.Damaged()
	if t.JSON {
		t.Message(checkSummary{
			MessageType: "summary", NumErrors: damaged, BrokenPacks: brokenPacks(r), SuggestPrune: r.Garbage > 0,
			SuggestRepairIndex: suggestRepairIndex(r), Mendable: r.Mendable(), Hints: len(r.Problems) - damaged,
			Snapshots: r.Snapshots, SnapshotsDamaged: r.SnapshotsDamaged, FilesDamaged: r.FilesDamaged,
			Packs: r.Packs, Blobs: r.Blobs, PacksRead: r.PacksRead, BytesRead: r.BytesRead, ReadData: choice.All, NoKey: noKey,
			GroupsRead: r.Groups, GroupBytesRead: r.GroupBytes, Seed: r.Seed, Garbage: r.Garbage, Unfinished: r.Adoptable, Quarantined: r.Quarantined,
		})
		return
	}
	if t.Quiet {
		return
	}
	if noKey {
		t.Print(fmt.Sprintf("read %s, %s, and compared them with the hashes in their names", Count(uint64(r.PacksRead), "object"), Bytes(uint64(max(0, r.BytesRead)))))
		t.Print("without a key it can not be told whether an object is missing, nor whether config, key slots, log and checkpoints say what they should")
	} else {
		t.checkedPacks(r, choice)
	}
	if r.Quarantined > 0 {
		t.Print(fmt.Sprintf("quarantine/ has %s that repair has set aside", Count(uint64(r.Quarantined), "damaged object")))
	}
	t.checkedDamage(r, choice)
}

func (t *Terminal) checkedPacks(r *check.Report, choice check.Choice) {
	did := "the directories of"
	if choice.All {
		did = "every byte of"
	}
	t.Print(fmt.Sprintf("checked %s, and %s %s with %s", Count(uint64(r.Snapshots), "snapshot"), did,
		Count(uint64(r.Packs), "pack"), Count(r.Blobs, "blob")))
	if !choice.IsZero() {
		read := fmt.Sprintf("read %s of %s", Bytes(uint64(max(0, r.BytesRead))), Count(uint64(r.PacksRead), "pack"))
		if r.Groups > 0 {
			read += fmt.Sprintf(", and %s of %s", Bytes(uint64(max(0, r.GroupBytes))), groupsOfParity(r.Groups))
		}
		if choice.Drawn() {
			read += fmt.Sprintf(", drawn with --seed %d", r.Seed)
		}
		t.Print(read)
	}
	if r.Garbage > 0 {
		t.Print(fmt.Sprintf("kura prune would delete %s that nothing needs", Count(uint64(r.Garbage), "object")))
	}
}

func (t *Terminal) checkedDamage(r *check.Report, choice check.Choice) {
	damaged, mendable := r.Damaged(), r.Mendable()
	if damaged == 0 {
		t.Print("no damage was found")
		if choice.IsZero() {
			t.Info("hint: --read-data also reads the contents of all files")
		}
		return
	}
	if r.Unlisted > 0 {
		t.Print(fmt.Sprintf("%s more are damaged and not listed", filesOrFolders(r.Unlisted)))
	}
	if r.FilesDamaged > 0 {
		t.Print(fmt.Sprintf("%s in %s can not be read, or not all of it", filesOrFolders(r.FilesDamaged),
			Count(uint64(r.SnapshotsDamaged), "snapshot")))
	}
	if mendable > 0 {
		t.Print(fmt.Sprintf("of %s, %d can be mended and cost nothing yet", Count(uint64(damaged), "problem"), mendable))
	}
}

// groupsOfParity names objects of parity across packs.
func groupsOfParity(n int) string {
	if n == 1 {
		return "1 group of parity"
	}
	return strconv.Itoa(n) + " groups of parity"
}

func filesOrFolders(n int) string {
	if n == 1 {
		return "1 file or folder"
	}
	return strconv.Itoa(n) + " files or folders"
}

// suggestRepairIndex reports whether there is a problem that kura repair index is for.
func suggestRepairIndex(r *check.Report) bool {
	return slices.ContainsFunc(r.Problems, func(p check.Problem) bool {
		return !p.Hint && (strings.HasPrefix(p.Object, object.IndexPrefix) || errors.Is(p.Err, check.ErrUnlisted))
	})
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
