package tree

import "bytes"

// Clone returns a writer in the same state: both can go on with different nodes. Pages that were
// written before belong to both.
func (w *DirWriter) Clone() *DirWriter {
	c := &DirWriter{save: w.save, last: w.last, err: w.err}
	for i := range w.levels {
		level := w.levels[i]
		level.page.buf = bytes.Clone(level.page.buf)
		c.levels = append(c.levels, level)
	}
	return c
}
