// Package frames cuts a connection into frames, so that many things can be under way on it at once.
//
// A frame is a header of 10 bytes (type, flags, id, length; numbers are little endian) and a payload of at most [MaxPayload]
// bytes. What is longer goes as a row of [Data] frames with one id. Rows take turns with each other, and all other frames go
// before them: a frame waits for at most one piece of a row, and what the connection itself keeps.
//
// It is read by one side which does not trust the other: nothing is allocated by what a header says but one payload.
package frames
