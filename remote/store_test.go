package remote

import (
	"testing"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/backends/storetest"
)

func TestStore_OverAPipe_KeepsTheContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) backends.Store { return bare(t, mem.New(), newPipe()) })
}
