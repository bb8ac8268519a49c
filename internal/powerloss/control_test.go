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

// without runs the scenarios with all fsyncs of one call site answered and not done. It
// returns the sites that it met, and the first violation.
func without(t *testing.T, removed string, in []scenario, seed uint64, rounds int, n *tally) (met map[string]bool, err error) {
	var mu sync.Mutex
	met = map[string]bool{}
	for round := range uint64(rounds) {
		for i := range in {
			err := in[i].search(t.Context(), seed+round, 16, n, func(r *run) {
				r.disk.OnSync = func(lossy.Sync) lossy.Answer {
					at := site()
					mu.Lock()
					defer mu.Unlock()
					if at != "" { // not of a program that plays a stranger
						met[at] = true
					}
					if at == removed {
						return lossy.Lies
					}
					return lossy.Works
				}
			})
			if err != nil {
				return met, err
			}
		}
	}
	return met, nil
}

// TestControl_AnyFsyncRemoved_IsFound shows that the suite sees the lack of each fsync.
func TestControl_AnyFsyncRemoved_IsFound(t *testing.T) {
	seed := seeded(t)
	met, err := without(t, "none", scenarios, seed, 64, &tally{})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := slices.Sorted(maps.Keys(met)), slices.Sorted(maps.Keys(fsyncs)); !slices.Equal(got, want) {
		t.Fatalf("calls of fsync:\n%s\nwant, as in the table:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, removed := range slices.Sorted(maps.Keys(fsyncs)) {
		if fsyncs[removed] == nil {
			n := tally{}
			if _, err := without(t, removed, scenarios, seed, 8, &n); err != nil {
				t.Errorf("without %q: %v", removed, err)
			}
			t.Logf("without %q: nothing lost in %d states", removed, n.states)
		}
		for _, name := range fsyncs[removed] {
			i := slices.IndexFunc(scenarios, func(s scenario) bool { return s.name == name })
			n := tally{}
			if _, err := without(t, removed, scenarios[i:i+1], seed, 500, &n); err == nil {
				t.Errorf("without %q, %s: not found in %d states", removed, name, n.states)
			} else {
				t.Logf("without %q, %s: found at state %d: %v", removed, name, n.states, err)
			}
		}
	}
}
