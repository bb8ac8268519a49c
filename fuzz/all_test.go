package fuzz

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// decoder names functions that make sense of bytes or words from outside.
var decoder = regexp.MustCompile(`^(Decode|Parse|Open|Split|Unmarshal|Verify|Mend)`)

// notFuzzed are such functions that no target calls, with the reasons.
var notFuzzed = map[string]string{
	"pack.ParseSketch":    "is a part of DecodeDirectory and of the index",
	"pack.SplitIDs":       "is a part of DecodeDirectory and of the index",
	"repo.DecodeSegment":  "decrypts, and then is pack.DecodeSegment",
	"log.Open":            "opens a log in a store; its entries and checkpoints are fuzzed",
	"repo.Open":           "opens a store; its objects are fuzzed",
	"local.Open":          "opens a folder; what index/local reads in its files is fuzzed there",
	"s3.Open":             "opens a store",
	"sftp.Open":           "opens a store",
	"durable.OpenDir":     "opens a folder",
	"jail.Open":           "opens a folder",
	"snapshot.OpenLeases": "opens a folder",
	"runbook.OpenState":   "opens a folder",
	"device.OpenTarget":   "opens a device",
	"mysql.Open":          "opens a connection",
	"testrepo.Open":       "is for tests",
	"testsys.VerifyMain":  "is for tests",
	"testsys.VerifyNone":  "is for tests",
	"reader.Open":         "is for tests",
}

// TestTargets_EveryExportedDecoder_IsFuzzed looks for exported functions that decode, and that no fuzz target here, nor one in the
// function's own package, calls.
func TestTargets_EveryExportedDecoder_IsFuzzed(t *testing.T) {
	root := ".."
	here := readTests(t, ".")
	found := 0
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if name := d.Name(); name == "testdata" || name == "bench" || name == "demo" || strings.HasPrefix(name, ".") && name != ".." {
			return fs.SkipDir
		}
		own := ""
		for pkg, names := range exported(t, p) {
			for _, name := range names {
				found++
				call := pkg + "." + name
				if own == "" {
					own = readTests(t, p) + " "
				}
				called := strings.Contains(here, call+"(") || strings.Contains(here, call+"}") || strings.Contains(here, call+",") ||
					strings.Contains(own, "func Fuzz") && regexp.MustCompile(`\b`+name+`[(,]`).MatchString(own)
				_, excepted := notFuzzed[call]
				switch {
				case called && excepted:
					t.Errorf("%s is fuzzed, and said not to be", call)
				case !called && !excepted:
					t.Errorf("no fuzz target calls %s", call)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found < 30 {
		t.Fatalf("only %d decoders were found: the test showed nothing", found)
	}
}

// exported returns the exported functions of the package in a folder that decode.
func exported(t *testing.T, dir string) map[string][]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, e.Name()), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.IsExported() && decoder.MatchString(f.Name.Name) {
				out[file.Name.Name] = append(out[file.Name.Name], f.Name.Name)
			}
		}
	}
	return out
}

// readTests returns the text of the files of tests in a folder that have fuzz targets.
func readTests(t *testing.T, dir string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "\nfunc Fuzz") {
			all.Write(text)
		}
	}
	return all.String()
}
