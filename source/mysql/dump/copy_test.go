package dump

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

const sandboxLine = "/*M!999999\\- enable the sandbox mode */ \n"

// The line in front that forbids a client to run programs is the first and only thing that is left out: clients that do not know it fail at it.
func TestCopy_SandboxLine_IsLeftOut(t *testing.T) {
	const rest = "-- MariaDB dump 10.19  Distrib 10.11.14-MariaDB\n\nINSERT INTO `t` VALUES ('/*M!999999\\\\- enable the sandbox mode */ \n');\n"
	for text, want := range map[string]string{
		sandboxLine + rest: rest,
		"/*!999999\\- enable the sandbox mode */ \n" + rest: rest, // of the first versions that had one
		sandboxLine:                     "",
		sandboxLine + sandboxLine:       sandboxLine, // one is in front
		rest + sandboxLine:              rest + sandboxLine,
		rest:                            rest,
		"/*!40101 SET NAMES utf8 */;\n": "/*!40101 SET NAMES utf8 */;\n",
		"/*M!":                          "/*M!",
		"":                              "",
	} {
		for how, in := range map[string]io.Reader{"at once": strings.NewReader(text), "byte by byte": iotest.OneByteReader(strings.NewReader(text))} {
			var out strings.Builder
			if err := Copy(&out, in); err != nil || out.String() != want {
				t.Errorf("%q, %s: %q, %v; want %q", text, how, out.String(), err, want)
			}
		}
	}
	for _, text := range []string{strings.TrimSuffix(sandboxLine, "\n"), "/*M!999999" + strings.Repeat(" ", maxLine) + "\n"} {
		var out strings.Builder
		if err := Copy(&out, strings.NewReader(text)); !errors.Is(err, ErrFormat) || out.Len() > 0 {
			t.Errorf("%.40q, which does not end: %q, %v", text, out.String(), err)
		}
	}
	errNo := errors.New("no")
	if err := Copy(new(strings.Builder), iotest.ErrReader(errNo)); !errors.Is(err, errNo) {
		t.Errorf("%v", err)
	}
}
