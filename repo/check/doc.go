// Package check looks for damage in a repository and changes nothing.
//
// Without ReadData it verifies everything but the segments of data packs: both copies of config and
// key slots, the log's hash chain and signatures from entry 1 on, checkpoints, index segments, that
// every live pack is there with its size and that its directory agrees with the index, and every page
// of every live snapshot's tree with every blob it refers to. With ReadData every live pack is read:
// its hash, every segment, every blob's id.
//
// Damage is collected in the Report, each piece with the object's name. An error of the store that is
// not damage (no permission, no connection) ends the check and is returned, since it says nothing
// about the repository.
package check
