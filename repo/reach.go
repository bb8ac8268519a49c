package repo

// Reach says how ranges of packs are joined: reading is nearly free where a request is; elsewhere a request costs
// as much as half a megabyte.
type Reach struct {
	Gap   int64 // bytes between two segments that are rather read than left out
	Limit int64 // of a range of more than one segment
}

// Reach is that of the repository's store.
func (r *Repository) Reach() Reach {
	if r.store.Caps().Local {
		return Reach{Gap: 32 << 10, Limit: 2 << 20}
	}
	return Reach{Gap: 512 << 10, Limit: 4 << 20}
}

// Joins reports whether s, which lies behind the range, is to be read together with it.
func (r Reach) Joins(from, length int64, s *Segment) bool {
	at, end := int64(s.At), int64(s.At)+int64(s.Stored)
	return at-(from+length) <= r.Gap && end-from <= r.Limit
}
