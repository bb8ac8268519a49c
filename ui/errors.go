package ui

type errorText struct {
	Message string `json:"message"`
}

type errorMessage struct {
	MessageType string    `json:"message_type"` // "error"
	Error       errorText `json:"error"`
	During      string    `json:"during,omitempty"`
	Item        string    `json:"item,omitempty"`
	ItemRaw     []byte    `json:"item_raw,omitempty"`
}

type warningMessage struct {
	MessageType string `json:"message_type"` // "warning"
	During      string `json:"during"`
	Item        string `json:"item"`
	ItemRaw     []byte `json:"item_raw,omitempty"`
	Message     string `json:"message"`
}

type exitMessage struct {
	MessageType string   `json:"message_type"` // "exit_error"
	Code        int      `json:"code"`
	Message     string   `json:"message"`
	Hints       []string `json:"hints,omitempty"`
}

// ItemError reports that something about one entry of a source, a snapshot or a repository went wrong
// while the run goes on.
func (t *Terminal) ItemError(during, item string, err error) {
	if t.JSON {
		m := errorMessage{MessageType: "error", Error: errorText{err.Error()}, During: during}
		m.Item, m.ItemRaw = jsonText(item)
		t.ErrorMessage(m)
		return
	}
	line := "kura: error: "
	if item != "" {
		line += Printable(item) + ": "
	}
	t.Error(line + PrintableMessage(err.Error()))
}

// ItemWarning says of one entry what is no error but ought to be known, unless quiet is asked for.
func (t *Terminal) ItemWarning(during, item, message string) {
	if t.JSON {
		m := warningMessage{MessageType: "warning", During: during, Message: message}
		m.Item, m.ItemRaw = jsonText(item)
		t.ErrorMessage(m)
		return
	}
	t.Info("warning: " + Printable(item) + " " + PrintableMessage(message))
}

// Fatal reports the error that ends the run.
func (t *Terminal) Fatal(code int, message string, hints []string) {
	if t.JSON {
		t.ErrorMessage(exitMessage{MessageType: "exit_error", Code: code, Message: message, Hints: hints})
		return
	}
	t.Error("kura: error: " + PrintableMessage(message))
	for _, h := range hints {
		t.Error("kura: hint: " + PrintableMessage(h))
	}
}
