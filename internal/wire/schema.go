package wire

import (
	"reflect"
	"strconv"
	"strings"
	"sync"

	"github.com/fxamacker/cbor/v2"
)

// shape is what the scan must find at a place.
type shape uint8

const (
	anything   shape = iota // not our business: a type that decodes itself, or an interface
	scalar                  // an integer, text or boolean: the library checks, null is refused
	byteString              // a byte string, of size bytes unless size is negative
	list                    // an array of elem
	table                   // a map with values of elem
	record                  // a map with the keys of fields
	tuple                   // an array whose elements are parts
	pointer                 // null, or an elem
)

// schema is what the scan needs to know of a Go type. Schemas may be cyclic.
type schema struct {
	shape  shape
	size   int
	elem   *schema
	small  [32]*schema // fields with the keys 0 to 31
	fields map[int64]*schema
	parts  []*schema
}

// field returns the schema of the value under an integer key, or nil if the key is unknown.
func (s *schema) field(key int64) *schema {
	switch s.shape {
	case table:
		return s.elem
	case anything:
		return nil
	}
	if key >= 0 && key < int64(len(s.small)) {
		return s.small[key]
	}
	return s.fields[key]
}

var (
	schemas     sync.Map // reflect.Type → *schema, only finished ones
	unmarshaler = reflect.TypeFor[cbor.Unmarshaler]()
	whatever    = &schema{shape: anything}
)

func schemaOf(t reflect.Type) *schema {
	if s, ok := schemas.Load(t); ok {
		return s.(*schema)
	}
	s := build(t, make(map[reflect.Type]*schema))
	schemas.Store(t, s)
	return s
}

func build(t reflect.Type, building map[reflect.Type]*schema) *schema {
	if s, ok := building[t]; ok {
		return s
	}
	if t.Implements(unmarshaler) || reflect.PointerTo(t).Implements(unmarshaler) {
		return whatever
	}
	s := &schema{size: -1}
	building[t] = s
	switch t.Kind() {
	case reflect.Pointer:
		s.shape, s.elem = pointer, build(t.Elem(), building)
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			s.shape = byteString
			if t.Kind() == reflect.Array {
				s.size = t.Len()
			}
			break
		}
		s.shape, s.elem = list, build(t.Elem(), building)
	case reflect.Map:
		s.shape, s.elem = table, build(t.Elem(), building)
	case reflect.Struct:
		s.fields = make(map[int64]*schema)
		s.shape = record
		addFields(s, t, building)
	case reflect.Interface:
		s.shape = anything
	default:
		s.shape = scalar
	}
	return s
}

func addFields(s *schema, t reflect.Type, building map[reflect.Type]*schema) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("cbor"), ",")
		if f.Name == "_" && options == "toarray" {
			s.shape = tuple
			continue
		}
		if f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct {
			addFields(s, f.Type, building)
			continue
		}
		if !f.IsExported() || name == "-" {
			continue
		}
		sub := build(f.Type, building)
		s.parts = append(s.parts, sub)
		key, err := strconv.ParseInt(name, 10, 64)
		if err != nil || !strings.Contains(options, "keyasint") {
			continue // no integer key can fill it
		}
		if key >= 0 && key < int64(len(s.small)) {
			s.small[key] = sub
		} else {
			s.fields[key] = sub
		}
	}
}
