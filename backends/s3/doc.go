// Package s3 keeps objects in a bucket of an S3 server: Amazon's, or one of the many that speak its protocol.
//
// An object is a key: the location's prefix, a slash, the name. What else is in the bucket is left alone.
//
//	Put         one PUT: If-None-Match: *, the size, and the CRC32C, which the server compares. Never in
//	            parts, which could not be create-only. The signature covers the data as well where neither
//	            TLS nor loopback keeps others from it. A server that turns that checksum's header away gets
//	            Content-MD5 from then on, and nothing is asked of it about checksums.
//	Get         one GET of exactly the range. What is wrong with a range takes one more request (HEAD). A
//	            whole object is compared with the CRC32C that the server has kept.
//	List        GET ?list-type=2 with prefix and start-after, a thousand names each. The order is checked.
//	Delete      POST ?delete, up to a thousand keys. That nothing was there is not told.
//	ExtendLock  HEAD for the lock, and PUT ?retention where it has less than half of its days left.
//
// Opening sends nothing; a bucket that is missing shows with the first operation. Create looks for the bucket
// and makes it if it is not there.
//
// # Errors
//
// 412 is [backends.ErrExist]; 409 and 429, a checksum that did not fit, and requests that were turned away
// unread are Transient. After any other failure without a clear answer, 5xx included, a Put or Delete is
// Unclear, since the server may have done it. 403 is [backends.ErrDenied] with the permission that is missing.
// 501 to a Put is [backends.ErrNoCreateOnly], unless it names another header: the store can then serve a single
// writer ([Options].NoCreateOnly).
// A 404 with a page, and a success with one where none belongs, come from a proxy and not from a store: they say
// nothing of objects. Nothing is tried again here: package retry does that.
//
// # Versions
//
// In a bucket with versions a deletion would only hide, and free nothing. Whether it has them is asked at the
// first deletion (s3:GetBucketVersioning), or shows by the markers that deletions leave. Then deleting is: list
// the versions of the names (s3:ListBucketVersions), delete those (s3:DeleteObjectVersion), and last the
// markers. Credentials that may not do that hide the objects; [Store.Kept] counts them.
//
// # Locks
//
// With [Options].LockDays each object is put with a retention (s3:PutObjectRetention), in a bucket with Object
// Lock. Not so signs of life, checkpoints and leases, which are of a moment. Locked objects are not hidden by
// a deletion but reported as [backends.LockedError]. The mode is governance unless told otherwise: it keeps
// objects from whoever has the credentials of a host, and leaves the owner of the bucket a way out of a
// mistake, which compliance does not before the time is over.
//
// # Connections
//
// HTTP/1.1, kept alive, [Options].Connections at most; a request that finds none free waits for one, and says
// so to [backends.Progress]. docs/s3.md describes the settings for users, and docs/backends.md the contract.
package s3
