// Package check looks for damage in a repository and changes none of it.
//
// Without reading packs it verifies everything but the segments of data packs: both copies of config and
// key slots, the log's hash chain and signatures from entry 1 on, checkpoints, index segments, that
// every live pack is there with its size and that its directory agrees with the index, and every page
// of every live snapshot's tree with every blob it refers to. Of the packs that Options.Read chooses every
// byte is read: their hash, every segment, every blob's id. Which packs were found whole is noted in the
// repository (package records), so that a later check can go on with those verified longest ago.
//
// A pack that is damaged and can be mended from its parity costs nothing yet, and is told apart from one
// that is lost. For what is lost the trees are walked, and the snapshots and files named that it costs.
//
// Damage is collected in the Report, each piece with the object's name, and the check goes on behind it,
// also where the disk can not read an object. Any other error of the store (no connection, it is gone)
// ends the check and is returned, since it says nothing about the repository.
//
// NoKey verifies what can be verified without any key: that objects which are named by their hash have it.
package check
