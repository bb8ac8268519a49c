// Package mounts says what is mounted where, and who uses a block device.
//
// What it says was true when it looked: another process may mount something at any time. To keep others away a device is opened with
// O_EXCL; this package says why that failed.
package mounts
