package tree

// maxPageHead is the most that comes before a page's first item: the page's map, its key, and the
// head of the array.
const maxPageHead = 2 + 5

// pageBuffer gathers the encoded items of a leaf or an inner page. Their number is known only in the
// end, so room for the head is left in front.
type pageBuffer struct {
	kind  PageKind
	buf   []byte
	count int
	first string
}

func newPageBuffer(kind PageKind) pageBuffer {
	return pageBuffer{kind: kind, buf: make([]byte, maxPageHead)}
}

func (b *pageBuffer) reset() { b.buf, b.count, b.first = b.buf[:maxPageHead], 0, "" }

// size returns the length of the page.
func (b *pageBuffer) size() int { return b.sizeWith(0, 0) }

// sizeWith returns the length of the page if it had more items of so many bytes.
func (b *pageBuffer) sizeWith(items, bytes int) int {
	return 2 + headLen(uint64(b.count+items)) + len(b.buf) - maxPageHead + bytes
}

func (b *pageBuffer) add(item []byte, name string) {
	if b.count == 0 {
		b.first = name
	}
	b.count++
	b.buf = append(b.buf, item...)
}

// bytes returns the page. It is valid until the next add or reset.
func (b *pageBuffer) bytes() []byte {
	start := maxPageHead - 2 - headLen(uint64(b.count))
	appendHead(append(b.buf[start:start], majorMap<<5|1, byte(b.kind)), majorArray, uint64(b.count))
	return b.buf[start:]
}
