package ignore

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kura-backup/kura/internal/testrand"
)

var (
	rounds = flag.Int("ignore.rounds", 150, "sets of ignore files that are compared with git")
	seed   = flag.Uint64("ignore.seed", 0, "seed of the ignore files; 0: another one each time")
)

// random makes names, patterns and trees of few letters, so that they often fit each other.
type random struct{ *rand.Rand }

func (r random) of(list ...string) string { return list[r.IntN(len(list))] }

func (r random) name() string {
	if r.IntN(3) > 0 {
		return r.of("a", "b", "ab", "ba", "aa", "abb")
	}
	return r.of("a.c", "foo", "b b", "b ", "-", "]", "[a]", "#a", "!a", "\\", "*", "a*b", "é", "a\xffb", "A", "1", "^", "a\tb")
}

func (r random) element() string {
	var b strings.Builder
	for range 1 + r.IntN(3) {
		switch r.IntN(12) {
		case 0, 1, 2:
			b.WriteString("*")
		case 3:
			b.WriteString("?")
		case 4:
			b.WriteString(r.of("**", "***"))
		case 5:
			b.WriteString(r.set())
		case 6:
			b.WriteString(r.of(`\a`, `\*`, `\!`, `\#`, `\ `, `\`, `\\`, `\[`))
		default:
			b.WriteString(r.name())
		}
	}
	return b.String()
}

func (r random) set() string {
	var b strings.Builder
	b.WriteString("[" + r.of("", "", "!", "^"))
	for range r.IntN(4) {
		b.WriteString(r.of("a", "b", "a-b", "-", "]", "[", "[:alpha:]", "[:punct:]", "[:upper:]", "[:x:]", "[:", `\]`, `\b`, "*-[", "/", "^", "!", "é", "a-", "b-a", `A-\b`, ":]"))
	}
	if r.IntN(8) > 0 {
		b.WriteString("]")
	}
	return b.String()
}

func (r random) pattern() string {
	p := r.of("", "", "", "!", "!", "#", " ")
	if r.IntN(4) == 0 {
		p += r.of("/", "**/", "/**/", "//")
	}
	for i := range 1 + r.IntN(3) {
		if i > 0 {
			p += r.of("/", "/", "/", "/**/", "//", `\/`)
		}
		if r.IntN(3) == 0 {
			p += r.element()
		} else {
			p += r.name()
		}
	}
	return p + r.of("", "", "", "/", "/**", "/*", "//", " ", `\ `, "\t", "\r", "/ ")
}

func (r random) file() []byte {
	var b strings.Builder
	b.WriteString(r.of("", "", "", "\uFEFF"))
	for range 1 + r.IntN(6) {
		b.WriteString(r.pattern() + r.of("\n", "\n", "\n", "\r\n", "\n\n"))
	}
	return []byte(strings.TrimSuffix(b.String(), r.of("\n", "x")))
}

// tree makes folders and files below root, and returns their paths: folders end in a slash.
func (r random) tree(t *testing.T, root, at string, depth int) (paths []string) {
	names := map[string]bool{}
	for range 3 + r.IntN(4) {
		names[r.name()] = true
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		p := path.Join(at, name)
		if strings.HasSuffix(name, " ") {
			p = strings.TrimPrefix(at+"/"+name, "/")
		}
		if depth > 0 && r.IntN(2) == 0 {
			must(t, os.Mkdir(root+"/"+p, 0o755))
			paths = append(paths, p+"/")
			paths = append(paths, r.tree(t, root, p, depth-1)...)
			continue
		}
		must(t, os.WriteFile(root+"/"+p, nil, 0o644))
		paths = append(paths, p)
	}
	return paths
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func git(t *testing.T, root string, stdin []byte, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir, cmd.Stdin = root, bytes.NewReader(stdin)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "HOME="+root, "XDG_CONFIG_HOME="+root, "LC_ALL=C")
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() == 1 && args[0] == "check-ignore" {
		err = nil // nothing is ignored
	}
	if err != nil {
		t.Fatalf("git %q: %v", args, err)
	}
	return out
}

// ours walks over the paths as a backup does, and returns those that are left out.
func ours(paths []string, lists map[string]*List) []string {
	slices.Sort(paths)
	dirs := map[string]*Dir{"": Root(lists[""])}
	gone := map[string]bool{}
	var out []string
	for _, p := range paths {
		clean, folder := strings.CutSuffix(p, "/")
		at, name := "", clean
		if i := strings.LastIndexByte(clean, '/'); i >= 0 {
			at, name = clean[:i], clean[i+1:]
		}
		if gone[at] || dirs[at].Verdict(name, folder) == LeaveOut {
			gone[clean] = true
			out = append(out, clean)
		} else if folder {
			dirs[clean] = dirs[at].Child(name, lists[clean])
		}
	}
	return out
}

func TestVerdict_RandomFiles_AsGit(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	s := *seed
	if s == 0 {
		s = testrand.Seed(t)
	}
	t.Logf("-ignore.seed=%d -ignore.rounds=%d", s, *rounds)
	r := random{rand.New(rand.NewPCG(s, 0))}
	root := t.TempDir()
	var paths []string
	ignored, asked := 0, 0
	for round := range *rounds {
		if round%50 == 0 { // another tree
			must(t, os.RemoveAll(root))
			must(t, os.Mkdir(root, 0o755))
			git(t, root, nil, "init", "-q", "--template=")
			paths = r.tree(t, root, "", 3)
		}
		lists := map[string]*List{}
		var shown strings.Builder
		folders := []string{""}
		for _, p := range paths {
			if dir, ok := strings.CutSuffix(p, "/"); ok {
				folders = append(folders, dir)
			}
		}
		slices.Sort(folders)
		for i, dir := range folders {
			must(t, os.RemoveAll(filepath.Join(root, dir+"/.gitignore")))
			if i > 0 && r.IntN(4) > 0 {
				continue
			}
			data := r.file()
			lists[dir] = Parse(data)
			must(t, os.WriteFile(root+"/"+dir+"/.gitignore", data, 0o644))
			fmt.Fprintf(&shown, "%q: %q\n", dir, data)
		}
		var stdin []byte
		for _, p := range paths {
			stdin = append(append(stdin, strings.TrimSuffix(p, "/")...), 0)
		}
		var want []string
		for p := range strings.SplitSeq(string(git(t, root, stdin, "check-ignore", "--no-index", "-z", "--stdin")), "\x00") {
			if p != "" {
				want = append(want, p)
			}
		}
		got := ours(paths, lists)
		slices.Sort(want)
		slices.Sort(got)
		asked, ignored = asked+len(paths), ignored+len(want)
		if !slices.Equal(got, want) {
			t.Fatalf("round %d: %q are left out\ngit leaves out %q\nfiles:\n%s", round, got, want, shown.String())
		}
	}
	t.Logf("%d sets of ignore files, %d paths, of which git ignores %d", *rounds, asked, ignored)
}
