package parity

import (
	"crypto/subtle"
	"fmt"
	"slices"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
)

// MaxMembers is the most packs that a group may have.
const MaxMembers = 16

// maxMember is the most bytes that a member may have: no pack is larger.
const maxMember = 128 << 20

// Member is a pack of a group.
type Member struct {
	Ref  object.Ref
	Size int64
}

func (m Member) compare(o Member) int { return m.Ref.Compare(o.Ref) }

func (m Member) check() error {
	if !m.Ref.Class.IsPack() || m.Size < 1 || m.Size > maxMember {
		return fmt.Errorf("%w: member of class %v and %d bytes", ErrInvalid, m.Ref.Class, m.Size)
	}
	return nil
}

// Group is a set of packs of which one can be lost. The zero value is a group without members. It is
// not safe for concurrent use.
type Group struct {
	Members []Member // ascending by ref
	Sum     []byte   // XOR of the members, each filled with zeros to the longest
}

// XOR adds src to dst, which grows when src is longer.
func XOR(dst, src []byte) []byte {
	n := min(len(dst), len(src))
	subtle.XORBytes(dst[:n], dst[:n], src[:n])
	return append(dst, src[n:]...)
}

// Check reports whether the group is one that can be stored.
func (g *Group) Check() error {
	if err := checkMembers(g.Members); err != nil {
		return err
	}
	if len(g.Sum) != g.longest() {
		return fmt.Errorf("%w: sum of %d bytes for members of up to %d", ErrInvalid, len(g.Sum), g.longest())
	}
	return nil
}

func (g *Group) longest() int {
	n := int64(0)
	for _, m := range g.Members {
		n = max(n, m.Size)
	}
	return int(n)
}

func (g *Group) find(r object.Ref) (int, bool) {
	return slices.BinarySearchFunc(g.Members, r, func(m Member, r object.Ref) int { return m.Ref.Compare(r) })
}

// Add makes a pack a member. Its bytes must be right: this is not looked at.
func (g *Group) Add(ref object.Ref, obj []byte) error {
	m := Member{Ref: ref, Size: int64(len(obj))}
	i, there := g.find(ref)
	if there || len(g.Members) >= MaxMembers {
		return fmt.Errorf("%w: %v can not be added", ErrMember, ref)
	}
	if err := m.check(); err != nil {
		return err
	}
	g.Members = slices.Insert(g.Members, i, m)
	g.Sum = XOR(g.Sum, obj)
	return nil
}

// Remove takes a member out, given its bytes. They must be right: only their length is looked at.
func (g *Group) Remove(ref object.Ref, obj []byte) error {
	i, there := g.find(ref)
	if !there || g.Members[i].Size != int64(len(obj)) || len(obj) > len(g.Sum) {
		return fmt.Errorf("%w: %v of %d bytes can not be removed", ErrMember, ref, len(obj))
	}
	g.Members = slices.Delete(g.Members, i, i+1)
	g.Sum = XOR(g.Sum, obj)[:g.longest()]
	return nil
}

// Merge adds the members of another group, which must have none of this one's. The other group is
// not changed.
func (g *Group) Merge(o *Group) error {
	all := slices.Concat(g.Members, o.Members)
	slices.SortFunc(all, Member.compare)
	if len(all) > 0 {
		if err := checkMembers(all); err != nil {
			return err
		}
	}
	g.Members, g.Sum = all, XOR(g.Sum, o.Sum)
	return nil
}

// Rebuild returns the bytes of a member, made from the group and all the others, which get fetches
// one after another. They have the hash in the member's name, or there is an error. The group is not
// changed, and get may return the same memory each time.
func (g *Group) Rebuild(missing object.Ref, get func(Member) ([]byte, error)) ([]byte, error) {
	at, there := g.find(missing)
	if !there {
		return nil, fmt.Errorf("%w: %v", ErrMember, missing)
	}
	if err := g.Check(); err != nil {
		return nil, err
	}
	rest := slices.Clone(g.Sum)
	for i, m := range g.Members {
		if i == at {
			continue
		}
		obj, err := get(m)
		if err != nil {
			return nil, err
		}
		if int64(len(obj)) != m.Size {
			return nil, fmt.Errorf("%w: %v has %d bytes, not %d", ErrMember, m.Ref, len(obj), m.Size)
		}
		rest = XOR(rest, obj)
	}
	rest = rest[:g.Members[at].Size]
	if object.Sum(rest) != missing.Hash {
		return nil, fmt.Errorf("%w: %v by its group", ErrBeyond, missing)
	}
	return rest, nil
}

type wireMembers struct {
	Members []wireMember `cbor:"1,keyasint"`
}

// wireMember is a pack reference, as in log entries.
type wireMember struct {
	_     struct{} `cbor:",toarray"`
	Class object.Class
	Name  []byte // session ‖ hash
	Size  int64
}

// EncodeMembers returns the clear part of a parity object.
func EncodeMembers(members []Member) ([]byte, error) {
	if err := checkMembers(members); err != nil {
		return nil, err
	}
	var w wireMembers
	for _, m := range members {
		name := append(slices.Clone(m.Ref.Session[:]), m.Ref.Hash[:]...)
		w.Members = append(w.Members, wireMember{Class: m.Ref.Class, Name: name, Size: m.Size})
	}
	return wire.Marshal(&w)
}

// DecodeMembers is the inverse of EncodeMembers. What it returns has been checked.
func DecodeMembers(clear []byte) ([]Member, error) {
	var w wireMembers
	if err := wire.Unmarshal(clear, &w); err != nil {
		return nil, fmt.Errorf("%w: members: %w", ErrInvalid, err)
	}
	if len(w.Members) > MaxMembers {
		return nil, fmt.Errorf("%w: group of %d members", ErrInvalid, len(w.Members))
	}
	var members []Member
	for _, m := range w.Members {
		const sid, hash = len(object.SessionID{}), len(object.Hash{})
		if len(m.Name) != sid+hash {
			return nil, fmt.Errorf("%w: member's name of %d bytes", ErrInvalid, len(m.Name))
		}
		ref := object.Ref{Class: m.Class, Session: object.SessionID(m.Name[:sid]), Hash: object.Hash(m.Name[sid:])}
		members = append(members, Member{Ref: ref, Size: m.Size})
	}
	return members, checkMembers(members)
}

// checkMembers reports whether these can be the members of a stored group.
func checkMembers(members []Member) error {
	if len(members) == 0 || len(members) > MaxMembers {
		return fmt.Errorf("%w: group of %d members", ErrInvalid, len(members))
	}
	for i, m := range members {
		if err := m.check(); err != nil {
			return err
		}
		if i > 0 && members[i-1].compare(m) >= 0 {
			return fmt.Errorf("%w: members are not ascending", ErrInvalid)
		}
	}
	return nil
}
