package ui_test

import (
	"bytes"
	"errors"
	"flag"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/probe"
	"github.com/kura-backup/kura/backup"
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/repo/caches"
	"github.com/kura-backup/kura/repo/check"
	"github.com/kura-backup/kura/repo/gc"
	"github.com/kura-backup/kura/repo/log"
	"github.com/kura-backup/kura/repo/repair"
	"github.com/kura-backup/kura/repo/stats"
	"github.com/kura-backup/kura/restore"
	"github.com/kura-backup/kura/retain"
	"github.com/kura-backup/kura/transfer"
	"github.com/kura-backup/kura/tree"
	"github.com/kura-backup/kura/ui"
)

var update = flag.Bool("update", false, "write the golden files")

func TestMain(m *testing.M) {
	// Times are shown in the local zone; the golden files have them in this one.
	time.Local = time.FixedZone("test", 2*60*60)
	os.Exit(m.Run())
}

var start = time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)

func snapshot(n byte) *repo.Snapshot {
	id := object.SessionID{0xab, n, 3: 1}
	s := &repo.Snapshot{ID: id, Entry: &log.Snapshot{ID: id, N: uint64(n)}}
	s.Manifest = repo.Manifest{
		Time: start.Add(time.Duration(n) * time.Hour).UnixNano(), Host: "www", User: "root",
		Paths: [][]byte{[]byte("/etc"), []byte("/srv")}, Tags: []string{"nightly"}, Root: bytes.Repeat([]byte{n}, 32),
		Program: "kura 1", Start: start.UnixNano(), End: start.Add(time.Minute).UnixNano(), Source: "files",
		Summary: repo.Summary{Files: 3, Dirs: 2, Bytes: 5000, FilesNew: 1, FilesChanged: 1, FilesUnmodified: 1, BytesAdded: 4000, BytesStored: 2000},
	}
	return s
}

func oddSnapshot() *repo.Snapshot {
	s := snapshot(2)
	s.Entry.Partial, s.Suspect, s.Summary.Errors = true, 1, 3
	s.Paths, s.Tags = [][]byte{[]byte("/a\xff\x1b[2J")}, nil
	s.Parent = bytes.Repeat([]byte{1}, 16)
	return s
}

func markedSnapshot() *repo.Snapshot {
	s := snapshot(3)
	s.Entry.Pinned, s.Doubtful = true, true
	return s
}

var errDenied = errors.New("permission denied")

// cases are all that the renderers show. Each has a golden file of its text and one of its JSON.
var cases = map[string]func(t *ui.Terminal){
	"snapshots":      func(t *ui.Terminal) { t.Snapshots([]*repo.Snapshot{snapshot(1), oddSnapshot(), markedSnapshot()}) },
	"snapshots-none": func(t *ui.Terminal) { t.Snapshots(nil) },
	"initialised":    func(t *ui.Terminal) { t.Initialised("0123456789abcdef", "local:/repo") },
	"doctor": func(t *ui.Terminal) {
		r := &probe.Report{
			Findings: []probe.Finding{
				{ID: probe.CreateOnly, Severity: probe.Fatal, Seen: "a second put was answered with \x1b[2Jsuccess", Means: "snapshots are lost", Do: "use another store"},
				{ID: probe.DeleteDenied, Severity: probe.Warning, Seen: "delete: denied", Means: "prune frees nothing"},
				{ID: probe.Clock, Severity: probe.Info, Seen: "the clock is 3 h ahead"},
			},
			Latency: 12345 * time.Microsecond, Up: 50 << 20, Down: 80 << 20, Clock: 3 * time.Hour, Left: []string{"probe/0"},
		}
		for _, f := range r.Findings {
			t.Finding(f)
		}
		t.Examined("s3:https://host/bucket", r)
	},
	"doctor-well": func(t *ui.Terminal) { t.Examined("local:/x", &probe.Report{Latency: time.Millisecond}) },
	"doctor-warnings": func(t *ui.Terminal) {
		t.Examined("local:/x", &probe.Report{Findings: []probe.Finding{{Severity: probe.Warning}}})
	},
	"fatal": func(t *ui.Terminal) {
		t.Fatal(10, "there is no repository at local:/x", []string{"kura init -r /x makes one"})
	},
	"item-error":      func(t *ui.Terminal) { t.ItemError("archival", "/a\n\xffb", errDenied) },
	"document":        func(t *ui.Terminal) { t.Document(map[string]any{"a": 1, "b": []string{"<x>"}}) },
	"listed-snapshot": func(t *ui.Terminal) { t.ListedSnapshot(snapshot(1)) },
	"listed-nodes": func(t *ui.Terminal) {
		mtime := tree.MakeTime(start.Unix(), 5)
		for _, n := range []*tree.Node{
			{Name: "f", Type: tree.File, Mode: 0o4755, UID: 1000, GID: 100, User: "me", MTime: mtime, Size: 12345, Inode: 7, Links: 2},
			{Name: "d", Type: tree.Folder, Mode: 0o1777, MTime: mtime, Subtree: object.BlobID{1}},
			{Name: "l", Type: tree.Symlink, Mode: 0o777, MTime: mtime, Target: "f"},
			{Name: "gone\xff", Type: tree.File, Error: "permission denied"},
			{Name: "tty", Type: tree.CharDevice, Mode: 0o600, Device: 4 << 32, MTime: mtime},
			{Name: "p", Type: tree.FIFO},
			{Name: "s", Type: tree.Socket},
			{Name: "b", Type: tree.BlockDevice},
		} {
			t.ListedNode("/x/"+n.Name, n, true)
			t.ListedNode("/x/"+n.Name, n, false)
		}
	},
	"found": func(t *ui.Terminal) {
		mtime := tree.MakeTime(start.Unix(), 5)
		t.Found("/x/f\xff", []ui.FoundVersion{
			{Node: &tree.Node{Name: "f\xff", Type: tree.File, Mode: 0o644, User: "me", MTime: mtime, Size: 12345}, Snapshots: []*repo.Snapshot{snapshot(1), snapshot(2), snapshot(3)}},
			{Node: &tree.Node{Name: "f\xff", Type: tree.Symlink, Mode: 0o777, Target: "g", MTime: mtime}, Snapshots: []*repo.Snapshot{snapshot(4)}},
		})
		t.Found("/x/gone", []ui.FoundVersion{
			{Node: &tree.Node{Name: "gone", Type: tree.File, Error: "permission denied"}, Snapshots: []*repo.Snapshot{snapshot(1), snapshot(2)}},
			{Node: &tree.Node{Name: "gone", Type: tree.Folder, Mode: 0o755, MTime: mtime, Subtree: object.BlobID{1}}, Snapshots: []*repo.Snapshot{snapshot(3)}},
		})
	},
	"backup": func(t *ui.Terminal) {
		for _, a := range []backup.Action{backup.New, backup.Changed, backup.Unmodified} {
			t.BackupItem(backup.Item{Path: "/etc/x", Type: tree.File, Action: a, Size: 2048, Added: 1024})
		}
		r := &backup.Result{Snapshot: snapshot(2), Parent: snapshot(1), Start: start, End: start.Add(90 * time.Second)}
		r.Summary = r.Snapshot.Summary
		t.BackedUp(r, false)
	},
	"backup-dry": func(t *ui.Terminal) {
		t.BackedUp(&backup.Result{Start: start, End: start.Add(time.Millisecond), Summary: snapshot(1).Summary}, true)
	},
	"restore": func(t *ui.Terminal) {
		t.RestoreItem(restore.Item{Path: "/etc/x", Type: tree.File, Size: 5})
		p := new(restore.Progress)
		p.FilesTotal.Store(9)
		p.BytesTotal.Store(1 << 20)
		t.Restored(ui.RestoreResult{
			Result: &restore.Result{Files: 8, Dirs: 1, Others: 2, Bytes: 1 << 19, Errors: 1, Verified: 8, Omitted: []restore.Omission{
				{What: "owner", Count: 4, Path: "/etc/x", Err: fs.ErrPermission},
				{What: "device nodes", Whole: true, Count: 1, Path: "/dev/\x1b", Err: errDenied, Fault: true},
			}},
			SnapshotID: snapshot(1).ID.String(), Target: "/tmp/out", Verify: true, Elapsed: 2 * time.Second, Progress: p,
		})
	},
	"copy": func(t *ui.Terminal) {
		for i, fate := range []transfer.Fate{transfer.Copied, transfer.There, transfer.Damaged, transfer.Forgotten} {
			item := transfer.Item{Fate: fate, Snapshot: snapshot(byte(i))}
			switch fate {
			case transfer.Copied:
				item.ID, item.Blobs, item.Bytes = object.SessionID{0xcd}, 7, 5000
			case transfer.There:
				item.ID = object.SessionID{0xef}
			case transfer.Damaged:
				item.Err = errDenied
			}
			t.CopyItem(item, false)
		}
		t.Copied(&transfer.Result{Copied: 1, There: 1, Damaged: 1, Forgotten: 1, Blobs: 7, Bytes: 5000, Stored: 3000, Same: true}, false)
	},
	"copy-dry": func(t *ui.Terminal) {
		t.CopyItem(transfer.Item{Fate: transfer.Copied, Snapshot: snapshot(1), Blobs: 7, Bytes: 5000}, true)
		t.Copied(&transfer.Result{Copied: 1, Blobs: 7, Bytes: 5000}, true)
	},
	"caches": func(t *ui.Terminal) {
		t.Caches("/cache", []ui.Cache{
			{Folder: caches.Folder{ID: strings.Repeat("0a", 16), Location: "local:/repo", Used: start, Size: 5000}, Old: true},
			{Folder: caches.Folder{ID: strings.Repeat("0b", 16), Location: "local:/\xff\x1b[2J", Used: start, Size: -1, InUse: true}},
		}, false)
		t.Caches("/cache", nil, false)
	},
	"caches-freed": func(t *ui.Terminal) {
		t.Caches("/cache", []ui.Cache{
			{Folder: caches.Folder{ID: strings.Repeat("0a", 16), Location: "local:/repo", Used: start, Size: 5000}, Old: true, Freed: true},
			{Folder: caches.Folder{ID: strings.Repeat("0b", 16), Used: start, Size: 10, InUse: true}},
		}, true)
	},
	"check": func(t *ui.Terminal) {
		problems := []check.Problem{
			{Object: "data/x", Err: errDenied},
			{Object: "data/x", Snapshot: "ab010001", Path: "/etc/x\xff", Err: errors.New("missing")},
			{Object: "data/y", Err: errors.New("damaged; parity mends it"), Mendable: true},
			{Object: "keys/y.copy", Err: errors.New("missing"), Hint: true},
		}
		for _, p := range problems {
			t.CheckProblem(p)
		}
		t.Checked(&check.Report{Problems: problems, Snapshots: 2, Packs: 3, Blobs: 100, Garbage: 1, Quarantined: 1, SnapshotsDamaged: 1, FilesDamaged: 3, Unlisted: 2}, check.Choice{}, false)
	},
	"check-good": func(t *ui.Terminal) {
		t.Checked(&check.Report{Snapshots: 1, Packs: 1, Blobs: 1, PacksRead: 1, BytesRead: 4096}, check.Choice{All: true}, false)
	},
	"check-groups": func(t *ui.Terminal) {
		t.Checked(&check.Report{Snapshots: 1, Packs: 2, Blobs: 1, PacksRead: 2, BytesRead: 4096, Groups: 1, GroupBytes: 2048}, check.Choice{All: true}, false)
	},
	"check-drawn": func(t *ui.Terminal) {
		t.Checked(&check.Report{Snapshots: 1, Packs: 9, Blobs: 1, PacksRead: 2, BytesRead: 4096, Seed: 7}, check.Choice{Percent: 20, Seed: 7}, false)
	},
	"check-nokey": func(t *ui.Terminal) {
		t.Checked(&check.Report{PacksRead: 3, BytesRead: 4096}, check.Choice{All: true}, true)
	},
	"repair-index": func(t *ui.Terminal) {
		bad := []object.Ref{{Class: object.Index}}
		t.RepairIndex(&repair.IndexResult{}, false)
		t.RepairIndex(&repair.IndexResult{Bad: bad, Read: 4, Replaced: 2}, true)
		t.RepairIndex(&repair.IndexResult{Entry: 7, Bad: bad, Read: 4, Replaced: 2, Added: 1}, false)
	},
	"repair-packs": func(t *ui.Terminal) {
		data := object.Ref{Class: object.DataPack}
		packs := []repair.PackOutcome{
			{Ref: data, Fate: repair.Mended, Segments: 2, Blobs: 9},
			{Ref: data, Fate: repair.Salvaged, Segments: 2, Blobs: 9, SegmentsLost: 1, BlobsLost: 3, Quarantine: object.QuarantineName(data)},
			{Ref: data, Fate: repair.Missing, SegmentsLost: 3, BlobsLost: 12},
			{Ref: data, Fate: repair.Sealed},
			{Ref: data, Fate: repair.Whole},
		}
		for _, p := range packs {
			t.RepairPack(p)
		}
		t.RepairPacks(&repair.PacksResult{Read: 9, Packs: packs}, true)
		t.RepairPacks(&repair.PacksResult{Read: 9, Packs: packs, Added: 1, Entry: 7}, false)
		t.RepairPacks(&repair.PacksResult{Read: 9}, false)
	},
	"repair-snapshots": func(t *ui.Terminal) {
		lost := []repair.Loss{{Path: "/etc/x\xff", What: errors.New("blob 1234 is not there")}, {Path: "/srv", What: errors.New("entries of the folder")}}
		t.RepairSnapshot(repair.SnapshotOutcome{ID: object.SessionID{1}, New: object.SessionID{2}, Lost: lost, More: 5, Forgotten: true})
		t.RepairSnapshot(repair.SnapshotOutcome{ID: object.SessionID{3}, Gone: errors.New("its manifest is damaged")})
		t.RepairSnapshots(&repair.SnapshotsResult{Checked: 5, Snapshots: make([]repair.SnapshotOutcome, 2)}, false)
	},
	"stats": func(t *ui.Terminal) {
		restored := &stats.Restored{Snapshots: 2, Files: 10, Entries: 12, Bytes: 5 << 20}
		raw := &stats.Raw{Packs: 3, Stored: 1 << 20, Blobs: 40, Plain: 2 << 20, Verified: 1 << 18, EverVerified: 1 << 19}
		t.Stats(restored, raw, 2, 30)
		t.Stats(restored, nil, 2, 30)
		t.Stats(nil, raw, 2, 30)
		t.Stats(nil, &stats.Raw{}, 0, 30)
		t.Stats(nil, &stats.Raw{Packs: 3, Stored: 3 << 18, Groups: 1, GroupBytes: 1 << 18, Blobs: 40, Plain: 2 << 20, Deltas: 4, DeltaPlain: 1 << 20, DeltaStored: 3 << 10}, 1, 30)
	},
	"forget": func(t *ui.Terminal) {
		t.Forget([]ui.ForgetGroup{{
			By: retain.DefaultGroupBy, Key: retain.Key{Host: "www", Paths: []string{"/etc", "/srv"}},
			Keep: []*repo.Snapshot{snapshot(1)}, Reasons: [][]string{{"last snapshot"}}, Remove: []*repo.Snapshot{oddSnapshot()},
		}, {
			By: retain.DefaultGroupBy, Key: retain.Key{Host: "old\x1b", Paths: []string{"/srv"}}, Lone: true,
			Keep: []*repo.Snapshot{markedSnapshot()}, Reasons: [][]string{{"pinned", "doubtful time"}},
		}}, ui.ForgetOptions{})
	},
	"forget-compact": func(t *ui.Terminal) {
		t.Forget([]ui.ForgetGroup{{
			Keep: []*repo.Snapshot{snapshot(1)}, Reasons: [][]string{{"last snapshot", "daily snapshot"}}, Remove: []*repo.Snapshot{oddSnapshot()},
		}}, ui.ForgetOptions{Compact: true, Freed: map[object.SessionID]int64{oddSnapshot().ID: 12345}})
	},
	"forget-named": func(t *ui.Terminal) {
		t.Forget([]ui.ForgetGroup{{Remove: []*repo.Snapshot{snapshot(1)}}}, ui.ForgetOptions{Named: true})
		t.Forget([]ui.ForgetGroup{{Remove: []*repo.Snapshot{snapshot(1)}}}, ui.ForgetOptions{Named: true, Freed: map[object.SessionID]int64{snapshot(1).ID: 0}})
	},
	"changed": func(t *ui.Terminal) {
		if t.JSON {
			t.Changed([]object.SessionID{snapshot(1).ID})
		}
	},
	"mended": func(t *ui.Terminal) {
		pack, tree, segment := object.Ref{Class: object.DataPack}, object.Ref{Class: object.TreePack}, object.Ref{Class: object.Index}
		t.Mended(nil)
		t.Mended([]object.Ref{pack})
		t.Mended([]object.Ref{segment})
		t.Mended([]object.Ref{pack, tree, segment})
	},
	"prune": func(t *ui.Terminal) {
		t.Prune(&gc.Result{
			Snapshots: 3, Gone: make([]object.SessionID, 2), Open: make([]gc.OpenSession, 1), PacksBefore: 9, PacksAfter: 5, PacksDropped: 5, PacksRepacked: 1, PacksAdded: 1,
			BytesBefore: 9 << 20, BytesAfter: 5 << 20, BytesRepacked: 1000, BytesAdded: 1 << 20, BytesUnused: 77, ObjectsDeleted: 6, BytesDeleted: 4 << 20,
		}, false)
		t.Prune(&gc.Result{Snapshots: 1, Held: 2}, true)
		at := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
		open := make([]gc.OpenSession, 11)
		open[0] = gc.OpenSession{ID: snapshot(1).ID, Host: "web1", Last: at, Idle: 754 * time.Second}
		t.Prune(&gc.Result{
			Entry: 7, Entries: 2, Snapshots: 1, Held: 2, HeldUntil: at, Open: open, Late: true, LocksExtended: 12,
			Locked: gc.Locked{Objects: 3, Bytes: 5 << 20, Until: at}, Kept: backends.Kept{Objects: 1, Why: "the bucket keeps versions"},
		}, false)
		t.Prune(&gc.Result{Groups: 1, GroupBytes: 4096}, true)
		t.Prune(&gc.Result{GroupsAdded: 2, GroupsDeleted: 1, Groups: 3, GroupBytes: 5000}, false)
	},
}

func TestRenderers_Golden(t *testing.T) {
	for name, show := range cases {
		for _, mode := range []string{"text", "quiet", "json"} {
			var out, err bytes.Buffer
			term := ui.NewPlain(&out, &err)
			term.JSON, term.Quiet, term.Verbose = mode == "json", mode == "quiet", 2
			show(term)
			golden(t, name+"."+mode, "-- stdout --\n"+out.String()+"-- stderr --\n"+err.String())
		}
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// A file name must not be able to do anything to a terminal, wherever it is shown.
func TestRenderers_NoEscapeSequences(t *testing.T) {
	for name, show := range cases {
		var out, err bytes.Buffer
		show(ui.NewPlain(&out, &err))
		if strings.ContainsAny(err.String(), "\x1b") {
			t.Errorf("%s: %q", name, err.String())
		}
		if name != "listed-nodes" && strings.ContainsAny(out.String(), "\x1b") {
			t.Errorf("%s: %q", name, out.String())
		}
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errDenied }

// A listing that went nowhere must not look like a success.
func TestTerminal_BrokenOutput_IsRemembered(t *testing.T) {
	term := ui.NewPlain(brokenWriter{}, &bytes.Buffer{})
	if err := term.Err(); err != nil {
		t.Fatal(err)
	}
	term.Print("x")
	if err := term.Err(); !errors.Is(err, errDenied) {
		t.Errorf("Err = %v", err)
	}
}

// Years of more than four digits, which anybody can give a file, ended the listing once.
func TestListedNode_TimeThatJSONHasNot_IsTheNearest(t *testing.T) {
	for sec, want := range map[int64]string{
		9_000_000_000_000: "9999-12-31T23:59:59Z", math.MaxInt64: "9999-12-31T23:59:59Z", 253402300799: "9999-12-31T23:59:59Z",
		-9_000_000_000_000: "0000-01-01T00:00:00Z", math.MinInt64: "0000-01-01T00:00:00Z", -62167219200: "0000-01-01T00:00:00Z",
	} {
		var out, errs bytes.Buffer
		term := ui.NewPlain(&out, &errs)
		term.JSON = true
		term.ListedNode("/f", &tree.Node{Name: "f", Type: tree.File, MTime: tree.MakeTime(sec, 5)}, false)
		if !strings.Contains(out.String(), `"mtime":"`+want+`"`) {
			t.Errorf("%d: %s", sec, out.String())
		}
	}
}

// The counters go on while they are read, one after the other.
func TestRestoreMessage_MoreSkippedThanDone_IsNothing(t *testing.T) {
	var out bytes.Buffer
	term := ui.NewPlain(&out, &out)
	term.Message(ui.RestoreMessage(ui.Status{Done: 100, Skipped: 103, Bytes: 1000, BytesSkipped: 1030}, ui.Timing{}))
	if got := out.String(); strings.Contains(got, "_restored") {
		t.Errorf("%s", got)
	}
}

func TestListedNode_SpecialBits_AsLsShowsThem(t *testing.T) {
	for mode, want := range map[uint32]string{
		0o7777: "-rwsrwsrwt", 0o7000: "---S--S--T", 0o4711: "-rws--x--x", 0o2640: "-rw-r-S---", 0o1666: "-rw-rw-rwT", 0o644: "-rw-r--r--",
	} {
		var out bytes.Buffer
		ui.NewPlain(&out, &out).ListedNode("/f", &tree.Node{Name: "f", Type: tree.File, Mode: mode}, true)
		if got, _, _ := strings.Cut(out.String(), " "); got != want {
			t.Errorf("%o: %s, want %s", mode, got, want)
		}
	}
}
