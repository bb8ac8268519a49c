// Package testsys gives tests what they need of the system besides an ordinary process: another user,
// mounts of their own, file systems that can what the one below the temporary folder can not.
//
// Nothing of it outlives the test, even one that is killed: mounts are those of a process of their own, loop devices go
// with what is mounted of them, and folders in memory when the next test needs one.
package testsys
