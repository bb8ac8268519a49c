package ui

import (
	"fmt"
	"strings"
	"time"

	"github.com/kura-backup/kura/repo"
	"github.com/kura-backup/kura/seal"
)

type keyMessage struct {
	ID      string `json:"id"`
	Kind    string `json:"kind,omitempty"`
	Current bool   `json:"current"`
	Role    string `json:"role,omitempty"`
	Name    string `json:"name,omitempty"`
	Added   string `json:"added,omitempty"`
	Copies  int    `json:"copies"`
	Damage  string `json:"damage,omitempty"`
}

// Keys prints the keys.
func (t *Terminal) Keys(slots []repo.Slot) {
	messages := make([]keyMessage, len(slots))
	for i, s := range slots {
		m := keyMessage{ID: s.ID, Current: s.InUse, Copies: s.Copies, Name: s.Name}
		if s.Kind != 0 {
			m.Kind = s.Kind.String()
		}
		if s.Role != 0 {
			m.Role = s.Role.String()
			m.Added = time.Unix(0, s.Added).Format(time.RFC3339)
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
	for i, m := range messages {
		mark, fields := " ", []string{}
		if m.Current {
			mark = "*"
		}
		if m.Kind != "" {
			fields = append(fields, m.Kind)
		}
		if m.Role != "" {
			fields = append(fields, m.Role)
		}
		if m.Name != "" {
			fields = append(fields, Printable(m.Name))
		}
		if m.Role != "" {
			fields = append(fields, "since "+time.Unix(0, slots[i].Added).Format(time.DateOnly))
		}
		switch {
		case m.Damage != "":
			fields = append(fields, "damaged")
		case m.Copies == 0:
			fields = append(fields, "its slot is missing: nobody can use it")
		case m.Role == "":
			fields = append(fields, "no key: removing or adding it was cut off")
		case m.Copies < 2:
			fields = append(fields, "one of its two copies is missing")
		}
		t.Print(fmt.Sprintf("%s%s  %s", mark, m.ID, strings.Join(fields, ", ")))
	}
}

type keyChange struct {
	MessageType string `json:"message_type"` // "key_added" or "key_removed"
	ID          string `json:"id"`
	Role        string `json:"role,omitempty"`
}

// KeyReplaced reports a new password or key file of a key, which programs are told as of a new key.
func (t *Terminal) KeyReplaced(id string, role seal.Role) {
	if t.JSON {
		t.KeyAdded(id, role)
	} else if !t.Quiet {
		t.Print(fmt.Sprintf("key %s is now opened by the new password or key file, and no longer by the old", id))
	}
}

// KeyAdded reports a new key.
func (t *Terminal) KeyAdded(id string, role seal.Role) {
	if t.JSON {
		t.Message(keyChange{"key_added", id, role.String()})
	} else if !t.Quiet {
		t.Print(fmt.Sprintf("key %s opens the repository now, as %v", id, role))
	}
}

// KeyRemoved reports a key that is gone.
func (t *Terminal) KeyRemoved(id string) {
	if t.JSON {
		t.Message(keyChange{"key_removed", id, ""})
	} else if !t.Quiet {
		t.Print(fmt.Sprintf("removed key %s; who has used it may have kept its secrets: kura key rotate keeps what is stored from then on from them", id))
	}
}

type keysRotated struct {
	MessageType string   `json:"message_type"` // "keys_rotated"
	Epoch       uint32   `json:"epoch"`
	Renewed     []string `json:"renewed"`
	Lost        []string `json:"lost,omitempty"`
}

// KeysRotated reports a rotation.
func (t *Terminal) KeysRotated(r *repo.Rotated) {
	if t.JSON {
		t.Message(keysRotated{"keys_rotated", r.Epoch, r.Renewed, r.Lost})
		return
	}
	for _, id := range r.Lost {
		t.Error(fmt.Sprintf("kura: warning: key %s has no slot that is whole: nobody can open the repository with it; kura key remove removes it", id))
	}
	if !t.Quiet {
		have := "have"
		if len(r.Renewed) == 1 {
			have = "has"
		}
		t.Print(fmt.Sprintf("rotated the keys: epoch %d begins, and %s %s got it; what was stored before stays readable with the old keys", r.Epoch, Count(uint64(len(r.Renewed)), "key"), have))
	}
}
