package process

import (
	"bytes"
	"os"
	"testing"
)

// putBack lets a test change what SetTemp does.
func putBack(t *testing.T) {
	t.Setenv(tempVar, "/before") // puts the variable back
	t.Cleanup(func() { temp.set, temp.was = false, nil })
}

func TestSetTemp_CommandOfTheUser_SeesTheFolderBefore(t *testing.T) {
	putBack(t)
	for _, dir := range []string{"/private", "/private/again"} {
		if err := SetTemp(dir); err != nil {
			t.Fatal(err)
		}
		if got := os.TempDir(); got != dir {
			t.Errorf("it is %s here, want %s", got, dir)
		}
		var out bytes.Buffer
		c := New(t.Context(), []string{"sh", "-c", `printf %s "$TMPDIR"`})
		c.Stdout = &out
		if err := c.Run(); err != nil || out.String() != "/before" {
			t.Errorf("the command has %q, %v", &out, err)
		}
	}
}

func TestSetTemp_NoneBefore_CommandHasNone(t *testing.T) {
	putBack(t)
	if err := os.Unsetenv(tempVar); err != nil {
		t.Fatal(err)
	}
	if err := SetTemp("/private"); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	c := New(t.Context(), []string{"sh", "-c", `printf %s "${TMPDIR-none}"`})
	c.Stdout = &out
	if err := c.Run(); err != nil || out.String() != "none" {
		t.Errorf("the command has %q, %v", &out, err)
	}
}
