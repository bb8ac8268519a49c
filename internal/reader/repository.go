package reader

import (
	"cmp"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/sys/unix"
)

// Repository is an opened repository. It is not safe for concurrent use.
type Repository struct {
	Void               []int // the log entries without effect
	store              fs.FS
	keys               value // the keyring
	id                 string
	reading, restoring string // the last object and path begun, for errors
	places             map[string][]place
	last               [7]struct { // by class
		place
		packed, segment []byte
	}
	links   map[string]string // by inode, type and mount, the path restored first
	skipped []string

	// The fold of the log. Packs and index segments are refs of 49 bytes: class, session, hash.
	n              int     // how many entries
	began          []value // the epochs that have begun, as their entries name them
	hash           string
	signers        map[string]value // by signer id
	snapshots      map[string]*Snapshot
	live           map[string]int  // packs and valid index segments, with their sizes
	dropped, ended map[string]bool // packs; sessions closed or revoked
}

// Snapshot is a snapshot that was committed and is not gone.
type Snapshot struct {
	ID, Host                   string // the ID is 32 hexadecimal digits
	N, Time                    int    // number of its log entry; ns since 1970
	Forgotten, Partial, pinned bool
	Paths                      []string
	root, signer               string
	body                       value // of its log entry
}

// Open opens the repository in a folder with a passphrase or the text of a key file. It reads
// the log and the index; or, if told to ignore the index, the directories of all live packs.
func Open(dir, key string, ignoreIndex bool) (_ *Repository, err error) {
	r := &Repository{store: os.DirFS(dir), hash: string(make([]byte, 32)), places: map[string][]place{}, ended: map[string]bool{}}
	r.signers, r.snapshots, r.live, r.dropped = map[string]value{}, map[string]*Snapshot{}, map[string]int{}, map[string]bool{}
	defer r.rescue(&err)
	for _, path := range must(fs.Glob(r.store, "keys/*/*")) {
		keys, err := r.openSlot(path, key) // an error: it is for another key, or damaged
		if err == nil && (r.keys.any == nil || newest(keys) > newest(r.keys)) {
			r.keys = keys
		}
	}
	check(r.keys.any != nil, "no slot opens with this key")
	r.id = r.keys.fixed(1, 16) // the owners' key is the anchor of all signatures: the only one to sign config and entry 1
	r.signers[hash(r.keys.bytes(6))[:8]] = value{map[int]any{1: int64(3), 2: r.keys.bytes(6)}}
	if r.openConfig("config") != nil {
		must(0, r.openConfig("config.copy"))
	}
	for _, path := range must(fs.Glob(r.store, "log/*/*")) {
		check(path == fmt.Sprintf("log/%013d/%016d", (r.n+1)/1000, r.n+1), "number %d is missing", r.n+1)
		b, number := r.read(path), binary.LittleEndian.AppendUint64(nil, uint64(r.n+1))
		e, by := r.openSigned("log", b, r.id+string(number)+r.hash)
		check(e.int(2) == r.n+1 && e.fixed(3, 32) == r.hash, "entry says it is number %d", e.int(2))
		check(r.n > 0 || r.signers[by].any != nil, "not signed by the owner")
		r.n, r.hash = r.n+1, hash(b)
		r.apply(e.int(1), e.fixed(4, 16), by, e.at(6), r.begun)
	}
	for i, e := range r.began {
		keys := r.epoch(i + 1)
		id := kdf(keys.bytes(2), hash(slices.Concat(keys.bytes(3), keys.bytes(5), keys.bytes(7))), "kura/1 epoch id", 16)
		check(e.int(1) == i+1 && e.fixed(2, 16) == string(id), "the keyring has other keys for epoch %d", i+1)
	}
	for _, s := range r.snapshots {
		r.reading = "manifest of " + s.ID
		m := decode(unzstd(r.openSegment("tree", s.body.at(1).at(1), 0, s.body.at(1).bytes(2))))
		s.Time, s.Host, s.root = m.int(1), as[string](m.at(2)), m.fixed(8, 32)
		for _, p := range m.list(6) {
			s.Paths = append(s.Paths, string(as[[]byte](p)))
		}
	}
	for ref := range r.live {
		if isIndex := ref[0] == 7; isIndex && !ignoreIndex {
			r.readIndex(ref)
		} else if !isIndex && ignoreIndex {
			r.readDirectory(ref)
		}
	}
	return r, nil
}

// Snapshots are all that can be restored, in the order of the log.
func (r *Repository) Snapshots() []*Snapshot {
	return slices.SortedFunc(maps.Values(r.snapshots), func(a, b *Snapshot) int { return cmp.Compare(a.N, b.N) })
}

func (r *Repository) read(path string) []byte {
	r.reading = path
	return must(fs.ReadFile(r.store, path))
}

// openSlot returns the keyring in a slot, given a passphrase or a key file's text.
func (r *Repository) openSlot(path, key string) (keys value, err error) {
	defer r.rescue(&err)
	o, secret := parse("slot", r.read(path)), []byte(nil)
	for line := range strings.Lines(key) {
		if s, ok := strings.CutPrefix(strings.TrimSpace(line), "kura-key-1:"); ok {
			secret = sound(base64.RawURLEncoding.DecodeString(s))
		}
	}
	c := decode(o.clear)
	if secret == nil {
		t, m, p := c.int(2), c.int(3), c.int(4)
		check(c.int(1) == 1 && 0 < t && t <= 16 && 0 < m && m <= 1<<20 && 0 < p && p <= 64, "no slot of a passphrase")
		secret = argon2.IDKey([]byte(key), []byte(o.salt), uint32(t), uint32(m), uint8(p), 32)
	} else {
		check(c.int(1) == 2 && string(kdf(secret, o.salt, "kura/1 keyfile tag", 16)) == c.fixed(5, 16), "no slot of this key file")
	}
	n := c.int(9)
	check(n >= 0 && n+64 <= len(o.rest), "slot is cut off")
	holder, ring, id := decode(o.open(secret, "", 0, o.rest[:n])), decode(o.rest[n+64:]), string(c.bytes(8))
	info := "kura/1 ring" + holder.fixed(1, 16) + id + string(binary.LittleEndian.AppendUint32(nil, uint32(ring.int(1))))
	signed := decode(unsealHPKE(holder.bytes(4), info, ring.bytes(2)))
	message := "kura/1 ring signature\x00" + holder.fixed(1, 16) + id + string(signed.bytes(1))
	check(ed25519.Verify([]byte(holder.fixed(5, 32)), []byte(message), signed.bytes(2)), "keyring is not signed by an owner")
	keys = decode(signed.bytes(1))
	check(newest(keys) == ring.int(1) && keys.fixed(6, 32) == holder.fixed(5, 32), "keyring of another")
	return keys, nil
}

// newest is the highest epoch of a keyring.
func newest(keys value) int { return keys.at(5).at(len(keys.list(5)) - 1).int(1) }

func (r *Repository) openConfig(path string) (err error) {
	defer r.rescue(&err)
	c, by := r.openSigned("config", r.read(path), r.id)
	check(r.signers[by].any != nil && c.fixed(1, 16) == r.id, "not signed by the owner, or of another repository")
	other := slices.ContainsFunc(c.list(4), func(f value) bool { return f.any != int64(1) }) // which concerns writing alone
	check(len(c.list(3))+len(c.list(5)) == 0 && !other, "features %v, %v, %v are of a newer kura", c.at(3), c.at(4), c.at(5))
	return nil
}

func (v value) ref() string {
	check(5 <= v.int(0) && v.int(0) <= 7, "reference to class %d", v.int(0))
	return string([]byte{byte(v.int(0))}) + v.fixed(1, 48)
}

// begun tells if the owners have signed that an epoch begins.
func (r *Repository) begun(epoch value) bool {
	number := binary.LittleEndian.AppendUint32(nil, uint32(epoch.int(1)))
	message := "kura/1 epoch signature\x00" + r.id + string(number) + epoch.fixed(2, 16)
	return ed25519.Verify(r.keys.bytes(6), []byte(message), epoch.bytes(3))
}

// apply applies an entry as a whole, or not at all if the state before it makes it void.
func (r *Repository) apply(kind int, session, signer string, b value, begun func(epoch value) bool) {
	var signers, packs, index []value
	var withdrawn, drop, replace, revoke, forget, unforget, pin, tag, gone, ended []string
	role := 2
	switch kind {
	case 1:
		role, signers = 3, b.list(1)
	case 2:
		role, packs, index, forget, ended = 1, b.list(2), b.list(3), split(b.bytes(4), 16), []string{session}
	case 3, 4, 5, 6:
		*[]*[]string{&forget, &unforget, &tag, &pin}[kind-3] = split(b.bytes(1), 16)
	case 7:
		role, signers, withdrawn = 3, b.list(1), split(b.bytes(2), 8)
	case 8:
		drop, packs, revoke = split(b.bytes(1), 49), b.list(2), split(b.bytes(3), 16)
		gone, replace, index, ended = split(b.bytes(4), 16), split(b.bytes(5), 49), b.list(6), append(revoke, session)
	default:
		check(false, "log entry of kind %d is of a newer kura", kind)
	}
	void := r.signers[signer].int(1) < role || (kind == 1) != (r.n == 1) || slices.Contains(revoke, session)
	known, owners := maps.Clone(r.signers), 0
	maps.DeleteFunc(known, func(id string, _ value) bool { return kind == 1 || slices.Contains(withdrawn, id) })
	for _, k := range signers {
		id := hash(k.bytes(2))[:8]
		void = void || kind == 7 && r.signers[id].any != nil
		known[id] = k
	}
	for _, k := range known {
		owners += k.int(1) / 3
	}
	began := kind == 7 && b.has(3)
	void = void || owners == 0 || began && (b.at(3).int(1) != len(r.began)+1 || !begun(b.at(3))) ||
		slices.ContainsFunc(withdrawn, func(id string) bool { return r.signers[id].any == nil })
	old, add := slices.Concat(drop, replace), map[string]int{}
	for _, p := range packs {
		ref := p.ref()
		add[ref] = cmp.Or(r.live[ref], p.int(2))
		void = void || slices.Contains(drop, ref) || r.live[ref] == 0 && (r.dropped[ref] || r.ended[ref[1:17]])
	}
	for _, i := range index {
		ref := "\x07" + i.fixed(0, 48)
		add[ref] = i.int(1)
		void = void || ref[1:17] != session
	}
	for i, ref := range old {
		void = void || r.live[ref] == 0 || (ref[0] == 7) != (i >= len(drop))
	}
	void = void || slices.ContainsFunc(ended, func(sid string) bool { return r.ended[sid] })
	for _, sid := range slices.Concat(forget, unforget, gone, tag, pin) {
		s, down := r.snapshots[sid], slices.Contains(forget, sid)
		void = void || s == nil || kind != 5 && kind != 6 && s.Forgotten == down || down && s.pinned ||
			kind == 2 && (!s.Partial || s.body.fixed(6, 16) != b.fixed(6, 16) || s.signer != signer)
	}
	if void {
		r.Void = append(r.Void, r.n)
		return
	}
	if r.signers = known; began || kind == 1 {
		r.began = append(r.began, b.at(2+kind/7)) // by its place in an init or a keys entry
	}
	for _, sid := range ended {
		r.ended[sid] = true
	}
	for _, ref := range old {
		delete(r.live, ref)
		r.dropped[ref] = true
	}
	maps.Copy(r.live, add)
	for _, sid := range slices.Concat(forget, unforget) {
		r.snapshots[sid].Forgotten = slices.Contains(forget, sid)
	}
	for _, sid := range pin {
		r.snapshots[sid].pinned = b.int(2) != 0
	}
	maps.DeleteFunc(r.snapshots, func(sid string, _ *Snapshot) bool { return slices.Contains(gone, sid) })
	if kind == 2 {
		id := fmt.Sprintf("%x", session)
		r.snapshots[session] = &Snapshot{ID: id, N: r.n, Partial: b.int(5) != 0, signer: signer, body: b}
	}
}

// A place of a blob: in the plaintext of a segment, in a pack. It is verified when it is used.
type place struct {
	pack                                               string
	origin                                             value
	offset, ordinal, coding, stored, plain, at, length int
	depth                                              int
	bases                                              []string
}

// load reads a live pack or a valid index segment, and verifies it.
func (r *Repository) load(ref string) []byte {
	b := r.read(fmt.Sprintf("%s/%x/%x-%x", classes[ref[0]], ref[1:2], ref[1:17], ref[17:]))
	check(len(b) == r.live[ref] && hash(b) == ref[17:], "not what its name says")
	return b
}

// readIndex reads the places in an index segment. Those in packs that are not live do not count.
func (r *Repository) readIndex(ref string) {
	o := parse("index", r.load(ref))
	check(len(o.clear) == 12, "clear part of %d bytes", len(o.clear))
	var columns [3][]byte
	for i, sealed := 0, o.rest; i < 3; i++ {
		n := u32(o.clear[4*i:])
		check(n <= len(sealed), "column %d is cut off", i)
		columns[i], sealed = o.open(r.indexKey(o), r.id, i, sealed[:n]), sealed[n:]
	}
	m := decode(unzstd(columns[1]))
	places, segments := m.bytes(4), []place(nil)
	for _, g := range m.list(3) {
		pack, origin := m.at(1).at(g.int(1)).ref(), m.at(2).at(g.int(3))
		segments = append(segments, place{pack, origin, g.int(2), g.int(4), g.int(5), g.int(6), g.int(7), 0, 0, g.int(9), split(g.bytes(8), 32)})
	}
	for _, blob := range split(columns[0], 32) {
		var v [3]int // segment, offset, length
		for i := range v {
			x, n := binary.Uvarint(places)
			check(n > 0 && x < 1<<32, "places end early")
			v[i], places = int(x), places[n:]
		}
		check(v[0] < len(segments), "place in no segment")
		p := segments[v[0]]
		if p.at, p.length = v[1], v[2]; r.live[p.pack] > 0 {
			r.places[blob] = append(r.places[blob], p)
		}
	}
}

// readDirectory reads the places in a pack from the pack itself.
func (r *Repository) readDirectory(ref string) {
	o := parse(classes[ref[0]], r.load(ref))
	end := len(o.rest) - 8
	check(end >= 0 && string(o.rest[end+4:]) == "KPAK" && len(o.clear) == 0, "no pack")
	n := u32(o.rest[end:])
	check(n <= end, "directory of %d bytes", n)
	m, offset := decode(o.open(r.indexKey(o), r.id, 0, o.rest[end-n:end])), 80
	for _, g := range m.list(2) {
		p := place{ref, m.at(1).at(g.int(1)), offset, g.int(2), g.int(3), g.int(4), g.int(5), 0, 0, g.int(9), split(g.bytes(8), 32)}
		for i, blob := range split(g.bytes(6), 32) {
			p.length = g.at(7).int(i)
			r.places[blob] = append(r.places[blob], p)
			p.at += p.length
		}
		offset += p.stored
	}
}

// Restore writes a snapshot into an empty folder. What was unreadable, or is refused here, is skipped.
func (r *Repository) Restore(s *Snapshot, dst string) (skipped []string, err error) {
	defer r.rescue(&err)
	r.links, r.skipped, r.restoring = map[string]string{}, nil, ""
	must(0, os.MkdirAll(dst, 0o700))
	r.folder(s.root, dst, dst, 1)
	return r.skipped, nil
}

// folder restores what is in a folder. Its page is a leaf, or has pages below it.
func (r *Repository) folder(id, path, mount string, depth int) {
	page := decode(r.blob("tree", id, 9))
	check(!page.has(3) && depth <= 8, "page %x is no folder's", id)
	for _, inner := range page.list(2) {
		r.folder(inner.fixed(1, 32), path, mount, depth+1)
	}
	for _, n := range page.list(1) {
		name := string(n.bytes(1))
		check(name != "" && name != "." && name != ".." && !strings.ContainsAny(name, "/\x00"), "name %q in %q", name, path)
		r.node(n, filepath.Join(path, name), mount)
	}
}

// node restores one entry: content, then metadata.
func (r *Repository) node(n value, path, mount string) {
	r.restoring = fmt.Sprintf(", for %q", path)
	kind, id := n.int(2), fmt.Sprintf("%v of type %d, linked %t, on %s", n.at(12), n.int(2), n.int(13) > 1, mount)
	if n.has(21) {
		r.skipped = append(r.skipped, fmt.Sprintf("%q: %v", path, n.at(21)))
	}
	switch first := r.links[id]; {
	case n.has(21) && (kind == 1 || kind == 2 && !n.has(20) || kind == 3 && !n.has(14)):
		return // there is nothing to restore
	case kind != 2 && n.int(13) > 1 && first != "":
		must(0, os.Link(first, path))
		return
	case kind == 1:
		r.file(n, path)
	case kind == 2:
		must(0, os.Mkdir(path, 0o700))
		if n.has(22) {
			mount = path
		}
		r.folder(n.fixed(20, 32), path, mount, 1)
	case kind == 3:
		must(0, os.Symlink(string(n.bytes(14)), path))
	default:
		check(kind <= 7, "node of type %d", kind)
		bits := map[int]uint32{4: unix.S_IFIFO, 5: unix.S_IFCHR, 6: unix.S_IFBLK, 7: unix.S_IFSOCK}[kind]
		must(0, unix.Mknod(path, bits|0o600, int(unix.Mkdev(uint32(n.int(15)>>32), uint32(n.int(15))))))
	}
	r.links[id] = path
	r.metadata(n, path)
}

func (r *Repository) file(n value, path string) {
	f := must(os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600))
	defer f.Close()
	contents, at := []value{n.at(18)}, 0
	for _, id := range split(n.bytes(19), 32) {
		contents = append(contents, decode(r.blob("tree", id, 9)).at(3))
	}
	for _, c := range contents {
		ids, kinds := split(c.bytes(1), 32), c.bytes(3)
		for i := range c.list(2) {
			length := c.at(2).int(i)
			if kinds == nil || i < len(kinds) && kinds[i] == 0 { // holes and zeros are not written
				check(len(ids) > 0, "extent without a blob")
				b := r.blob("data", ids[0], 9)
				check(len(b) == length, "blob of %d bytes in an extent of %d", len(b), length)
				must(f.WriteAt(b, int64(at)))
				ids = ids[1:]
			}
			at += length
		}
	}
	check(at == n.int(8), "%d bytes instead of %d", at, n.int(8))
	must(0, f.Truncate(int64(at)))
	must(0, f.Close())
}

func (r *Repository) metadata(n value, path string) {
	if os.Geteuid() == 0 { // first, since it clears set-user-id bits and capabilities
		must(0, os.Lchown(path, n.int(4), n.int(5)))
	}
	for _, x := range n.list(16) {
		b := x.bytes(2)
		if x.has(3) {
			b = r.blob("tree", x.fixed(3, 32), 9)
		}
		if err := unix.Lsetxattr(path, string(x.bytes(1)), b, 0); err != nil {
			r.skipped = append(r.skipped, fmt.Sprintf("%q: attribute %q: %v", path, x.bytes(1), err))
		}
	}
	if n.int(2) != 3 {
		must(0, unix.Chmod(path, uint32(n.int(3)&0o7777)))
	}
	if n.has(9) {
		t := unix.Timespec{Sec: int64(n.at(9).int(0)), Nsec: int64(n.at(9).int(1))}
		must(0, unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW))
	}
}
