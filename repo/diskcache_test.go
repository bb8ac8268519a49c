package repo

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestDiskCache_Full_TheLeastUsedGo: what is kept never takes more than it may, and what was used last stays.
func TestDiskCache_Full_TheLeastUsedGo(t *testing.T) {
	const limit, size = 20_000, 1000
	dir := filepath.Join(t.TempDir(), "cache")
	c := newDiskCache(dir, limit)
	onDisk := func() (sum int64) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil {
				t.Fatal(err)
			}
			sum += info.Size()
		}
		return sum
	}
	for n := range 100 {
		if err := c.keep(fmt.Sprint(n), make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		if sum := onDisk(); sum > limit {
			t.Fatalf("%d bytes are kept after %d files", sum, n+1)
		}
		then := time.Unix(1_000_000+int64(n), 0) // as clocks of files go
		if err := os.Chtimes(c.file(fmt.Sprint(n)), then, then); err != nil {
			t.Fatal(err)
		}
	}
	if c.read("99", 0, -1) == nil || c.read("0", 0, -1) != nil || onDisk() < limit/2 {
		t.Errorf("the newest is kept: %v, the oldest: %v; %d bytes", c.has("99"), c.has("0"), onDisk())
	}
	// Another process has filled it meanwhile.
	for n := range 50 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint("other", n)), make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	again := newDiskCache(dir, limit)
	if err := again.keep("mine", make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	if sum := onDisk(); sum > limit || again.read("mine", 0, -1) == nil {
		t.Errorf("%d bytes, and its own is kept: %v", sum, again.has("mine"))
	}
}
