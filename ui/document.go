package ui

import (
	"bytes"
	"encoding/json"
	"fmt"
)

type initialisedMessage struct {
	MessageType string `json:"message_type"` // "initialized"
	ID          string `json:"id"`
	Repository  string `json:"repository"`
}

// Initialised reports that a repository was made.
func (t *Terminal) Initialised(id, location string) {
	if t.JSON {
		t.Message(initialisedMessage{"initialized", id, location})
		return
	}
	if !t.Quiet {
		t.Print(fmt.Sprintf("made repository %s at %s", id[:min(8, len(id))], location))
	}
}

// Document prints v as JSON of several lines, for people who look into a repository and for programs.
func (t *Terminal) Document(v any) {
	var b bytes.Buffer
	if err := json.Indent(&b, marshal(v), "", "  "); err != nil {
		panic("ui: " + err.Error()) // marshal makes no wrong JSON
	}
	t.write(b.Bytes())
}
