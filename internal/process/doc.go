// Package process runs commands so that they can be ended together with all that they have started, and shells' command lines
// so that the failure of any part of a pipeline is seen.
package process
