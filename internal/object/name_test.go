package object

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestTopNames_EveryNameAndPrefix_IsThere: what is not there is backed up with what lies beside a repository.
func TestTopNames_EveryNameAndPrefix_IsThere(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "name.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Names) != 1 || len(spec.Values) != 1 {
			return true
		}
		name := spec.Names[0].Name
		lit, ok := spec.Values[0].(*ast.BasicLit)
		if !ok || lit.Kind != token.STRING || !strings.HasSuffix(name, "Name") && !strings.HasSuffix(name, "Prefix") {
			return true
		}
		value, err := strconv.Unquote(lit.Value)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, strings.TrimSuffix(value, "/"))
		return true
	})
	got := TopNames()
	slices.Sort(got)
	slices.Sort(want)
	if len(want) < 12 || !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestParseRef_NamesOfAllClasses_RoundTrip(t *testing.T) {
	for class, prefix := range map[Class]string{
		DataPack: "data/", TreePack: "tree/", Index: "index/", Parity: "parity/", Record: "records/",
	} {
		ref := Ref{Class: class, Session: SessionID{1, 0xab}, Hash: Hash{2, 0xcd}}
		name := prefix + "01ab" + strings.Repeat("0", 28) + "-02cd" + strings.Repeat("0", 60)
		if ref.Name() != name {
			t.Errorf("name %q, want %q", ref.Name(), name)
		}
		if got, err := ParseRef(name); err != nil || got != ref {
			t.Errorf("%q: %v, %v", name, got, err)
		}
		aside := "quarantine/" + class.String() + "-" + strings.TrimPrefix(name, prefix)
		if QuarantineName(ref) != aside {
			t.Errorf("quarantine name %q, want %q", QuarantineName(ref), aside)
		}
		if got, err := ParseQuarantineName(aside); err != nil || got != ref {
			t.Errorf("%q: %v, %v", aside, got, err)
		}
	}
}

func TestParseRef_OtherNames_Refused(t *testing.T) {
	sid, hash := strings.Repeat("0", 32), strings.Repeat("a", 64)
	for _, name := range []string{
		"", "-", sid + "-" + hash, "data/", "data/" + sid, "data/" + sid + hash, "data/" + sid + "-" + hash[1:], "data/" + sid + "-" + hash + "0",
		"data/" + sid + "-" + strings.ToUpper(hash), "data/" + sid[1:] + "-" + hash, "Data/" + sid + "-" + hash, "sessions/" + sid + "-" + hash,
		"quarantine/data-" + sid + "-" + hash, "log/0000000000000001",
	} {
		if ref, err := ParseRef(name); err == nil {
			t.Errorf("%q is read as %v", name, ref)
		}
	}
	for _, name := range []string{
		"", "quarantine/", "data-" + sid + "-" + hash, "quarantine/log-" + sid + "-" + hash, "quarantine/" + sid + "-" + hash,
		"quarantine/-" + sid + "-" + hash, "quarantine/data-" + sid + "-" + hash[1:], "quarantine/class 0-" + sid + "-" + hash,
		"quarantine/data/" + sid + "-" + hash,
	} {
		if ref, err := ParseQuarantineName(name); err == nil {
			t.Errorf("%q is read as %v", name, ref)
		}
	}
}
