package node

import "sync"

// idleQueue is how many places an empty queue keeps.
const idleQueue = 16

// queue is a first-in first-out queue between goroutines, with one who takes. It is a
// channel that takes memory only for what is in it, so that many sessions which carry
// nothing cost little.
type queue[T any] struct {
	ready signal // something came, or the queue was closed
	room  signal // something was taken

	mu     sync.Mutex // guards all below
	limit  int
	items  []T // those before head were taken
	head   int
	closed bool
}

func newQueue[T any](limit int) *queue[T] {
	return &queue[T]{ready: make(signal, 1), room: make(signal, 1), limit: limit}
}

// signal wakes one waiter; signals before the wait are merged, not lost.
type signal chan struct{}

func (c signal) notify() {
	select {
	case c <- struct{}{}:
	default:
	}
}

// offer puts v into the queue, or returns false when it is full.
func (q *queue[T]) offer(v T) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items)-q.head >= q.limit {
		return false
	}
	q.items = append(q.items, v)
	q.ready.notify()
	return true
}

// put waits for room. It returns false when done is closed first.
func (q *queue[T]) put(v T, done <-chan struct{}) bool {
	for !q.offer(v) {
		select {
		case <-q.room:
		case <-done:
			return false
		}
	}
	return true
}

// take waits for the next item. It returns false when there is none and the queue was
// closed, or when done is closed.
func (q *queue[T]) take(done <-chan struct{}) (T, bool) {
	for {
		if v, ok, closed := q.next(); ok || closed {
			return v, ok
		}
		select {
		case <-q.ready:
		case <-done:
			var none T
			return none, false
		}
	}
}

func (q *queue[T]) next() (v T, ok, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.head == len(q.items) {
		return v, false, q.closed
	}
	var none T
	v, q.items[q.head] = q.items[q.head], none
	q.head++
	switch {
	case q.head < len(q.items):
		if q.head >= q.limit { // a queue that never runs empty must not grow
			q.items = append(q.items[:0], q.items[q.head:]...)
			q.head = 0
		}
	case cap(q.items) > idleQueue:
		q.items, q.head = nil, 0
	default:
		q.items, q.head = q.items[:0], 0
	}
	q.room.notify()
	return v, true, false
}

// close says that nothing more comes. What is in the queue can still be taken.
func (q *queue[T]) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.ready.notify()
}
