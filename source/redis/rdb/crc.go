package rdb

import "hash/crc64"

// jones is the polynomial of the checksum in RDB files, in the bit order of hash/crc64.
var jones = crc64.MakeTable(0x95ac9329ac4bc9b5)

// update adds p to a checksum. Unlike hash/crc64's it begins with zero and is not inverted.
func update(crc uint64, p []byte) uint64 { return ^crc64.Update(^crc, jones, p) }
