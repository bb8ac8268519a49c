// Package lease makes of a store that can not create-only one that can, as long
// as a single client at a time changes it.
//
// On such a store a Put overwrites, so of two writers each can destroy what the
// other has just written. A [Store] therefore takes a lease before its first Put
// or Delete: an object lease/<holder>-<k> that all others see. A second client
// gets a [HeldError]. Within the lease a look whether the name is free, followed
// by the put, is as good as a put that refuses taken names; so Caps says
// CreateOnly, which is the question that those above ask.
//
// # The rules
//
//   - Take: put an own lease, then list all; if another client's is there that is
//     not expired, withdraw, wait a random time and try again, a few times. Of two
//     who take at once at least one lists after the other has put, so both can
//     lose and never both win.
//   - Expired is a lease that is older than [Expiry] by the store's clock, compared
//     with the time of the own lease just put, and also by the clocks of the two
//     machines. If one of these clocks is wrong, nobody takes over.
//   - Renew: the first change an hour after the last confirmation puts the next
//     lease. The one before stays for another hour, so that no listing misses both.
//   - Use: before each Put the own lease is read, and has to be there and to have
//     been confirmed less than 12 hours ago by a clock that counts sleep and by the
//     wall clock, whichever of them says more. Otherwise it is taken again.
//   - Give back: Close deletes the leases. Where deleting is denied, an object
//     lease/<holder>-<k>-end says the same.
//   - A Put that got no answer may still arrive after the lease was given back, and
//     overwrite what the next client has put under that name. Unless the name is
//     unique to this client, or is found to have the own bytes, the lease is not
//     given back: others wait until it expires.
//
// What is assumed: the store shows what was put in every later Get and List, and
// a request that was sent reaches the store within 12 hours or never. Between the
// last look at the own lease and the arrival of a Put lies one round trip that
// nothing guards; a machine that stops exactly there and goes on after a day can
// overwrite. That is what create-only stores are better at.
package lease
