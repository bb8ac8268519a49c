package probe

import (
	"context"
	"slices"
	"time"

	"github.com/kura-backup/kura/backends"
)

// Severity says what a finding means for a repository.
type Severity int

// The severities.
const (
	Info    Severity = iota // worth knowing
	Warning                 // something costs more, or does not work
	Fatal                   // data can be lost, or nothing works
)

func (s Severity) String() string {
	switch s {
	case Info:
		return "info"
	case Warning:
		return "warning"
	case Fatal:
		return "fatal"
	}
	return "unknown"
}

// ID names a kind of finding. Programs may rely on it.
type ID string

// The findings. docs/doctor.md explains them.
const (
	CreateOnly      ID = "create-only"       // a second put of a taken name is not refused
	CreateOnlyRace  ID = "create-only-race"  // not exactly one of several at once wins
	NoCreateOnly    ID = "no-create-only"    // the store says that it can not
	LostWrite       ID = "lost-write"        // what was put with success is not there
	ReadAfterPut    ID = "read-after-put"    // it is there only later
	Bytes           ID = "bytes"             // other bytes come back
	Truncated       ID = "truncated"         // fewer bytes come back
	Unreadable      ID = "unreadable"        // what was put can not be read back
	Ranges          ID = "ranges"            // a part of an object is not what was asked for
	ListAfterPut    ID = "list-after-put"    // what was put is not listed, or only later
	Listing         ID = "listing"           // order, prefixes, starting points or pages are wrong
	ListAfterDelete ID = "list-after-delete" // what was deleted is still listed, or read
	DeleteDenied    ID = "delete-denied"     // the credentials may not delete
	DeleteFails     ID = "delete-fails"      // deleting fails otherwise
	Locked          ID = "locked"            // objects are locked against deletion
	Versions        ID = "versions"          // deleting frees no space
	NotDurable      ID = "not-durable"       // the store does not promise durability
	Failed          ID = "failed"            // an operation failed, so that the rest could not be tried
	LeftBehind      ID = "left-behind"       // the probe's objects could not be removed
	Clock           ID = "clock"             // the store's clock and this machine's differ
	Latency         ID = "latency"           // what a small request takes
	Throughput      ID = "throughput"        // what a large one moves
)

// Finding is something that was seen.
type Finding struct {
	ID       ID
	Severity Severity
	Seen     string
	Means    string // empty if there is nothing to explain
	Do       string // empty if there is nothing to do
}

// explained are the texts that go with a finding. The first row of an ID is its usual severity.
var explained = map[ID]struct {
	severity Severity
	means    string
	do       string
}{
	CreateOnly: {
		Fatal, "two clients that write at the same time can overwrite each other's log entries: snapshots are lost",
		"use a store with conditional writes (If-None-Match); or make the repository with kura init --single-writer, and let one client at a time write",
	},
	CreateOnlyRace: {
		Fatal, "two clients that write at the same moment can both believe that they have won: snapshots are lost",
		"use another store; or make the repository with kura init --single-writer, and let one client at a time write",
	},
	NoCreateOnly: {
		Fatal, "two clients that write at the same time could overwrite each other's log entries, so kura does not write there",
		"use a store with conditional writes (If-None-Match); or make the repository with kura init --single-writer, and let one client at a time write",
	},
	LostWrite: {
		Fatal, "a backup that is said to be complete lacks data",
		"do not use this store; if a proxy or gateway is in front of it, try without",
	},
	ReadAfterPut: {
		Fatal, "a client can miss what another has just written, and go on as if it did not exist",
		"do not use this store, or this cache in front of it",
	},
	Bytes: {
		Fatal, "what is stored or read is changed on its way: kura notices, and mends little of it",
		"do not use this store; look for a broken disk, memory, proxy or network device",
	},
	Truncated: {
		Fatal, "objects lose their end: kura notices, and what is lost stays lost",
		"do not use this store; look for a proxy or gateway that ends transfers early",
	},
	Unreadable: {
		Fatal, "what is stored can not be restored",
		"look at the message of the store; if a proxy or gateway is in front of it, try without",
	},
	Ranges: {
		Fatal, "restores read parts of objects, and would get wrong ones",
		"do not use this store; if a proxy or cache is in front of it, try without",
	},
	ListAfterPut: {
		Fatal, "a client can overlook entries of the log and packs that others have just written",
		"do not use this store; if a cache is in front of it, try without",
	},
	Listing: {
		Fatal, "objects that a repository has are not found, or taken for missing",
		"do not use this store",
	},
	ListAfterDelete: {
		Warning, "what kura prune deletes shows for a while longer; nothing is lost by that",
		"",
	},
	DeleteDenied: {
		Warning, "backup, restore and forget work; kura prune frees nothing with these credentials",
		"if that is not what you want, permit deleting (docs/s3.md has the policies)",
	},
	DeleteFails: {
		Warning, "kura prune frees nothing, or not all",
		"look at the message of the store",
	},
	Locked: {
		Info, "what is written is kept until then, whoever asks for its deletion; kura prune frees it later",
		"",
	},
	Versions: {
		Warning, "kura prune hides objects, and their space is not freed",
		"let a lifecycle rule delete noncurrent versions, or permit deleting versions (docs/s3.md)",
	},
	NotDurable: {
		Warning, "what was written last can be gone after a power failure, though the backup was said to be complete",
		"use a file system that can sync folders",
	},
	Failed: {
		Fatal, "a repository can not work there like this",
		"look at the message of the store: the location, the credentials, their permissions and the network",
	},
	LeftBehind: {
		Warning, "these objects take up a little space and harm nothing",
		"delete what is named probe/… by other means",
	},
	Clock: {
		Info, "kura relies on no clock, but for what it shows, for retention, and for --single-writer",
		"",
	},
}

// Report is what a probe has found.
type Report struct {
	Findings []Finding
	Latency  time.Duration // of a small put, the median
	Up, Down float64       // bytes a second of a large object; 0 if it was not tried
	Clock    time.Duration // how much the store's clock is ahead of this machine's
	Left     []string      // objects that could not be removed
}

// Worst is the gravest severity of all findings, Info without any.
func (r *Report) Worst() Severity {
	worst := Info
	for _, f := range r.Findings {
		worst = max(worst, f.Severity)
	}
	return worst
}

// Has reports whether there is a finding of this kind.
func (r *Report) Has(id ID) bool {
	return slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.ID == id })
}

// Options say how to look.
type Options struct {
	// Second opens another connection to the same store, as another client would.
	// Nil: the first does for both.
	Second func(context.Context) (backends.Store, error)

	// SingleWriter leaves out whether names are given once: another rule keeps
	// writers apart.
	SingleWriter bool

	Rounds int // of races; 0: 5
	Racers int // in each; 0: 8
	Large  int // bytes of the large object; 0: 16 MiB, a pack; negative: none
	Many   int // small objects that are put to see listings in pages; 0: 20
}

// Events are told what happens. Each may be nil.
type Events struct {
	Phase func(name string)
	Found func(Finding)
}
