package tree_test

import (
	"fmt"
	"testing"

	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/tree"
)

// benchLeaf is a page of 256 ordinary files. Results are for a node.
func benchLeaf(b *testing.B) (*tree.Page, []byte) {
	p := &tree.Page{Kind: tree.Leaf}
	for i := range 256 {
		p.Nodes = append(p.Nodes, file(fmt.Sprintf("some-file-name-%03d.go", i)))
	}
	data, err := tree.EncodePage(p)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(len(data))/256, "bytes/node")
	return p, data
}

func perNode(b *testing.B) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/256, "ns/node")
}

func BenchmarkDirWriter(b *testing.B) {
	p, _ := benchLeaf(b)
	m := newMemory()
	w := tree.NewDirWriter(m.save)
	b.ReportAllocs()
	for b.Loop() {
		for i := range p.Nodes {
			if err := w.Add(ctx, &p.Nodes[i]); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := w.Finish(ctx); err != nil {
			b.Fatal(err)
		}
	}
	perNode(b)
}

func BenchmarkDecodePage(b *testing.B) {
	_, data := benchLeaf(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tree.DecodePage(data); err != nil {
			b.Fatal(err)
		}
	}
	perNode(b)
}

func BenchmarkReadDir(b *testing.B) {
	p, _ := benchLeaf(b)
	m := newMemory()
	id, err := tree.WriteDir(ctx, p.Nodes, m.save)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, err := range tree.ReadDir(ctx, id, m.load) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	perNode(b)
}

func BenchmarkRefs(b *testing.B) {
	_, data := benchLeaf(b)
	b.ReportAllocs()
	for b.Loop() {
		for _, err := range tree.Refs(data) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	perNode(b)
}

func BenchmarkLibrary_Marshal(b *testing.B) {
	p, _ := benchLeaf(b)
	nodes := make([]refNode, len(p.Nodes))
	for i := range nodes {
		nodes[i] = toRefNode(&p.Nodes[i])
	}
	for b.Loop() {
		if _, err := wire.Marshal(&refPage{Leaf: &nodes}); err != nil {
			b.Fatal(err)
		}
	}
	perNode(b)
}

func BenchmarkLibrary_Unmarshal(b *testing.B) {
	_, data := benchLeaf(b)
	for b.Loop() {
		var r refPage
		if err := wire.Unmarshal(data, &r); err != nil {
			b.Fatal(err)
		}
	}
	perNode(b)
}
