package layers

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/kura-backup/kura/"

// formats turn bytes into bytes.
var formats = []string{"chunk", "seal", "pack", "pack/parity", "index", "tree", "delta", "internal/wire", "internal/zst", "internal/object"}

// helpers are there for tests alone.
var helpers = []string{
	"backends/fault", "backends/mem", "backends/storetest", "internal/testserver", "internal/durable/durabletest", "internal/durable/lossy", "internal/reader",
	"internal/testrand", "internal/testrepo", "internal/testsys", "internal/testvm", "internal/treecmp", "repo/model", "source/sourcetest",
}

// rule forbids packages (and what is below them, for those that end in /...) to import others.
type rule struct {
	from   []string
	except []string
	to     []string
	why    string
}

var rules = []rule{
	{
		from: formats,
		to:   []string{"os", "net", "net/http", "os/exec", "syscall", "golang.org/x/sys/unix", module + "backends/...", module + "internal/durable/..."},
		why:  "a format is bytes in, bytes out: one that does I/O can be neither fuzzed nor trusted with hostile bytes",
	},
	{
		from: append(slices.Clone(formats), "index/local/..."),
		to:   []string{module + "repo/...", module + "backup/...", module + "restore/...", module + "find/...", module + "source/...", module + "ui/..."},
		why:  "formats know nothing of what is built from them",
	},
	{
		from: []string{"backends/..."},
		to: []string{
			module + "seal", module + "pack/...", module + "index/...", module + "tree", module + "chunk", module + "delta",
			module + "internal/object", module + "internal/wire", module + "internal/zst", module + "repo/...",
		},
		why: "a backend that knows a format would treat objects differently by what is in them",
	},
	{
		from: []string{"pack/parity"},
		to:   []string{module + "seal", module + "pack"},
		why:  "parity mends without a key and without knowing what it mends: others judge the outcome",
	},
	{
		from: []string{"chunk"},
		to:   []string{"github.com/zeebo/blake3", "crypto/...", "hash/...", module + "seal"},
		why:  "cutting and naming are separate steps: chunks are hashed where they are looked up, once",
	},
	{
		from: []string{"internal/durable/..."},
		to:   []string{module + "backends/...", module + "repo/...", module + "seal"},
		why:  "the fsync rules serve whoever writes files and know no objects",
	},
	{
		from: []string{"repo/..."},
		to:   []string{module + "backup/...", module + "restore/...", module + "transfer/...", module + "retain/...", module + "find/...", module + "source/...", module + "chunk", module + "ui/..."},
		why:  "the repository stores blobs: what they are cut from, and who asks, is above it",
	},
	{
		from: []string{"repo/log"},
		to:   []string{module + "repo", module + "pack", module + "index/...", module + "tree"},
		why:  "the protocol's code decides over names alone, as its model does",
	},
	{
		from: []string{"repo/model/..."},
		to:   []string{module + "..."},
		why:  "the model is written from docs/protocol.md: if it shared code with what it models it would share its mistakes",
	},
	{
		from: []string{"source/..."},
		to:   []string{module + "repo/...", module + "backends/...", module + "seal", module + "backup/...", module + "restore/...", module + "ui/..."},
		why:  "what there is to back up is the same whatever it is stored in",
	},
	{
		from: []string{"backup/...", "restore/...", "transfer/..."},
		to:   []string{module + "backends/local", module + "backends/limit", module + "backends/location", module + "ui/..."},
		why:  "verbs work through an open repository, and report by events: which store it is, and who looks on, is not theirs",
	},
	{
		from: []string{"backup/..."},
		to:   []string{module + "restore/...", module + "transfer/..."},
		why:  "a verb that needs another has found what belongs below both",
	},
	{
		from: []string{"restore/..."},
		to:   []string{module + "backup/...", module + "transfer/...", module + "source/files"},
		why:  "a verb that needs another has found what belongs below both",
	},
	{
		from: []string{"transfer/..."},
		to:   []string{module + "backup/...", module + "restore/...", module + "source/..."},
		why:  "a copy knows nothing of where files come from and go to",
	},
	{
		from: []string{"find/..."},
		to: []string{
			"os", module + "repo/...", module + "backends/...", module + "backup/...", module + "restore/...", module + "transfer/...",
			module + "source/files", module + "ui/...",
		},
		why: "a search sees pages of trees, and where they come from, and what of that is damage, is for others to say: it is tested without a repository",
	},
	{
		from: []string{"runbook/..."},
		to: []string{
			"os/exec", module + "repo/...", module + "backends/...", module + "seal", module + "backup/...", module + "restore/...",
			module + "source/...", module + "ui/...",
		},
		why: "a plan is carried out by commands that somebody could type, each with all that it starts under control",
	},
	{
		from: []string{"internal/treecmp", "internal/testsys"},
		to:   []string{module + "backup/...", module + "restore/...", module + "source/...", module + "tree"},
		why:  "what decides whether a restore is right may not make the mistakes of backup and restore",
	},
	{
		from: []string{"repo/...", "backup/...", "restore/...", "transfer/...", "source/...", "backends/..."},
		to:   []string{module + "remote/..."},
		why:  "which machine the repository is on is not theirs: they get it open, and do as ever",
	},
	{
		from: []string{"remote/..."},
		to: []string{
			module + "backup/...", module + "restore/...", module + "transfer/...", module + "source/...", module + "ui/...",
			module + "chunk", module + "tree", module + "delta", module + "repo/gc", module + "repo/repair",
			"os", "os/exec", "net", "net/http",
		},
		why: "it carries a repository over a connection that it is given: what is done with it, and what the connection is, is not its own",
	},
	{
		from: []string{"remote/frames"},
		to:   []string{module + "repo/...", module + "seal", module + "backends/...", module + "internal/wire", module + "internal/object"},
		why:  "frames know nothing of what is in them",
	},
	{
		from: []string{"retain/..."},
		to:   []string{"os", "time/tzdata", module + "repo/...", module + "backends/...", "context"},
		why:  "which snapshots stay is a pure function of their list, and is tested as one",
	},
	{
		from: []string{"internal/reader"},
		to: []string{
			module + "seal", module + "pack/...", module + "index/...", module + "tree", module + "chunk", module + "repo/...",
			module + "internal/wire", module + "internal/zst", module + "internal/object",
		},
		why: "the reader shows that docs/format.md says enough: it may not borrow from the code that the page describes",
	},
	{
		from:   []string{"..."},
		except: append(slices.Clone(helpers), "bench/..."), // measures, and does not ship
		to:     inModule(helpers),
		why:    "what is made for tests is weaker or slower than the real thing, and does not ship",
	},
	{
		from: []string{"..."},
		to:   []string{module + "cmd/..."},
		why:  "commands call, and are not called",
	},
	{
		from: []string{"..."},
		to:   []string{"github.com/pkg/errors", "math/rand", "io/ioutil"},
		why:  "errors are wrapped with %w; math/rand has a global state, math/rand/v2 need not",
	},
}

func inModule(pkgs []string) []string {
	out := make([]string, len(pkgs))
	for i, p := range pkgs {
		out[i] = module + p
	}
	return out
}

// call forbids a function, or a variable, outside of some places.
type call struct {
	pkg, name string // name may end in *
	allowed   []string
	why       string
}

var calls = []call{
	{"time", "Now", []string{"internal/clock", "cmd/...", "ui/...", "bench/..."}, "time comes from internal/clock, so that tests can set it"},
	{"time", "Since", []string{"internal/clock", "cmd/...", "ui/...", "bench/..."}, "time comes from internal/clock, so that tests can set it"},
	{"os", "Exit", []string{"cmd/kura", "bench/..."}, "only main ends the process: others would skip what is deferred"},
	{"fmt", "Print*", []string{"ui/...", "cmd/...", "bench/..."}, "verbs report events; printing them is for ui"},
	{"os", "Stdout", []string{"ui/...", "cmd/...", "bench/..."}, "verbs report events; printing them is for ui"},
	{"os", "Stderr", []string{"ui/...", "cmd/...", "bench/...", "internal/process"}, "verbs report events; printing them is for ui (a child process inherits it)"},
	{"log", "*", nil, "there is no log besides what ui prints"},
	{"rand", "IntN", nil, "randomness has a seed that is logged, or comes from crypto/rand"},
	{"rand", "N", nil, "randomness has a seed that is logged, or comes from crypto/rand"},
	{"rand", "Shuffle", nil, "randomness has a seed that is logged, or comes from crypto/rand"},
}

// file is a Go file that is not a test.
type file struct {
	pkg  string // folder below the module
	path string
	ast  *ast.File
	fset *token.FileSet
}

func load(t *testing.T) []file {
	t.Helper()
	root := filepath.Join("..", "..")
	var files []file
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && d.Name() != "..") {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") {
			return nil
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, p, nil, 0)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, filepath.Dir(p))
		files = append(files, file{pkg: filepath.ToSlash(rel), path: p, ast: f, fset: fset})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 50 {
		t.Fatalf("only %d files were found", len(files))
	}
	return files
}

// matches reports whether a name fits one of the patterns.
func matches(name string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		if p == "..." {
			return true
		}
		if base, ok := strings.CutSuffix(p, "/..."); ok {
			return name == base || strings.HasPrefix(name, base+"/")
		}
		return name == p
	})
}

func TestImports_LayersAreKept(t *testing.T) {
	for _, f := range load(t) {
		for _, imp := range f.ast.Imports {
			name, err := strconv.Unquote(imp.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range forbidden(f.pkg, name) {
				t.Errorf("%s imports %s: %s", f.path, name, v)
			}
		}
	}
}

// forbidden returns why a package may not import another.
func forbidden(pkg, name string) (why []string) {
	for _, r := range rules {
		if matches(pkg, r.from) && !matches(pkg, r.except) && matches(name, r.to) && name != module+pkg && !inside(pkg, name, r) {
			why = append(why, r.why)
		}
	}
	return why
}

// inside reports whether both are below the same pattern: packages of one layer may import each other.
func inside(pkg, name string, r rule) bool {
	rel, ok := strings.CutPrefix(name, module)
	return ok && matches(rel, r.from) && slices.ContainsFunc(r.from, func(p string) bool {
		return p != "..." && strings.HasSuffix(p, "/...") && matches(pkg, []string{p}) && matches(rel, []string{p})
	})
}

// TestForbidden_KnowsOffenders shows that the rules bite.
func TestForbidden_KnowsOffenders(t *testing.T) {
	for _, c := range []struct{ pkg, imports string }{
		{"pack", "os"},
		{"tree", module + "backends/local"},
		{"backends/local", module + "seal"},
		{"chunk", "github.com/zeebo/blake3"},
		{"repo", module + "backup"},
		{"repo/log", module + "tree"},
		{"repo/model", module + "repo/log"},
		{"ui", module + "cmd/kura"},
		{"internal/reader", module + "seal"},
		{"retain", module + "repo"},
		{"index/local", module + "repo"},
		{"backup", "math/rand"},
		{"backup", module + "ui"},
		{"restore", module + "source/files"},
		{"source/ignore", module + "repo"},
		{"find", module + "repo"},
		{"runbook", "os/exec"},
		{"pack/parity", module + "seal"},
		{"internal/treecmp", module + "tree"},
		{"backends/limit", module + "pack/parity"},
		{"repo/repair", module + "ui"},
		{"repo", module + "backends/mem"},
		{"cmd/kura", module + "internal/testrepo"},
	} {
		if len(forbidden(c.pkg, c.imports)) == 0 {
			t.Errorf("%s may import %s", c.pkg, c.imports)
		}
	}
	for _, c := range []struct{ pkg, imports string }{
		{"repo", module + "repo/log"},
		{"backends/fault", module + "backends"},
		{"index/local", "os"},
		{"pack", module + "seal"},
		{"cmd/kura", module + "ui"},
		{"pack", module + "pack/parity"},
		{"restore", module + "source/pattern"},
		{"repo/repair", module + "repo/log"},
		{"internal/testrepo", module + "backends/mem"},
	} {
		if why := forbidden(c.pkg, c.imports); len(why) > 0 {
			t.Errorf("%s may not import %s: %v", c.pkg, c.imports, why)
		}
	}
}

func TestCalls_StayInThePackagesMadeForThem(t *testing.T) {
	for _, f := range load(t) {
		imported := map[string]bool{}
		for _, imp := range f.ast.Imports {
			if imp.Name == nil {
				p, _ := strconv.Unquote(imp.Path.Value)
				if !strings.Contains(p, ".") { // of the standard library
					imported[strings.TrimSuffix(path.Base(p), "/v2")] = true
					if p == "math/rand/v2" {
						imported["rand"] = true
					}
				}
			}
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, ok := sel.X.(*ast.Ident)
			if !ok || !imported[x.Name] {
				return true
			}
			for _, c := range calls {
				hit, err := path.Match(c.name, sel.Sel.Name)
				if err != nil {
					t.Fatal(err)
				}
				if c.pkg == x.Name && hit && !matches(f.pkg, c.allowed) {
					t.Errorf("%v: %s.%s: %s", f.fset.Position(sel.Pos()), x.Name, sel.Sel.Name, c.why)
				}
			}
			return true
		})
	}
}
