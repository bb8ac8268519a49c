package process

import (
	"os"
	"slices"
	"strings"
	"sync"
)

const tempVar = "TMPDIR"

// temp is what SetTemp has changed.
var temp struct {
	mu  sync.Mutex
	set bool
	was []string // the variable as it was, if there was one
}

// SetTemp has this process, and the tools that it starts for itself, put what they need for a while into a folder. What the user has it start keeps
// to the folder that was used before, see Environ.
func SetTemp(dir string) error {
	temp.mu.Lock()
	defer temp.mu.Unlock()
	if value, ok := os.LookupEnv(tempVar); ok && !temp.set {
		temp.was = []string{tempVar + "=" + value}
	}
	temp.set = true
	return os.Setenv(tempVar, dir)
}

// Environ is the environment of a command that the user wants run: that of this process, as far as it was not made for this process alone.
func Environ() []string {
	temp.mu.Lock()
	defer temp.mu.Unlock()
	env := os.Environ()
	if !temp.set {
		return env
	}
	env = slices.DeleteFunc(env, func(v string) bool { return strings.HasPrefix(v, tempVar+"=") })
	return append(env, temp.was...)
}
