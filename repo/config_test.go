package repo

import (
	"errors"
	"strings"
	"testing"

	"github.com/kura-backup/kura/internal/object"
	"github.com/kura-backup/kura/internal/wire"
	"github.com/kura-backup/kura/seal"
)

func TestDecodeConfig_Features_KnownOrRefused(t *testing.T) {
	keys, err := seal.NewKeyring([16]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	id := keys.RepoID()
	for name, c := range map[string]struct {
		w       wireConfig
		single  bool
		unknown string
	}{
		"none":                  {w: wireConfig{}},
		"single writer":         {w: wireConfig{Write: []uint64{1}}, single: true},
		"said twice":            {w: wireConfig{Write: []uint64{1, 1}}, single: true},
		"unknown to write":      {w: wireConfig{Write: []uint64{1, 2}}, unknown: "feature 2"},
		"unknown to read":       {w: wireConfig{Read: []uint64{1}}, unknown: "feature 1"},
		"unknown to collect":    {w: wireConfig{Write: []uint64{1}, Collect: []uint64{9}}, unknown: "feature 9"},
		"unknown and very high": {w: wireConfig{Write: []uint64{1 << 62}}, unknown: "feature 4611686018427387904"},
	} {
		c.w.ID = id[:]
		payload, err := wire.Marshal(c.w)
		if err != nil {
			t.Fatal(err)
		}
		bind := seal.BindRepo(id)
		body, err := keys.SignBody(object.Config, bind, payload)
		if err != nil {
			t.Fatal(err)
		}
		obj, err := keys.Seal(object.Config, nil, bind, body)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeConfig(keys, obj)
		switch {
		case c.unknown != "":
			if !errors.Is(err, wire.ErrNewer) || !strings.Contains(err.Error(), c.unknown) {
				t.Errorf("%s: %v", name, err)
			}
		case err != nil || got.SingleWriter != c.single:
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}
