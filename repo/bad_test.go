package repo

import (
	"testing"

	"github.com/kura-backup/kura/index"
	"github.com/kura-backup/kura/internal/object"
)

// TestAvoided_PackTurnsOutBadMeanwhile_AnswersStay: a delta relies on the same copies of its bases by which they were chosen.
func TestAvoided_PackTurnsOutBadMeanwhile_AnswersStay(t *testing.T) {
	ref := func(n byte) object.Ref { return object.Ref{Class: object.DataPack, Hash: object.Hash{n}} }
	r := &Repository{}
	ix := &Index{packs: []index.PackRef{{Ref: ref(0)}, {Ref: ref(1)}}}
	if r.avoided(ix) != nil {
		t.Fatal("a pack is bad from the beginning")
	}
	note := func(n byte) { r.bad.note(&DamageError{Object: ref(n).Name()}) }
	note(0)
	before := r.avoided(ix)
	note(1)
	note(1)
	after := r.avoided(ix)
	if !before(0) || before(1) || !after(0) || !after(1) {
		t.Errorf("%v %v, then %v %v", before(0), before(1), after(0), after(1))
	}
}
