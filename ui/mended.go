package ui

import (
	"fmt"
	"strings"

	"github.com/kura-backup/kura/internal/object"
)

type mendedMessage struct {
	MessageType string   `json:"message_type"` // "hint"
	Message     string   `json:"message"`
	Objects     []string `json:"objects"`
}

// Mended warns of packs and index segments that could be read only because parity mended them.
func (t *Terminal) Mended(refs []object.Ref) {
	if len(refs) == 0 {
		return
	}
	names := make([]string, len(refs))
	packs := 0
	for i, ref := range refs {
		names[i] = ref.Name()
		if ref.Class.IsPack() {
			packs++
		}
	}
	var what, repairs []string
	if packs > 0 {
		what, repairs = append(what, Count(uint64(packs), "pack")), append(repairs, "kura repair packs")
	}
	if n := len(refs) - packs; n > 0 {
		what, repairs = append(what, Count(uint64(n), "index segment")), append(repairs, "kura repair index")
	}
	are, were := "are", "were"
	if len(refs) == 1 {
		are, were = "is", "was"
	}
	message := fmt.Sprintf("%s %s damaged or missing and %s mended by parity; run %s", strings.Join(what, " and "), are, were, strings.Join(repairs, " and "))
	if t.JSON {
		t.ErrorMessage(mendedMessage{"hint", message, names})
		return
	}
	t.Info("warning: " + message)
}
