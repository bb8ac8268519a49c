package ui

import (
	"fmt"

	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/seal"
)

type keyMessage struct {
	ID      string `json:"id"`
	Kind    string `json:"kind,omitempty"`
	Current bool   `json:"current"`
	Role    string `json:"role,omitempty"`
	Copies  int    `json:"copies"`
	Damage  string `json:"damage,omitempty"`
}

// Keys prints the key slots. role is that of the one in use.
func (t *Terminal) Keys(slots []repo.Slot, role seal.Role) {
	messages := make([]keyMessage, len(slots))
	for i, s := range slots {
		m := keyMessage{ID: s.ID, Current: s.InUse, Copies: s.Copies}
		if s.Kind != 0 {
			m.Kind = s.Kind.String()
		}
		if s.InUse {
			m.Role = role.String()
		}
		if s.Err != nil {
			m.Damage = s.Err.Error()
		}
		messages[i] = m
	}
	if t.JSON {
		t.Message(messages)
		return
	}
	for _, m := range messages {
		mark, note := " ", ""
		if m.Current {
			mark, note = "*", ", "+m.Role
		}
		switch {
		case m.Damage != "":
			note += ", damaged"
		case m.Copies < 2:
			note += ", one of its two copies is missing"
		}
		t.Print(fmt.Sprintf("%s%s  %s%s", mark, m.ID, m.Kind, note))
	}
}

type keyChange struct {
	MessageType string `json:"message_type"` // "key_added" or "key_removed"
	ID          string `json:"id"`
	Role        string `json:"role,omitempty"`
}

// KeyAdded reports a new key slot.
func (t *Terminal) KeyAdded(id string, role seal.Role) {
	if t.JSON {
		t.Message(keyChange{"key_added", id, role.String()})
	} else if !t.Quiet {
		t.Print(fmt.Sprintf("key %s opens the repository now, as %v", id, role))
	}
}

// KeyRemoved reports a key slot that is gone.
func (t *Terminal) KeyRemoved(id string) {
	if t.JSON {
		t.Message(keyChange{"key_removed", id, ""})
	} else if !t.Quiet {
		t.Print(fmt.Sprintf("removed key %s", id))
	}
}
