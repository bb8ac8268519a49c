// Package powerloss holds no code: its tests let the power fail under a store, and
// under whole repositories, at every operation, and look whether what was reported
// as done is there.
//
// The programs run on a [lossy.Disk], which records what they do. From every prefix
// of that record it makes disks that the failure may leave, and on each of them:
//
//   - every object whose Put was acknowledged, and whose deletion had not begun, is
//     there, byte for byte;
//   - no object has other bytes than somebody put under its name;
//   - an object that is there has beside it whatever its writer had seen before;
//   - the log folds without a gap; every pack and index segment that it names is
//     there; every snapshot that was committed is in it, and what was forgotten is
//     forgotten.
//
// On a sample of them the repository is opened and checked with all data read, all
// snapshots are read back, and the next backup and two prunes run and leave no
// garbage. A client's cache from before the failure, whole, old or torn, does not
// change that.
//
// That the suite sees something is shown by taking away each fsync in turn: the
// call sites are found by their stacks, and a new one that is in no table fails the
// test.
//
//	go test ./internal/powerloss -v -powerloss.states 1000000 -powerloss.seed 7
package powerloss
