package ui

import "fmt"

// Traffic is what went over the connections to another machine.
type Traffic struct {
	Machine        string
	Received, Sent uint64 // bytes, without those of the program
	Program        uint64
	Connections    int
}

type trafficMessage struct {
	MessageType string `json:"message_type"` // "connection"
	Machine     string `json:"machine"`
	Received    uint64 `json:"bytes_received"`
	Sent        uint64 `json:"bytes_sent"`
	Program     uint64 `json:"bytes_program"`
	Connections int    `json:"connections"`
}

// Traffic reports what went over the connections.
func (t *Terminal) Traffic(s Traffic) {
	if t.JSON {
		t.Message(trafficMessage{"connection", s.Machine, s.Received, s.Sent, s.Program, s.Connections})
		return
	}
	text := fmt.Sprintf("%s came from %s, and %s went there", Bytes(s.Received), s.Machine, Bytes(s.Sent))
	if s.Program > 0 {
		text += fmt.Sprintf(", beside %s of program", Bytes(s.Program))
	}
	if s.Connections > 1 {
		text += fmt.Sprintf(", over %d connections", s.Connections)
	}
	t.Info(text)
}
