package delta

// Common is common, for tests.
func Common(a, b []byte) int { return common(a, b) }

// EncodeWhole is Encode that always searches the whole base.
func (e *Encoder) EncodeWhole(base, target []byte, limit int) ([]byte, bool) {
	e.base, e.target = base, target
	defer e.release()
	if !e.searchWhole(limit) {
		return nil, false
	}
	out, _, ok := e.appendStream(nil, limit)
	return out, ok
}
