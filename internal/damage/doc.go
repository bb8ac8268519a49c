// Package damage holds no code: its tests damage repositories and look what becomes of them.
//
// A repository in memory has objects of every class. Each case damages one of them in one way, or lets two
// change places, and then
//
//   - opens the repository with a new cache or with the one of before, and reads every snapshot: each byte is
//     the right one, or there is an error that says what is damaged;
//   - runs a check with all data read, which must report the damage;
//   - repairs what its parity, its group or its copy can mend, after which all is as it was.
//
// Damage that cannot matter, and the little that nobody can notice, is listed in matrix_test.go with its reason.
// onpurpose_test.go has the attacks that are more than damage to one object: forked and
// rolled back histories, and objects of other repositories. cache_test.go damages what a client keeps itself.
//
// The table that the tests print is in docs/damage.md:
//
//	go test ./internal/damage -v -damage.cases 20000 -damage.seed 7
package damage
