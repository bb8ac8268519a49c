package model

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"
)

// names gives what sits in a slot a name for as long as it sits there, while
// canon moves it about.
type names struct {
	packs, sess, segs [8]int
	writers           [maxWriters]int
	collectors        [maxCollectors]int
	next              [3]int
}

func newNames() *names {
	n := &names{}
	for i := range n.writers {
		n.writers[i] = i
	}
	for i := range n.collectors {
		n.collectors[i] = i
	}
	return n
}

// settle names what is new in s, and forgets what is gone.
func (n *names) settle(s *state) {
	name := func(to *int, taken bool, next *int) {
		if !taken {
			*to = 0
		} else if *to == 0 {
			*next++
			*to = *next
		}
	}
	for i := range s.packs {
		name(&n.packs[i], s.packs[i].flags != 0, &n.next[0])
		name(&n.sess[i], s.sess[i].status != sessFree, &n.next[1])
		name(&n.segs[i], s.segs[i].flags != 0, &n.next[2])
	}
}

// follow moves the names along a renaming.
func (n *names) follow(r *renaming) {
	old := *n
	for i := range old.packs {
		n.packs[r.packs[i]] = old.packs[i]
		n.sess[r.sess[i]] = old.sess[i]
		n.segs[r.segs[i]] = old.segs[i]
	}
	for i := range old.writers {
		n.writers[r.writers[i]] = old.writers[i]
	}
	for i := range old.collectors {
		n.collectors[r.collectors[i]] = old.collectors[i]
	}
}

// set prints a mask by names.
func set(m uint8, prefix string, by *[8]int) string {
	if m == 0 {
		return "-"
	}
	var out []string
	for ; m != 0; m &= m - 1 {
		out = append(out, fmt.Sprintf("%s%d", prefix, by[bits.TrailingZeros8(m)]))
	}
	slices.Sort(out)
	return strings.Join(out, "+")
}

func copyNames(c copies) string {
	var out []string
	for b, name := range []string{"a", "b", "c"} {
		if c&plain(b) != 0 {
			out = append(out, name)
		}
		if c&delta(b) != 0 {
			out = append(out, "Δ"+name)
		}
	}
	return strings.Join(out, ",")
}

func blobNames(m blobSet) string {
	return [...]string{"-", "a", "b", "a,b", "c", "a,c", "b,c", "a,b,c"}[m]
}

// tell describes a step out of s, and the state it leads to.
func (n *names) tell(s *state, x *succ) string {
	who := ""
	n.settle(s)
	before := *n
	n.settle(&x.s)
	var e *entry
	switch {
	case x.act < collectorBegin || x.act == removedRule && x.s.c == s.c && x.s.w != s.w:
		e = &x.s.w[x.who].e
		if e.kind == noEntry || x.act == writerCommit {
			e = &s.w[x.who].e
		}
		who = fmt.Sprintf("%d", n.writers[x.who])
	case x.act < packLands || x.act == removedRule && x.s.c != s.c:
		e = &x.s.c[x.who].e
		if e.kind == noEntry || x.act == collectorCommit {
			e = &s.c[x.who].e
		}
		who = fmt.Sprintf("%d", n.collectors[x.who])
	case x.act == packLands || x.act == deletePack:
		who = fmt.Sprintf("p%d", before.packs[x.who])
	case x.act == segLands || x.act == deleteSeg:
		who = fmt.Sprintf("i%d", before.segs[x.who])
	case x.act == forget || x.act == unforget:
		who = fmt.Sprintf("s%d", before.sess[x.who])
	}
	out := fmt.Sprintf("%s %s", x.act, who)
	if e != nil && e.kind == snapshotEntry {
		w := &x.s.w[x.who]
		if w.e != *e {
			w = &s.w[x.who]
		}
		out += fmt.Sprintf(" [s%d saves %s: relies %s, adds %s, to upload %s]", n.sess[e.sid], blobNames(e.wants), set(w.rely, "p", &n.packs), set(e.add, "p", &n.packs), orDash(copyNames(w.todo)))
	}
	if e != nil && e.kind == collectEntry {
		c := &x.s.c[x.who]
		out += fmt.Sprintf(" [s%d: drop %s, add %s, to carry %s, revoke %s, gone %s, replace %s]", n.sess[e.sid], set(e.drop, "p", &n.packs), set(e.add, "p", &n.packs), orDash(copyNames(c.todo)), set(e.revoke, "s", &n.sess), set(e.gone, "s", &n.sess), set(e.replace, "i", &n.segs))
	}
	return out + "\n     " + n.line(&x.s)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// line prints what the store and the state hold.
func (n *names) line(s *state) string {
	var out []string
	for i := range s.sess {
		k := &s.sess[i]
		if k.status == sessFree {
			continue
		}
		t := fmt.Sprintf("s%d %s", n.sess[i], [...]string{"", "open", "closed", "revoked"}[k.status])
		if k.snap != snapNone {
			t += fmt.Sprintf(" {%s} %s", blobNames(k.wants), [...]string{"", "live", "forgotten", "gone"}[k.snap])
		}
		out = append(out, t)
	}
	flags := func(f uint8, words ...string) string {
		var t []string
		for i, w := range words {
			if f&(exists<<i) != 0 {
				t = append(t, w)
			}
		}
		return strings.Join(t, " ")
	}
	for i := range s.packs {
		if p := &s.packs[i]; p.flags != 0 {
			out = append(out, fmt.Sprintf("p%d(%s) of s%d %s", n.packs[i], copyNames(p.copies), n.sess[p.sess], flags(p.flags, "stored", "flying", "flying again", "live", "dropped")))
		}
	}
	for i := range s.segs {
		k := &s.segs[i]
		if k.flags == 0 {
			continue
		}
		var list []string
		for m := k.list; m != 0; m &= m - 1 {
			b := bits.TrailingZeros32(m)
			list = append(list, fmt.Sprintf("%s@p%d", blobNames(1<<(b%blobs)), n.packs[b/blobs]))
		}
		out = append(out, fmt.Sprintf("i%d(%s) of s%d %s", n.segs[i], strings.Join(list, ","), n.sess[k.sess], flags(k.flags, "stored", "flying", "flying again", "valid")))
	}
	return strings.Join(out, "; ")
}

// trace tells the shortest way to the violation.
func (f *searcher) trace(root uint64) []string {
	var hashes []uint64
	for h := f.badFrom; h != root; h = f.seen.from(h) {
		hashes = append(hashes, h)
	}
	slices.Reverse(hashes)
	g := newGenerator(f.c)
	s := newState(f.c)
	n := newNames()
	r := s.canon()
	n.follow(&r)
	var out []string
	for _, want := range hashes {
		for i := range g.steps(&s) {
			x := g.out[i]
			t := x.s
			t.tidy()
			tidied := t
			r := t.canon()
			if t.hash() != want {
				continue
			}
			out = append(out, n.tell(&s, &x))
			n.settle(&tidied)
			n.follow(&r)
			s = t
			break
		}
	}
	for i := range g.steps(&s) {
		x := g.out[i]
		t := x.s
		t.tidy()
		if x.bad == f.badWhy || t.check(g.strict) == f.badWhy {
			return append(out, n.tell(&s, &x))
		}
		if why, _ := g.clean(&t); why == f.badWhy {
			return append(out, n.tell(&s, &x)+"\n     then one collection alone")
		}
	}
	return out
}
