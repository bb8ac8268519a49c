// Package netfault tests kura on an object store that a bad network, or a bad server, is in front of: the real server,
// the real client with its retries, and between them a proxy that answers with errors, resets connections, stalls, loses
// answers, and sends requests late or twice.
//
// A story is a life of a repository: it is made, backed up to, snapshots are forgotten, pruned, checked and restored.
// Whatever happens on the way, each command either has its right effect or fails with an error that says so; nothing that
// the network does is taken for damage; requests are bounded in number; no goroutine is left behind. In the end, looked at
// without the proxy, the repository is without fault, and every snapshot whose backup has succeeded restores byte for
// byte.
//
// By default each kind of fault is tried at one rate or two; -netfault.all tries it at 1, 10 and 50 %, -netfault.rounds
// with that many seeds, and -netfault.seed repeats one. -v prints what happened.
package netfault
