package object

import (
	"bytes"
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// Class says what an object is. The numbers are those of the envelope's header.
type Class uint8

// The classes of objects.
const (
	Config     Class = 1
	Slot       Class = 2
	LogEntry   Class = 3
	Checkpoint Class = 4
	DataPack   Class = 5
	TreePack   Class = 6
	Index      Class = 7
	Sign       Class = 8
	Parity     Class = 9
	Record     Class = 10
)

var classNames = [...]string{
	Config: "config", Slot: "slot", LogEntry: "log", Checkpoint: "checkpoint",
	DataPack: "data", TreePack: "tree", Index: "index", Sign: "sign",
	Parity: "parity", Record: "record",
}

// String returns the word that key derivation and messages use for the class.
func (c Class) String() string {
	if int(c) < len(classNames) && classNames[c] != "" {
		return classNames[c]
	}
	return fmt.Sprintf("class %d", uint8(c))
}

// IsPack reports whether objects of the class hold blobs.
func (c Class) IsPack() bool { return c == DataPack || c == TreePack }

// PackClass returns the class of the packs that hold blobs of type t.
func PackClass(t BlobType) Class {
	if t == TreeBlob {
		return TreePack
	}
	return DataPack
}

// Names and prefixes in the store.
const (
	ConfigName     = "config"
	ConfigCopyName = "config.copy"

	KeysPrefix        = "keys/"
	LogPrefix         = "log/"
	CheckpointsPrefix = "checkpoints/"
	DataPrefix        = "data/"
	TreePrefix        = "tree/"
	IndexPrefix       = "index/"
	SessionsPrefix    = "sessions/"
	ParityPrefix      = "parity/"
	RecordsPrefix     = "records/"
	QuarantinePrefix  = "quarantine/"

	copySuffix = ".copy"
)

// TopNames returns what the names in the store begin with, up to the first slash.
func TopNames() []string {
	names := []string{ConfigName, ConfigCopyName}
	for _, prefix := range []string{
		KeysPrefix, LogPrefix, CheckpointsPrefix, DataPrefix, TreePrefix, IndexPrefix, SessionsPrefix, ParityPrefix,
		RecordsPrefix, QuarantinePrefix,
	} {
		names = append(names, strings.TrimSuffix(prefix, "/"))
	}
	return names
}

// refPrefixes are where the objects lie that are named by session and hash.
var refPrefixes = [...]string{
	DataPack: DataPrefix, TreePack: TreePrefix, Index: IndexPrefix,
	Parity: ParityPrefix, Record: RecordsPrefix,
}

func (c Class) refPrefix() string {
	if int(c) < len(refPrefixes) {
		return refPrefixes[c]
	}
	return ""
}

// Ref identifies an object that is named by the session that wrote it and the hash of its bytes: a
// pack, an index segment, the parity of a group of packs, or a record of what was checked.
type Ref struct {
	Class   Class
	Session SessionID
	Hash    Hash
}

// Name returns the object's name in the store.
func (r Ref) Name() string {
	prefix := r.Class.refPrefix()
	if prefix == "" {
		panic("object: " + r.Class.String() + " objects are not named by hash")
	}
	return prefix + r.last()
}

func (r Ref) String() string { return r.Name() }

// last is the last element of the object's name.
func (r Ref) last() string { return r.Session.String() + "-" + r.Hash.String() }

// ParseRef reads the name of an object that is named by session and hash.
func ParseRef(name string) (Ref, error) {
	for c, prefix := range refPrefixes {
		if rest, ok := strings.CutPrefix(name, prefix); ok && prefix != "" {
			return parseRef(Class(c), rest, name)
		}
	}
	return Ref{}, fmt.Errorf("object name %q: not one of a session and a hash", name)
}

// parseRef reads the last element of a name.
func parseRef(class Class, last, name string) (Ref, error) {
	r := Ref{Class: class}
	sid, hash, ok := strings.Cut(last, "-")
	if !ok {
		return Ref{}, fmt.Errorf("object name %q: want a session and a hash", name)
	}
	if err := parseHex(r.Session[:], sid); err != nil {
		return Ref{}, fmt.Errorf("object name %q: session: %w", name, err)
	}
	if err := parseHex(r.Hash[:], hash); err != nil {
		return Ref{}, fmt.Errorf("object name %q: hash: %w", name, err)
	}
	return r, nil
}

// QuarantineName returns the name under which the damaged bytes of an object are set aside.
func QuarantineName(r Ref) string { return QuarantinePrefix + r.Class.String() + "-" + r.last() }

// ParseQuarantineName is the inverse of QuarantineName.
func ParseQuarantineName(name string) (Ref, error) {
	s, _ := strings.CutPrefix(name, QuarantinePrefix)
	for c, prefix := range refPrefixes {
		class := Class(c)
		if last, ok := strings.CutPrefix(s, class.String()+"-"); ok && prefix != "" && len(s) < len(name) {
			return parseRef(class, last, name)
		}
	}
	return Ref{}, fmt.Errorf("object name %q: nothing that was set aside", name)
}

// LogName returns the name of log entry n.
func LogName(n uint64) string { return fmt.Sprintf("%s%016d", LogPrefix, n) }

// CheckpointName returns the name of the checkpoint after log entry n.
func CheckpointName(n uint64) string { return fmt.Sprintf("%s%016d", CheckpointsPrefix, n) }

// ParseNumbered reads the number out of a name made by LogName or CheckpointName, given its prefix.
func ParseNumbered(prefix, name string) (uint64, error) {
	s, ok := strings.CutPrefix(name, prefix)
	n, err := strconv.ParseUint(s, 10, 64)
	if !ok || err != nil || n == 0 || len(s) != 16 {
		return 0, fmt.Errorf("object name %q: want %s and 16 digits", name, prefix)
	}
	return n, nil
}

// SlotName returns the name of the slot with the given 16-digit hexadecimal id, or of its copy.
func SlotName(id string, second bool) string {
	if second {
		return KeysPrefix + id + copySuffix
	}
	return KeysPrefix + id
}

// ParseSlotName returns the slot's id and whether name is that of the second copy.
func ParseSlotName(name string) (id string, second bool, err error) {
	s, ok := strings.CutPrefix(name, KeysPrefix)
	s, second = strings.CutSuffix(s, copySuffix)
	var raw [8]byte
	if !ok || parseHex(raw[:], s) != nil {
		return "", false, fmt.Errorf("object name %q: not a key slot", name)
	}
	return s, second, nil
}

// SignName returns the name of a session's k-th sign of life.
func SignName(sid SessionID, k uint32) string {
	return fmt.Sprintf("%s%s-%08d", SessionsPrefix, sid, k)
}

// ParseSignName is the inverse of SignName.
func ParseSignName(name string) (sid SessionID, k uint32, err error) {
	s, ok := strings.CutPrefix(name, SessionsPrefix)
	left, right, ok2 := strings.Cut(s, "-")
	n, err := strconv.ParseUint(right, 10, 32)
	if !ok || !ok2 || err != nil || len(right) != 8 || parseHex(sid[:], left) != nil {
		return SessionID{}, 0, fmt.Errorf("object name %q: not a sign of life", name)
	}
	return sid, uint32(n), nil
}

// Compare orders refs by class, session and hash.
func (r Ref) Compare(other Ref) int {
	return cmp.Or(
		cmp.Compare(r.Class, other.Class),
		r.Session.Compare(other.Session),
		bytes.Compare(r.Hash[:], other.Hash[:]),
	)
}
