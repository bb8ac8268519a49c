package gc

import (
	"testing"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/repo/log"
)

func TestSliceSize_GrowsWithLargeRepositories(t *testing.T) {
	for _, c := range []struct {
		packs int
		size  int64 // of each
		want  int64
	}{
		{0, 0, 8 << 30},
		{1, 16 << 20, 8 << 30},
		{512, 1 << 30, 8 << 30},
		{1024, 1 << 30, 16 << 30},
		{1 << 15, 1 << 30, 256 << 30},
	} {
		packs := map[object.Ref]log.Pack{}
		for i := range c.packs {
			packs[object.Ref{Hash: object.Hash{byte(i), byte(i >> 8)}}] = log.Pack{Size: c.size}
		}
		if got := sliceSize(packs); got != c.want {
			t.Errorf("%d packs of %d bytes: %d, want %d", c.packs, c.size, got, c.want)
		}
	}
}
