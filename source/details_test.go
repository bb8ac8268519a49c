package source_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/kura-backup/kura/source"
)

func TestMarshalDetails_AtTheBound_IsMadeUpToIt(t *testing.T) {
	frame := len(`{"a":""}`)
	for size, want := range map[int]error{source.MaxDetails: nil, source.MaxDetails + 1: source.ErrDetails} {
		out, err := source.MarshalDetails(map[string]string{"a": strings.Repeat("x", size-frame)})
		if !errors.Is(err, want) || err == nil && len(out) != size {
			t.Errorf("%d: %d bytes, %v", size, len(out), err)
		}
	}
}

func TestReadDetails_ByKeyAndFormat(t *testing.T) {
	for text, want := range map[string]struct {
		ok, newer bool
	}{
		`{"a":{"format":1,"n":7}}`:                   {ok: true},
		`{"a":{"format":2,"n":7}}`:                   {ok: true},
		` {"b":7,"a":{"n":7,"format":2,"later":[]}}`: {ok: true},
		`{"a":{"format":3,"n":7}}`:                   {newer: true},
		`{"a":{"format":3,"n":"seven"}}`:             {newer: true},
		`{"a":{"format":2,"n":"seven"}}`:             {},
		`{"a":{"n":7}}`:                              {},
		`{"a":{"format":0,"n":7}}`:                   {},
		`{"a":{"format":-1,"n":7}}`:                  {},
		`{"a":{"format":"1","n":7}}`:                 {},
		`{"a":{"format":1.5,"n":7}}`:                 {},
		`{"a":[]}`:                                   {},
		`{"a":null}`:                                 {},
		`{"A":{"format":1,"n":7}}`:                   {},
		`{"format":1,"n":7}`:                         {},
		`{"b":{"format":1,"n":7}}`:                   {},
		`{}`:                                         {},
		`[]`:                                         {},
		`{`:                                          {},
		``:                                           {},
	} {
		var got struct{ N int }
		ok, err := source.ReadDetails([]byte(text), "a", 2, &got)
		if ok != want.ok || errors.Is(err, source.ErrNewer) != want.newer || (err != nil) != want.newer || ok && got.N != 7 {
			t.Errorf("%s: %v, %v, %+v", text, ok, err, got)
		}
	}
}
