// Kura backs up files into an encrypted, deduplicating repository, and restores them.
package main

import "os"

func main() {
	tuneMemory()
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Exit))
}
