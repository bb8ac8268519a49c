// Package probe tries out on a user's own store what package storetest demands
// of every backend, as far as repositories depend on it and a store can get it
// wrong: that a name is given once, that what was put is there, is listed, and
// comes back as it was.
//
// All it puts is named probe/<run>-<…>, which is never a repository's; so it can
// run beside one, and it removes what it has put. A [Report] lists [Finding]s:
// what was seen, what that means for a repository, and what can be done.
//
// A probe sees what happens while it looks. That nothing is found is no proof
// that a store never errs.
package probe
