package link

import "time"

// sending is a packet from when it comes until it has been sent, whether it will
// arrive or not.
type sending struct {
	departs time.Duration
	took    time.Duration
	size    int
}

// queue holds what is to be sent, in its order.
type queue struct {
	items []sending // those before head are gone
	head  int
	bytes int64
}

func (q *queue) push(s sending) {
	q.items = append(q.items, s)
	q.bytes += int64(s.size)
}

// first returns the next to be sent, or nil.
func (q *queue) first() *sending {
	if q.head == len(q.items) {
		return nil
	}
	return &q.items[q.head]
}

// drop takes the first out.
func (q *queue) drop() {
	q.bytes -= int64(q.items[q.head].size)
	q.head++
	// Moved down seldom enough to cost nothing much, and often enough that what
	// is gone takes no more room than what is there.
	if 2*q.head >= len(q.items) {
		q.items = q.items[:copy(q.items, q.items[q.head:])]
		q.head = 0
	}
}

func (q *queue) size() (packets int, bytes int64) { return len(q.items) - q.head, q.bytes }

// shift puts everything off.
func (q *queue) shift(by time.Duration) {
	for i := range q.items {
		q.items[i].departs += by
	}
}
