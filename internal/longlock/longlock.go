// Package longlock has a mutex for what is held while a store is asked.
//
// Waiting for a sync.Mutex means to a test in a bubble of testing/synctest that somebody is at work. Who
// waits for one of these waits for a channel: a test that holds back the answers of a store can see that
// everybody waits.
package longlock

import "sync"

// Mutex is like a [sync.Mutex]. Its zero value is unlocked.
type Mutex struct {
	once sync.Once
	held chan struct{}
}

func (m *Mutex) channel() chan struct{} {
	m.once.Do(func() { m.held = make(chan struct{}, 1) })
	return m.held
}

// Lock waits until nobody holds m, and holds it.
func (m *Mutex) Lock() { m.channel() <- struct{}{} }

// Unlock lets m go. Who calls it holds m.
func (m *Mutex) Unlock() { <-m.channel() }
