// Package remote is a repository at the other end of one pipe: kura works on a machine that can not reach the
// repository, for somebody who has it open here.
//
// Here [Serve] has the open repository and speaks over a connection, which is mostly the standard input and output of an
// ssh. There [Dial] answers: a [Peer] has the command that is to be run, writers for what it prints, and
// [Peer.Open] gives an ordinary [repo.Repository] whose store, index and private keys are here.
//
//	here                                        there
//	Serve(ctx, conn, ServeOptions{…})           peer, err := Dial(ctx, conn, version)
//	                                            r, err := peer.Open(peer.Context(), cacheDir)
//	                                            … the command, printing to peer.Stdout() and peer.Stderr() …
//	                                            peer.Finish(code)
//	Result{Exit: code}, nil
//
// # The protocol
//
// The far side begins with a line of its own, by which a connection that says anything else is told from one
// that works, and with the number of the protocol; both have to be the same program. All that follows are frames:
//
//	type (1 byte) | flags (1) | id (4, little endian) | length (4) | payload
//
// A payload has at most 64 KiB. Requests come from there and carry an id; a reply has the id of its request. What
// is longer than a header follows as pieces with the same id, between those of others, so that nothing waits for a pack: requests,
// lookups, output and short replies go before pieces, and the pieces of several take turns. Pieces are compressed
// (flag 1) where that pays and they are not of packs, which look like noise.
//
//	hello     → there   the command, the lent keyring, what the store can do
//	welcome   → here    the version there
//	request   → here    get put list delete · index lookup origin verify · sign open · output
//	reply     → there   what became of it, with the kind of an error
//	data      both      a piece of what belongs to a request or a reply
//	cancel    → here    the answer to a request is of no more interest; → there with id 0: stop the command
//	finish    → here    how the command ended
//	alive     → there   somebody is here; when nothing comes for a minute the connection is taken for cut there
//
// # Flow
//
// Whoever sends bounds what is under way: there are at most maxCalls requests, and maxWindow bytes of what is put. Both
// are counted here again: who exceeds them ends the connection. Nobody who reads from the connection waits for anything
// but memory that was counted before, so that the two sides can not wait for each other.
//
// A large body is sent alone, and not by turns with other large ones: when the connection is cut at most one was sent in vain.
//
// # What goes over
//
// To open the repository: its config, the newest checkpoint of the log, which has 41 bytes for each pack, and the entries after it. The
// index does not: each blob is asked for by its id, many at a time, at some 32 bytes there and 50 back if it is known. For
// a backup then come the blobs that are not known, compressed and in sealed packs, their index and an entry of the log; for a
// restore the ranges of packs that are needed. No delta is made against what would have to be fetched for it: of a
// chunk that has changed, of 512 KiB to 8 MiB, all is sent.
//
// # When it is cut
//
// Everything that is under way, and all that comes later, fails with an error that wraps [ErrCut]. What was put and
// answered is durable. A session that was cut leaves packs that the next one adopts (package repo), so
// that the command, started again, sends nothing twice.
//
// # What the far side can do
//
// The host at the far side may be in somebody else's hands, before or while the command runs. It gets a keyring without any private key:
// the secrets by which blobs are named and cut, and the key of the index, as every writer has them. The
// private keys stay here, and are used for it:
//
//   - For a backup, to sign entries that add a snapshot as the next one of the log, and no others. It can read no blob, not even its own. It
//     can put objects of the classes that a session makes, whose bytes must have the hash in their name; the log takes
//     from it only the entry that was signed, as the next one, and only if it counts. Partial snapshots give way
//     to it only if they came over the same connection. It can delete nothing and
//     replace nothing. It reads the log, and of the packs only those of sessions that have not ended, to adopt
//     them. So it can add snapshots that claim anything, and fill the store: what whoever has a writer's key can.
//   - For an update, which is a backup that goes on from an earlier snapshot, also to open what folders and manifests are sealed
//     with. So it can read the names and the metadata of all files of all snapshots, if the key here can, but no file.
//   - For a restore, to open the keys of packs, as it asks for them. It can read all that the credential here can, as long
//     as the connection lasts; afterwards it has no key with which more of the repository could be read. It can change
//     nothing.
//
// What it sends is bounded and checked before anything is done with it; what it prints is passed on as bytes, for the caller to
// make harmless.
package remote
