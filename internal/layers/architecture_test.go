package layers

import (
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var placeName = regexp.MustCompile(`[a-z][a-z0-9/]*`)

// TestArchitecture_EachPackage_HasItsPlace compares the packages that docs/architecture.md lists with those that there are.
func TestArchitecture_EachPackage_HasItsPlace(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, list, found := strings.Cut(string(page), "\n## Packages\n")
	list, _, ends := strings.Cut(list, "\nImports go one way")
	if !found || !ends {
		t.Fatal("the list of packages is not where it was")
	}
	named := map[string]bool{}
	for _, name := range placeName.FindAllString(list, -1) {
		named[name] = true
	}
	there := map[string]bool{} // packages, and the folders that they are in
	for _, f := range load(t) {
		// A package may be named without the folder that it is in, next to its neighbours.
		if !there[f.pkg] && !named[f.pkg] && !named[path.Base(f.pkg)] {
			t.Errorf("docs/architecture.md does not say what %s is for", f.pkg)
		}
		there[f.pkg] = true
	}
	for _, name := range slices.Sorted(maps.Keys(named)) {
		if strings.Contains(name, "/") && !there[strings.TrimSuffix(name, "/")] {
			t.Errorf("docs/architecture.md lists %s, which is no package", name)
		}
	}
}
