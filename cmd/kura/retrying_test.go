package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/kura-backup/kura/backends"
	"github.com/kura-backup/kura/ui"
)

// What answers in the store's place, such as a proxy, does not write to the terminal as it likes.
func TestRetrying_TextOfAServer_IsOnePrintableLine(t *testing.T) {
	var out bytes.Buffer
	a := &app{term: ui.NewPlain(&out, &out)}
	err := errors.New("backends: s3: 502 Bad Gateway: <html>\n\x1b[2J\x1b]0;owned\a</html>")
	a.retrying("put", "config", &backends.Error{Op: "put", Name: "config", Err: err}, time.Minute)
	want := `kura: put config failed and is tried again in 1m0s: s3: 502 Bad Gateway: <html>; \x1b[2J\x1b]0;owned\a</html>` + "\n"
	if got := out.String(); got != want || strings.Count(got, "\n") != 1 {
		t.Errorf("%q, want %q", got, want)
	}
}
