package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/kura-backup/kura/backends"
)

// Run tests a backend. open returns an empty store, a new one for every call;
// Run closes it.
func Run(t *testing.T, open func(t *testing.T) backends.Store) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, s backends.Store)
	}{
		{"Put_TakenName_RefusedAndUnchanged", putTaken},
		{"Put_InvalidArguments_Refused", putInvalid},
		{"Put_KeepsNoReferenceToTheData", putKeepsNothing},
		{"Put_ManyRacers_OneWinner", putRace},
		{"Put_LargeObject_ComesBackWhole", putLarge},
		{"Get_Ranges_ExactOrError", getRanges},
		{"Get_Buffer_UsedWhenLargeEnough", getBuffer},
		{"Get_NoSuchObject_ErrNotExist", getMissing},
		{"List_PrefixAndAfter_InByteOrder", listOrder},
		{"List_ManyNames_EachOnce", listMany},
		{"List_StopsWhenToldTo", listStops},
		{"List_SizesAndTimes", listInfo},
		{"List_DuringChanges_StableNamesExactlyOnce", listDuringChanges},
		{"Visible_WholeOrNotAtAll", visibleWhole},
		{"Delete_RemovesOnce", deleteOnce},
		{"Delete_ManyRacers_GoneInTheEnd", deleteRace},
		{"DeleteMany_EachReportedOnce", deleteMany},
		{"Canceled_NothingIsDone", canceled},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t)
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			})
			c.test(t, s)
		})
	}
}

// content returns bytes that only this name has, of a size that depends on it.
func content(name string) []byte {
	sum := sha256.Sum256([]byte(name))
	size := 1 + int(sum[0])<<8 + int(sum[1])
	return fill(name, size)
}

// fill returns size bytes that only this name has.
func fill(name string, size int) []byte {
	seed := sha256.Sum256([]byte(name))
	data := make([]byte, size)
	rand.NewChaCha8(seed).Read(data) // never fails
	return data
}

func put(t *testing.T, s backends.Store, name string, data []byte) {
	t.Helper()
	if err := s.Put(t.Context(), name, data); err != nil {
		t.Fatalf("Put %s: %v", name, err)
	}
}

// wants fails the test unless the object has exactly these bytes.
func wants(t *testing.T, s backends.Store, name string, data []byte) {
	t.Helper()
	got, err := s.Get(t.Context(), name, 0, -1, nil)
	if err != nil {
		t.Fatalf("Get %s: %v", name, err)
	}
	if !bytes.Equal(got, data) {
		t.Fatalf("%s has %d other bytes than the %d put", name, len(got), len(data))
	}
}

func wantsNone(t *testing.T, s backends.Store, name string) {
	t.Helper()
	if _, err := s.Get(t.Context(), name, 0, -1, nil); !errors.Is(err, backends.ErrNotExist) {
		t.Fatalf("Get %s: err = %v, want ErrNotExist", name, err)
	}
	for info, err := range s.List(t.Context(), name, "") {
		if err != nil || info.Name == name {
			t.Fatalf("List has %s, or failed: %v", name, err)
		}
	}
}

// paged reports whether the store asks for listings and deletions of many in pages, as S3 has it.
func paged(s backends.Store) bool {
	_, ok := backends.As[backends.BatchDeleter](s)
	return ok
}

// names lists names and fails the test on an error.
func names(ctx context.Context, t *testing.T, s backends.Store, prefix, after string) []string {
	t.Helper()
	var out []string
	for info, err := range s.List(ctx, prefix, after) {
		if err != nil {
			t.Errorf("List %q after %q: %v", prefix, after, err)
			break
		}
		out = append(out, info.Name)
	}
	return out
}
