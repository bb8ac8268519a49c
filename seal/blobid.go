package seal

import (
	"fmt"
	"sync"

	"github.com/zeebo/blake3"

	"github.com/kura-backup/kura/internal/object"
)

// BlobHasher gives blobs their ids. It is safe for concurrent use and does not allocate.
type BlobHasher struct {
	data, tree sync.Pool // of *keyedHash
}

// keyedHash has room for the sum, which would otherwise be allocated for each id.
type keyedHash struct {
	hasher *blake3.Hasher
	sum    [32]byte
}

func newBlobHasher(secret []byte) *BlobHasher {
	h := new(BlobHasher)
	h.data.New = keyedHashes(secret, "kura/1 id data")
	h.tree.New = keyedHashes(secret, "kura/1 id tree")
	return h
}

func keyedHashes(secret []byte, info string) func() any {
	key := derive(secret, nil, info, 32)
	return func() any {
		hasher, err := blake3.NewKeyed(key)
		if err != nil {
			panic(err) // the key has 32 bytes
		}
		return &keyedHash{hasher: hasher}
	}
}

// ID returns the id of a blob. A type that is neither data nor tree panics.
func (h *BlobHasher) ID(t object.BlobType, plaintext []byte) object.BlobID {
	var pool *sync.Pool
	switch t {
	case object.DataBlob:
		pool = &h.data
	case object.TreeBlob:
		pool = &h.tree
	default:
		panic(fmt.Sprintf("seal: id of a %s", t))
	}
	k := pool.Get().(*keyedHash)
	k.hasher.Reset()
	_, _ = k.hasher.Write(plaintext) // never fails
	id := object.BlobID(k.hasher.Sum(k.sum[:0]))
	pool.Put(k)
	return id
}
