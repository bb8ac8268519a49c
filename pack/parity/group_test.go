package parity

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/testrand"
)

// packs are members by their refs, which are those of their bytes.
type packs map[object.Ref][]byte

func newPacks(r *rand.Rand, n int) packs {
	all := packs{}
	for range n {
		obj := noise(r, 1+r.IntN(5000))
		class := []object.Class{object.DataPack, object.TreePack}[r.IntN(2)]
		all[object.Ref{Class: class, Session: object.SessionID{byte(r.Uint32())}, Hash: object.Sum(obj)}] = obj
	}
	return all
}

func (p packs) group(t interface {
	Helper()
	Fatal(...any)
},
) *Group {
	t.Helper()
	g := &Group{}
	for ref, obj := range p {
		if err := g.Add(ref, obj); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

func (p packs) get(m Member) ([]byte, error) {
	if obj, ok := p[m.Ref]; ok {
		return obj, nil
	}
	return nil, errLost
}

var errLost = errors.New("lost")

func TestGroup_AnyMemberLost_Rebuilt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		all := newPacks(r, rapid.IntRange(1, MaxMembers).Draw(t, "members"))
		g := all.group(t)
		if err := g.Check(); err != nil {
			t.Fatal(err)
		}
		// The order in which they came does not matter, and members can go again.
		more := newPacks(r, MaxMembers-len(all))
		for ref, obj := range more {
			if err := g.Add(ref, obj); err != nil {
				t.Fatal(err)
			}
		}
		for ref, obj := range more {
			if err := g.Remove(ref, obj); err != nil {
				t.Fatal(err)
			}
		}
		if again := all.group(t); !reflect.DeepEqual(g.Members, again.Members) || !bytes.Equal(g.Sum, again.Sum) {
			t.Fatal("the same members make another group")
		}
		before := bytes.Clone(g.Sum)
		for ref, obj := range all {
			delete(all, ref)
			got, err := g.Rebuild(ref, all.get)
			if err != nil || !bytes.Equal(got, obj) {
				t.Fatalf("member %v: error %v, or other bytes", ref, err)
			}
			all[ref] = obj
		}
		if !bytes.Equal(g.Sum, before) {
			t.Fatal("rebuilding changed the group")
		}
	})
}

func TestGroup_Merged_HasTheMembersOfBoth(t *testing.T) {
	r := testrand.New(t)
	a, b := newPacks(r, 5), newPacks(r, 7)
	g, o := a.group(t), b.group(t)
	sum := bytes.Clone(o.Sum)
	if err := g.Merge(o); err != nil {
		t.Fatal(err)
	}
	both := packs{}
	for _, p := range []packs{a, b} {
		for ref, obj := range p {
			both[ref] = obj
		}
	}
	want := both.group(t)
	if !reflect.DeepEqual(g.Members, want.Members) || !bytes.Equal(g.Sum, want.Sum) || g.Check() != nil {
		t.Error("not the group of all members")
	}
	if !bytes.Equal(o.Sum, sum) || len(o.Members) != 7 {
		t.Error("the other group was changed")
	}
	before := slices.Clone(g.Members)
	if err := g.Merge(o); !errors.Is(err, ErrInvalid) {
		t.Errorf("members twice: %v", err)
	}
	if err := g.Merge(newPacks(r, 5).group(t)); !errors.Is(err, ErrInvalid) {
		t.Errorf("17 members: %v", err)
	}
	if !reflect.DeepEqual(g.Members, before) || !bytes.Equal(g.Sum, want.Sum) {
		t.Error("a refused merge changed the group")
	}
	empty := &Group{}
	if err := empty.Merge(&Group{}); err != nil || len(empty.Members) != 0 {
		t.Errorf("two empty groups: %v", err)
	}
}

func TestGroup_WrongMembers_Refused(t *testing.T) {
	r := testrand.New(t)
	all := newPacks(r, 3)
	g := all.group(t)
	m := g.Members[1]
	obj := all[m.Ref]
	stranger := object.Ref{Class: object.DataPack}
	for name, err := range map[string]error{
		"added twice":         g.Add(m.Ref, obj),
		"removed, too short":  g.Remove(m.Ref, obj[1:]),
		"removed, not there":  g.Remove(stranger, obj),
		"rebuilt, not there":  second(g.Rebuild(stranger, all.get)),
		"rebuilt, short read": second(g.Rebuild(g.Members[0].Ref, func(Member) ([]byte, error) { return obj[:1], nil })),
	} {
		if !errors.Is(err, ErrMember) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, err := range map[string]error{
		"index segment": g.Add(object.Ref{Class: object.Index}, obj),
		"empty":         g.Add(object.Ref{Class: object.DataPack}, nil),
		"no members":    (&Group{}).Check(),
		"sum cut off":   (&Group{Members: g.Members, Sum: g.Sum[1:]}).Check(),
	} {
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if !reflect.DeepEqual(g, all.group(t)) {
		t.Error("what was refused changed the group")
	}
	delete(all, m.Ref)
	if _, err := g.Rebuild(g.Members[0].Ref, all.get); !errors.Is(err, errLost) {
		t.Errorf("two lost: %v", err)
	}
	all[m.Ref] = bytes.Clone(obj)
	all[m.Ref][0] ^= 1
	if got, err := g.Rebuild(g.Members[0].Ref, all.get); got != nil || !errors.Is(err, ErrBeyond) {
		t.Errorf("another member damaged: %v", err)
	}
}

func second(_ []byte, err error) error { return err }

func TestMembers_Encoded_DecodedEqualAndChecked(t *testing.T) {
	r := testrand.New(t)
	members := newPacks(r, MaxMembers).group(t).Members
	for n := 1; n <= len(members); n++ {
		enc, err := EncodeMembers(members[:n])
		if err != nil {
			t.Fatal(err)
		}
		if got, err := DecodeMembers(enc); err != nil || !reflect.DeepEqual(got, members[:n]) {
			t.Fatalf("%d members: %v", n, err)
		}
		for i := range enc {
			if got, err := DecodeMembers(enc[:i]); err == nil {
				t.Errorf("cut to %d of %d bytes: %d members", i, len(enc), len(got))
			}
		}
	}
	swapped := slices.Clone(members)
	swapped[0], swapped[1] = swapped[1], swapped[0]
	large := slices.Clone(members)
	large[0].Size = maxMember + 1
	for name, bad := range map[string][]Member{
		"none": nil, "17": append(slices.Clone(members), members[0]), "not ascending": swapped, "twice": {members[0], members[0]},
		"too large": large, "empty": {{Ref: members[0].Ref}}, "no pack": {{Ref: object.Ref{Class: object.Parity}, Size: 1}},
	} {
		if _, err := EncodeMembers(bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestXOR_LengthsDiffer_GrowsToTheLonger(t *testing.T) {
	for _, c := range []struct{ dst, src, want string }{
		{"", "", ""}, {"", "0102", "0102"}, {"0102", "", "0102"}, {"0102", "ff", "fe02"}, {"01", "ff05", "fe05"}, {"0102", "0102", "0000"},
	} {
		dst, _ := hex.DecodeString(c.dst)
		src, _ := hex.DecodeString(c.src)
		if got := hex.EncodeToString(XOR(dst, src)); got != c.want {
			t.Errorf("%q xor %q is %q, want %q", c.dst, c.src, got, c.want)
		}
	}
}

// golden compares text with a file of testdata, which -update writes.
func golden(t *testing.T, name, got string) {
	t.Helper()
	name = filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s:\n%s\nwant\n%s", name, got, want)
	}
}

// What members encode to, and what their sum is, never changes.
func TestGolden_Group_EncodedAsEver(t *testing.T) {
	g := &Group{}
	for i := range 3 {
		obj := goldenBody(i*300 + 1)
		ref := object.Ref{Class: []object.Class{object.TreePack, object.DataPack}[i%2], Session: object.SessionID{byte(9 - i)}, Hash: object.Sum(obj)}
		if err := g.Add(ref, obj); err != nil {
			t.Fatal(err)
		}
	}
	enc, err := EncodeMembers(g.Members)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "group.txt", strings.Join([]string{hex.EncodeToString(enc), hex.EncodeToString(g.Sum), ""}, "\n"))
}
