// Package testvm runs programs in a virtual machine with a kernel of its own: Debian's, which has what the one below need not have,
// such as device-mapper.
//
// The machine has no installed system. [Machine.Run] packs a folder, which fetch.sh has made of Debian packages, into the
// archive from which the kernel fills its first file system, adds the programs to run, and a script that runs them as
// the machine's first process. Disks are empty files. The machine has no network.
//
// It runs on /dev/kvm where that works, and is emulated otherwise, which takes about ten times as long.
package testvm
