package repo

import (
	"fmt"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/pack"
)

// Packing says how packs are made. The zero value is the default.
type Packing struct {
	Size   int  // bytes of segments in a data pack; 0 means [pack.DataTarget]
	Parity int  // percent of each pack that mend its damage; 0 means [pack.DefaultParity], negative none
	Groups bool // parity across packs, too, so that a lost pack can be made again
}

// MinPackSize is the least that Packing.Size may be. The most is what leaves room in [pack.MaxPackSize] for
// directory and parity.
const MinPackSize = pack.TreeTarget

// Options returns how packs of a class are made.
func (p Packing) Options(class object.Class) pack.Options {
	o := pack.Options{Parity: max(p.Parity, 0)}
	if p.Parity == 0 {
		o.Parity = pack.DefaultParity
	}
	if class == object.DataPack {
		o.Target = p.Size
	}
	return o
}

// Check refuses packs that can not be made.
func (p Packing) Check() error {
	if p.Size != 0 && p.Size < MinPackSize {
		return fmt.Errorf("repo: packs of %d bytes are too small: at least %d", p.Size, MinPackSize)
	}
	for _, class := range []object.Class{object.DataPack, object.TreePack} {
		if err := p.Options(class).Check(class); err != nil {
			return err
		}
	}
	return nil
}
