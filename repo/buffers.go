package repo

import (
	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/pack"
)

// The budget of bytes in flight is 96 MiB: pack buffers (four for data packs, two for tree packs,
// some 78 MiB with room for their directories and parity; a far store has one more for data packs,
// see dataBuffers), and inFlight for plaintext on its way into them. That
// must have room for the largest blob beside two groups of small ones, which are not on their way
// until others join them: with less, a single caller would wait for itself.
const inFlight = object.MaxBlobSize + 2*pack.GroupTarget
