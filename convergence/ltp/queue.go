package ltp

import "slices"

// A queue is first in, first out. Whoever pushes bounds it.
type queue[T any] struct {
	items []T
	head  int
}

func (q *queue[T]) len() int { return len(q.items) - q.head }

// at is the i-th item from the front; the pointer holds until the next push or pop.
func (q *queue[T]) at(i int) *T { return &q.items[q.head+i] }

func (q *queue[T]) push(v T) { q.items = append(q.items, v) }

func (q *queue[T]) pop() T {
	var zero T
	v := q.items[q.head]
	q.items[q.head] = zero
	q.head++
	if 2*q.head >= len(q.items) { // moves each item once on average
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	return v
}

// compact takes out what is gone once that is most of a queue, so that what waits at
// its front does not keep what comes and goes behind it. Live is about how many stay.
func (q *queue[T]) compact(live int, gone func(T) bool) {
	if q.len() <= 2*live+compactFrom {
		return
	}
	q.items = slices.DeleteFunc(q.items[q.head:], gone)
	q.head = 0
}

// compactFrom is how long a queue may always be.
const compactFrom = 64
