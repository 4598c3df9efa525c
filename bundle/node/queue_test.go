package node

import (
	"sync"
	"testing"
)

func TestQueue(t *testing.T) {
	q := newQueue[int](3)
	for i := range 3 {
		if !q.offer(i) {
			t.Fatalf("item %d did not fit", i)
		}
	}
	if q.offer(3) {
		t.Error("a full queue took an item")
	}
	done := make(chan struct{})
	close(done)
	if q.put(3, done) {
		t.Error("a full queue took an item after all")
	}
	for want := range 3 {
		if got, ok := q.take(nil); !ok || got != want {
			t.Errorf("took %d, %t; want %d", got, ok, want)
		}
	}
	if _, ok := q.take(done); ok {
		t.Error("an empty queue gave something")
	}
	q.offer(7)
	q.close()
	if got, ok := q.take(nil); !ok || got != 7 {
		t.Errorf("took %d, %t after the end; want 7", got, ok)
	}
	if _, ok := q.take(nil); ok {
		t.Error("a closed queue gave something")
	}
}

// Everything comes out in order, whoever is faster, and the queue never grows beyond
// what it may hold.
func TestQueueUnderLoad(t *testing.T) {
	const count = 100_000
	q := newQueue[int](64)
	var giver sync.WaitGroup
	giver.Go(func() {
		defer q.close()
		for i := range count {
			q.put(i, nil)
		}
	})
	for want := 0; ; want++ {
		got, ok := q.take(nil)
		if !ok {
			if want != count {
				t.Errorf("%d came, want %d", want, count)
			}
			break
		}
		if got != want {
			t.Fatalf("%d came, want %d", got, want)
		}
	}
	giver.Wait()
	if n := cap(q.items); n > 4*64 {
		t.Errorf("the queue has grown to %d places for 64", n)
	}
}
