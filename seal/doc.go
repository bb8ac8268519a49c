// Package seal is the secrecy of a repository: keys and who has them, the envelope of every
// object, the encryption of segments, signatures, and the ids of blobs. It does no I/O. The
// bytes are those of docs/format.md, sections 1 to 5; this comment says why they are so.
//
// # Keys and roles
//
// A [Keyring] holds independent random secrets, none derived from another, so that each can
// be given away, or replaced in a new epoch, alone:
//
//	secret             writer   maintainer  owner    used for
//	K_id, K_chunk      yes      yes         yes      blob ids, chunk boundaries
//	K_index            yes      yes         yes      envelopes: log, index, directories of packs
//	meta key pair      public   private     private  origins of tree packs and manifests
//	data key pair      public   public      private  origins of data packs
//	key for states     public   private     private  checkpoints
//	owners' key        public   public      private  config, first log entry, what is in slots
//	own signing key    own      own         own      log entries
//
// K_index, the two pairs and the key for states are of an epoch: [Keyring.Next] begins another, with which everything
// new is sealed. Keyrings keep all earlier ones, for what is stored. What names blobs and cuts files stays.
//
// A [Writer] backs up and deduplicates, and cannot read what it or anyone stored: a stolen
// server does not give away its history. A [Maintainer] sees names and times, forgets and
// collects. Only the [Owner] reads contents. Every keyring has the owners' public signing key,
// the anchor of all signatures. [Keyring.Subset] makes the keyrings of others, each with a signing key of its own.
//
// # Slots
//
// A keyring is stored in slots ([SealSlot], [OpenSlot]), each for one [Credential]: a
// passphrase (Argon2id) or a key file. A reader refuses a cost beyond its ceilings before it
// spends anything, and finds out that a slot is for another credential, or of a kind that it
// does not know, without a key derivation wherever that can be known.
//
// What a credential opens is not the keyring itself, but the private keys of the slot's holder. The keyring lies
// behind, sealed to the holder's public key and signed by an owner. So an owner can give new keys to all holders
// without any of their credentials ([Keyring.RenewSlot]), and a holder can change its credential without an owner.
// Nobody else can do either: the owner's signature keeps a thief, who knows the public keys, from giving keys of his
// own; and the holder's signature on its part keeps him from being given any.
//
// # The envelope
//
// Every object has one [Envelope]: a header, a clear part, and sealed parts. Its key is derived
// from K_index and a random salt, for this object and class alone, so no key ever seals under
// one nonce twice, and objects of different classes or places cannot be exchanged: the AAD
// binds the header, the clear part and the object's place (see [BindLog]). The same derivation
// gives a commitment to the key, stored in the header and compared before anything is
// decrypted. Neither AEAD commits to its key by itself; with the commitment no ciphertext opens
// under two keys, one slot cannot test many passphrases at once, and a wrong key is told from
// damage.
//
// # Segments
//
// A session draws one [Secret] for each kind of pack and seals it to the repository's public
// key. An [Origin] holds the sealed secret and the salt of one pack; together they give a
// [SegmentKey], under which segments are numbered by ordinals. As a segment names its origin
// and ordinal, it can be carried to another pack without decrypting it.
//
// Callers never choose a nonce: keys that seal take each number once, ascending, and keys that
// open cannot seal. Breaking this is a programming error and panics.
package seal
