// Package zst compresses and decompresses the Zstandard frames of the repository format.
//
// A frame has its content size in its header and a window of at most 8 MiB. It carries no
// checksum, as every frame lies inside authenticated ciphertext. Decoding takes exactly one
// such frame, and judges its size by its headers before it allocates anything.
//
// Encoders and decoders are pooled and each works on one goroutine: the callers are the ones
// that run in parallel. All functions are safe for concurrent use.
package zst
