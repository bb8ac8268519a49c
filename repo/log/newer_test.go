package log

import (
	"errors"
	"testing"

	"github.com/kura-backup/kura/backends/mem"
	"github.com/kura-backup/kura/internal/wire"
)

// What a later version may have written, and signed, is no damage, and stops the client.
func TestLog_EntryOfANewerProgram_StopsAndIsNoDamage(t *testing.T) {
	for name, change := range map[string]func(map[int]any){
		"another kind":             func(e map[int]any) { e[1] = 9 },
		"a kind of many":           func(e map[int]any) { e[1] = 300 },
		"a key of the entry":       func(e map[int]any) { e[-1] = 0 },
		"a key of its body":        func(e map[int]any) { e[6] = map[int]any{1: make([]byte, 16), -7: 0} },
		"a key of what it lists":   func(e map[int]any) { e[1], e[6] = 7, map[int]any{1: []any{map[int]any{-1: 0, 1: 1}}} },
		"a role that is not known": func(e map[int]any) { e[1], e[6] = 7, keysOfRole(9) },
	} {
		t.Run(name, func(t *testing.T) {
			store := mem.New()
			l, keys := makeLog(t, store)
			st := l.State()
			entry := map[int]any{1: 3, 2: st.N + 1, 3: st.Hash[:], 4: make([]byte, 16), 5: 0, 6: map[int]any{1: make([]byte, 16)}}
			change(entry)
			payload, err := wire.Marshal(entry)
			if err != nil {
				t.Fatal(err)
			}
			putPayload(t, store, st, keys, payload)
			if err := l.Refresh(t.Context()); !errors.Is(err, wire.ErrNewer) || errors.As(err, new(*DamageError)) {
				t.Errorf("%v", err)
			}
			if l.State().N != st.N {
				t.Error("it was folded")
			}
		})
	}
}

// keysOfRole is the body of an entry that adds a signer.
func keysOfRole(role int) map[int]any {
	return map[int]any{1: []any{map[int]any{1: role, 2: make([]byte, 32), 3: make([]byte, slotKeySize)}}}
}
