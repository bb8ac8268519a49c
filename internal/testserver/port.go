package testserver

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
)

// Below those that a system gives to clients, which would take them while a server is not up, or not up again.
const firstPort, ports = 10_000, 20_000

// held are sockets with ports in their names, which are this process's as long as it lives.
var held struct {
	mu    sync.Mutex
	names []net.Listener
}

// FreePort returns a port of loopback for a server that a test starts: nobody has it, and no other process with tests gets it.
func FreePort(t testing.TB) int {
	t.Helper()
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// freePort returns a port of loopback that nobody has, and that no other process with tests gets.
func freePort() (int, error) {
	held.mu.Lock()
	defer held.mu.Unlock()
	for range ports {
		var draw [4]byte
		rand.Read(draw[:]) // never fails
		port := firstPort + int(binary.LittleEndian.Uint32(draw[:])%ports)
		name, err := net.Listen("unix", fmt.Sprintf("@kura-test-port-%d", port))
		if err != nil {
			continue
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			name.Close()
			continue
		}
		held.names = append(held.names, name)
		return port, l.Close()
	}
	return 0, errors.New("no port is free")
}
