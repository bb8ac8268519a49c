package powerloss_test

import (
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/kura-backup/kura/internal/durable/lossy"
)

const durablePackage = "github.com/kura-backup/kura/internal/durable."

// plumbing is what only passes an fsync on.
var plumbing = []string{"(*dirSyncs).Sync", "(*Writer).syncDir", "syncIfCan", "(*Writer).settleAll", "(*Writer).settleDir"}

// site names the call that asked for an fsync: the functions of package durable that
// lead to it, the outermost first.
func site() string {
	var pcs [64]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	var chain []string
	for {
		frame, more := frames.Next()
		if name, ok := strings.CutPrefix(frame.Function, durablePackage); ok && !slices.Contains(plumbing, name) && !strings.Contains(name, ".func") {
			chain = append(chain, name[strings.LastIndexByte(name, '.')+1:])
		}
		if !more {
			break
		}
	}
	slices.Reverse(chain)
	return strings.Join(slices.Compact(chain), " ")
}

// fsyncs are all calls of fsync, with the scenarios of which each must find, on its
// own, that the call is missing. A call without any can be removed: NewWriter's only
// asks whether the file system has an fsync for folders.
var fsyncs = map[string][]string{
	"CreateExclusive attempt writeTemp fill":          {"one writer", "no links", "fsync fails"},
	"CreateExclusive attempt publish mkdirAll":        {"one writer", "many at once"},
	"CreateExclusive attempt publish settle":          {"two processes, one dies", "objects that another program put there"},
	"CreateExclusive attempt publish settle mkdirAll": {"objects that another program put there"},
	"CreateExclusive attempt":                         {"one writer", "many at once", "no links"},
	"CreateExclusive attempt syncAgain":               {"fsync fails"},
	"Found":                                           {"no answer to a link"},
	"MkdirAll mkdirAll":                               {"a store in new folders"},
	"WriteReplace writeTemp fill":                     {"a file that is replaced"},
	"WriteReplace":                                    {"a file that is replaced"},
	"NewWriter":                                       nil,
}

// lies makes all fsyncs of one call site be answered and not done. It is told of each site that it meets.
func lies(removed string, meet func(site string)) func(*run) {
	return func(r *run) {
		var mu sync.Mutex
		r.disk.OnSync = func(lossy.Sync) lossy.Answer {
			at := site()
			mu.Lock()
			defer mu.Unlock()
			if at != "" { // not of a program that plays a stranger
				meet(at)
			}
			if at == removed {
				return lossy.Lies
			}
			return lossy.Works
		}
	}
}

// sites runs the scenarios until they have called fsync wherever the table says, and returns from where they did.
func sites(t *testing.T, seed uint64) map[string]bool {
	const least, most = 8, 10_000 // rounds
	met := map[string]bool{}
	for round := range uint64(most) {
		for i := range scenarios {
			if _, err := scenarios[i].play(t.Context(), seed+round, lies("none", func(site string) { met[site] = true })); err != nil {
				t.Fatal(err)
			}
		}
		if round >= least && len(met) >= len(fsyncs) {
			break
		}
	}
	return met
}

// without runs scenarios without the fsyncs of one call site. It returns the first violation.
func without(t *testing.T, removed string, in []scenario, seed uint64, rounds int, n *tally) error {
	for round := range uint64(rounds) {
		for i := range in {
			if err := in[i].search(t.Context(), seed+round, 16, n, lies(removed, func(string) {})); err != nil {
				return err
			}
		}
	}
	return nil
}

// TestControl_AnyFsyncRemoved_IsFound shows that the suite sees the lack of each fsync.
func TestControl_AnyFsyncRemoved_IsFound(t *testing.T) {
	seed := seeded(t)
	if got, want := slices.Sorted(maps.Keys(sites(t, seed))), slices.Sorted(maps.Keys(fsyncs)); !slices.Equal(got, want) {
		t.Fatalf("calls of fsync:\n%s\nwant, as in the table:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, removed := range slices.Sorted(maps.Keys(fsyncs)) {
		if fsyncs[removed] == nil {
			n := tally{}
			if err := without(t, removed, scenarios, seed, 8, &n); err != nil {
				t.Errorf("without %q: %v", removed, err)
			}
			t.Logf("without %q: nothing lost in %d states", removed, n.states)
		}
		for _, name := range fsyncs[removed] {
			i := slices.IndexFunc(scenarios, func(s scenario) bool { return s.name == name })
			n := tally{}
			if err := without(t, removed, scenarios[i:i+1], seed, 5000, &n); err == nil {
				t.Errorf("without %q, %s: not found in %d states", removed, name, n.states)
			} else {
				t.Logf("without %q, %s: found at state %d: %v", removed, name, n.states, err)
			}
		}
	}
}
