package main

import (
	"encoding/json"
	"slices"

	"github.com/rogpeppe/go-internal/testscript"
)

// catall prints every pack and index segment that log entry 2 names, and every blob in them.
func cmdCatAll(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: catall")
	}
	print := func(v any, args ...string) {
		ts.Check(ts.Exec("kura", append([]string{"cat"}, args...)...))
		if v != nil {
			ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), v))
		}
	}
	type segments struct {
		Segments []struct {
			Pack  string
			Plain int
			Blobs []struct {
				ID     string
				Length int
			}
		}
	}
	var entry struct{ Add, Index []struct{ Name string } }
	print(&entry, "log", "2")
	var inPacks, inIndex []string
	for _, p := range entry.Add {
		var pack segments
		print(&pack, "pack", p.Name)
		for _, s := range pack.Segments {
			for _, b := range s.Blobs {
				inPacks = append(inPacks, b.ID)
				print(nil, "blob", b.ID)
				if got := len(ts.ReadFile("stdout")); got != b.Length {
					ts.Fatalf("blob %s has %d bytes, listed with %d", b.ID, got, b.Length)
				}
			}
		}
	}
	for _, p := range entry.Index {
		var ix segments
		print(&ix, "index", p.Name)
		for _, s := range ix.Segments {
			for _, b := range s.Blobs {
				inIndex = append(inIndex, b.ID)
			}
		}
	}
	slices.Sort(inPacks)
	slices.Sort(inIndex)
	if len(inPacks) == 0 || !slices.Equal(inPacks, inIndex) {
		ts.Fatalf("blobs in packs: %v, in the index: %v", inPacks, inIndex)
	}
}
