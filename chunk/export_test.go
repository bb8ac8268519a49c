package chunk

// WithSizes lets pieces and slabs be so small that a short stream has many.
func (a *Ahead) WithSizes(piece, slab int) *Ahead {
	a.piece, a.slab = piece, slab
	return a
}

// Least sizes of slabs.
const HoleRoom = holeRoom
