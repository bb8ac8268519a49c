package tree_test

import (
	"fmt"
	"testing"

	"github.com/kura-backup/kura/tree"
)

// A clone ends the folder early, again and again; the writer goes on as if there had been none.
func TestDirWriter_CloneFinishedEarly_BothAreRightFolders(t *testing.T) {
	var nodes []tree.Node
	for i := range 3000 {
		nodes = append(nodes, tree.Node{Name: fmt.Sprintf("file %05d", i), Type: tree.FIFO, Mode: 0o644})
	}
	m := newMemory()
	w := tree.NewDirWriter(m.save)
	for i := range nodes {
		if i%701 == 0 {
			early, err := w.Clone().Finish(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			want, err := tree.WriteDir(t.Context(), nodes[:i:i], m.save)
			if err != nil || early != want {
				t.Errorf("after %d nodes: %s, not %s, %v", i, early.Short(), want.Short(), err)
			}
		}
		if err := w.Add(t.Context(), &nodes[i]); err != nil {
			t.Fatal(err)
		}
	}
	got, err := w.Finish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want, err := tree.WriteDir(t.Context(), nodes, m.save)
	if err != nil || got != want {
		t.Errorf("the writer's folder is %s, not %s, %v", got.Short(), want.Short(), err)
	}
}
