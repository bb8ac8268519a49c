package lossy

import (
	"iter"
	"math/rand/v2"
)

// Player goes through the operations of a disk once more and makes the disks that
// a power failure may leave after each of them. It is not safe for concurrent use.
type Player struct {
	// Scratch is a folder whose names say nothing, such as that of temporary files:
	// what is kept of its changes is always drawn at random.
	Scratch string

	disk  *Disk
	ops   []op
	at    int
	files map[*node]*content
	names map[*node]map[string]*node // of folders, as far as they are durable
	open  []change                   // of names, not durable yet, oldest first
	rng   *rand.Rand
	seen  map[uint64]bool
}

// content is how far a file's bytes are durable.
type content struct {
	size, synced int
	holed        bool // an fsync failed, and none makes up for it
}

// NewPlayer returns a player before the first operation that d has recorded so
// far.
func NewPlayer(d *Disk, rng *rand.Rand) *Player {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &Player{
		disk: d, ops: d.ops[:len(d.ops):len(d.ops)], rng: rng,
		files: map[*node]*content{}, names: map[*node]map[string]*node{}, seen: map[uint64]bool{},
	}
}

// At is how many operations were done.
func (p *Player) At() int { return p.at }

// Step does the next operation, if there is one.
func (p *Player) Step() bool {
	if p.at == len(p.ops) {
		return false
	}
	o := p.ops[p.at]
	p.at++
	switch {
	case o.written != nil:
		p.content(o.written).size = o.size
	case o.dropped != nil:
		p.content(o.dropped).holed = true
	case o.synced != nil && o.synced.dir:
		p.syncFolder(o.synced)
	case o.synced != nil:
		if c := p.content(o.synced); !c.holed {
			c.synced = c.size
		}
	}
	p.open = append(p.open, o.changes...)
	return true
}

func (p *Player) content(n *node) *content {
	c := p.files[n]
	if c == nil {
		c = &content{}
		p.files[n] = c
	}
	return c
}

func (p *Player) syncFolder(folder *node) {
	rest := p.open[:0]
	for _, c := range p.open {
		if c.folder == folder {
			c.apply(p.durable(folder))
		} else {
			rest = append(rest, c)
		}
	}
	p.open = rest
}

func (p *Player) durable(folder *node) map[string]*node {
	names := p.names[folder]
	if names == nil {
		names = make(map[string]*node)
		p.names[folder] = names
	}
	return names
}

// States yields disks that a power failure at this moment may leave: all
// combinations of changes kept and lost if there are at most max, otherwise the
// two extremes and a random choice. A disk that was yielded before, with the same
// epoch, is left out.
func (p *Player) States(max int, epoch uint64) iter.Seq[*Disk] {
	return func(yield func(*Disk) bool) {
		n := 0 // changes outside of Scratch
		for _, c := range p.open {
			if c.folder.path != p.Scratch {
				n++
			}
		}
		all := n < 16 && 1<<n <= max
		count := max
		if all {
			count = 1 << n
		}
		for i := range count {
			d, digest := p.state(p.choice(i, all))
			digest = mix(digest, epoch)
			if p.seen[digest] {
				continue
			}
			p.seen[digest] = true
			if !yield(d) {
				return
			}
		}
	}
}

// choice is the i-th way to keep changes: by the bits of i if all are wanted.
func (p *Player) choice(i int, all bool) func(k int) bool {
	switch {
	case all:
		return func(k int) bool { return i>>k&1 != 0 }
	case i == 0:
		return func(int) bool { return false }
	case i == 1:
		return func(int) bool { return true }
	}
	share := [...]float64{0.1, 0.5, 0.9}[i%3]
	return func(int) bool { return p.rng.Float64() < share }
}

// state makes a disk. keep is asked with the number of each change outside of
// Scratch.
func (p *Player) state(keep func(k int) bool) (*Disk, uint64) {
	kept := make(map[*node][]change)
	scratch, k := p.rng.IntN(3), 0
	for _, c := range p.open {
		ok := false
		if c.folder.path == p.Scratch {
			ok = scratch == 0 || scratch == 1 && p.rng.IntN(2) == 0
		} else {
			ok = keep(k)
			k++
		}
		if ok {
			kept[c.folder] = append(kept[c.folder], c)
		}
	}
	b := builder{p: p, kept: kept, disk: &Disk{}, made: map[*node]*node{}, digests: map[*node]uint64{}}
	root, digest := b.folder(p.disk.root)
	b.disk.root = root
	return b.disk, digest
}

// builder makes one disk.
type builder struct {
	p       *Player
	kept    map[*node][]change
	disk    *Disk
	made    map[*node]*node // files: one can have several names
	digests map[*node]uint64
}

func (b *builder) folder(n *node) (*node, uint64) {
	out := b.disk.newNode(true, n.path, n.mode, n.mtime)
	for name, child := range b.p.names[n] {
		out.names[name] = child
	}
	for _, c := range b.kept[n] {
		c.apply(out.names)
	}
	digest := uint64(0)
	for name, child := range out.names {
		var d uint64
		if child.dir {
			out.names[name], d = b.folder(child)
		} else {
			out.names[name], d = b.file(child)
		}
		digest += mix(hash(name), d)
	}
	return out, mix(n.id, digest)
}

func (b *builder) file(n *node) (*node, uint64) {
	if made := b.made[n]; made != nil {
		return made, b.digests[n]
	}
	out := b.disk.newNode(false, "", n.mode, n.mtime)
	digest := n.id
	if c := b.p.files[n]; c != nil {
		if c.synced == c.size {
			out.data = n.data[:c.size:c.size]
			digest = mix(digest, uint64(c.size))
		} else {
			out.data = tear(b.p.rng, n.data[:c.size], c.synced)
			digest = mix(digest, hash(string(out.data)))
		}
	}
	b.made[n], b.digests[n] = out, digest
	return out, digest
}

const sector = 512

// tear returns what may be on the disk of data of which only the first synced
// bytes are safe.
func tear(rng *rand.Rand, data []byte, synced int) []byte {
	out := append(make([]byte, 0, len(data)), data...)
	switch rng.IntN(5) {
	case 0: // nothing of it
		return out[:synced]
	case 1: // all of it
	case 2: // the beginning
		return out[:synced+rng.IntN(len(data)-synced+1)]
	case 3: // the size alone
		clear(out[synced:])
	case 4:
		for at := synced; at < len(out); {
			end := min((at/sector+1)*sector, len(out))
			switch rng.IntN(3) {
			case 0:
				clear(out[at:end])
			case 1:
				for i := at; i < end; i++ {
					out[i] = byte(rng.Uint32())
				}
			}
			at = end
		}
	}
	return out
}

// hash is FNV-1a.
func hash(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

// mix makes one number of two, by the finaliser of splitmix64.
func mix(a, b uint64) uint64 {
	x := a*0x9e3779b97f4a7c15 + b
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
