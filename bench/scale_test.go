package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseScaleSize_WithUnits_IsWhatItWrites(t *testing.T) {
	for text, want := range map[string]scaleSize{
		"1Mx100":       {1_000_000, 100},
		"20Mx10k":      {20_000_000, 10_000},
		"5000000x1000": {5_000_000, 1000},
		"1500x7":       {1500, 7},
	} {
		got, err := parseScaleSize(text)
		if err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
		if again, err := parseScaleSize(got.String()); err != nil || again != got {
			t.Errorf("%v is written as %s", got, got)
		}
	}
	for _, text := range []string{"", "5M", "x", "0x1", "1x0", "-1x5", "1.5Mx3", "5Gx1", "1x9999999999"} {
		if got, err := parseScaleSize(text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}

func TestScaleTable_OfTwoSizes_SaysHowTheyGrew(t *testing.T) {
	result := func(size scaleSize, n int64) scaleResult {
		u := usage{wall: time.Duration(n) * time.Second, cpu: 2 * time.Second, anon: n << 20}
		return scaleResult{size, []fact{{"packs", "7"}}, []string{"open"}, map[string]usage{"open": u}}
	}
	got := scaleTable([]scaleResult{result(scaleSize{1000, 1}, 10), result(scaleSize{2000, 1}, 40)})
	want := table{
		head: []string{"step", "", "1kx1", "2kx1", "×"},
		rows: [][]string{
			{"packs", "", "7", "7", ""},
			{"open", "wall s", "10.0", "40.0", "4.00"},
			{"", "CPU s", "2.000", "2.000", "1.00"},
			{"", "RssAnon MiB", "10.0", "40.0", "4.00"},
		},
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(table{})); d != "" {
		t.Error(d)
	}
}

func TestScaleData_SizeAndContent_BelongTogether(t *testing.T) {
	d := &scaleData{size: scaleSize{blobs: 100 * fileBlobs, snapshots: 1}, folder: t.TempDir()}
	if err := d.makeFiles(); err != nil {
		t.Fatal(err)
	}
	files, bytes, err := sizeOfTree(d.data())
	if err != nil || files != 100 {
		t.Fatalf("%d files, %v", files, err)
	}
	want := int64(0)
	for i := range files {
		want += fileSize(i)
	}
	if bytes != want || want != 100*fileBlobs*blobBytes+2*(largeBytes-blobBytes) {
		t.Errorf("%d bytes, not %d", bytes, want)
	}
	if _, err := os.Stat(filepath.Join(d.data(), leafPath(99), "19")); err != nil {
		t.Error(err)
	}
}

func TestLinkTree_ObjectRemovedFromTheCopy_StaysInTheOther(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	if err := os.MkdirAll(filepath.Join(from, "data"), 0o755); err != nil {
		t.Fatal(err)
	}
	object := filepath.Join("data", "x")
	if err := os.WriteFile(filepath.Join(from, object), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := linkTree(from, to); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(to, object)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(from, object)); err != nil {
		t.Error(err)
	}
}
