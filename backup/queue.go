package backup

import (
	"context"
	"slices"
	"sync"
)

// task is a piece of the walk. It is run by one worker, which holds the gate for reading.
type task interface {
	run(ctx context.Context, w *worker) error
}

// queue is the stack of tasks: the last in is the first out, which makes the walk depth-first. It is
// safe for concurrent use.
type queue struct {
	mu     sync.Mutex
	wake   sync.Cond
	tasks  []task
	closed bool
}

func newQueue() *queue {
	q := new(queue)
	q.wake.L = &q.mu
	return q
}

func (q *queue) push(t task) {
	q.mu.Lock()
	q.tasks = append(q.tasks, t)
	q.mu.Unlock()
	q.wake.Signal()
}

// pushFolders pushes folders so that they are taken in their order.
func (q *queue) pushFolders(folders []*folder) {
	q.mu.Lock()
	for _, f := range slices.Backward(folders) {
		q.tasks = append(q.tasks, f)
	}
	q.mu.Unlock()
	q.wake.Broadcast()
}

// pop waits for a task. It returns nil when the queue was closed.
func (q *queue) pop() task {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.tasks) == 0 && !q.closed {
		q.wake.Wait()
	}
	if q.closed {
		return nil
	}
	last := len(q.tasks) - 1
	t := q.tasks[last]
	q.tasks[last] = nil
	q.tasks = q.tasks[:last]
	return t
}

// close lets all workers go.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.wake.Broadcast()
}
