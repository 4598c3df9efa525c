package badgerstore

import (
	"io"
	"testing"

	"perigee/bundle/store"
)

// TestHot reads bundles while they leave and while others push them out: what is open
// stays as it is until it is closed, and then its memory is given back once.
func TestHot(t *testing.T) {
	given := map[*byte]int{}
	hot := newHot(func(b []byte) { given[&b[0]]++ })
	data := func(c byte, n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = c
		}
		return b
	}
	first, second := data('a', 1000), data('b', 1000)
	hot.add(1, first)
	hot.add(2, second)
	c := hot.open(1)
	hot.drop(1)
	if hot.open(1) != nil {
		t.Error("a bundle that left can be opened")
	}
	if got, err := io.ReadAll(c); err != nil || string(got) != string(first) {
		t.Errorf("an open bundle reads as %d bytes, %v", len(got), err)
	}
	if given[&first[0]] != 0 {
		t.Fatal("memory was given back while somebody reads it")
	}
	for range 2 {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if given[&first[0]] != 1 {
		t.Errorf("memory was given back %d times", given[&first[0]])
	}
	for h := store.Handle(3); h < 3000; h++ { // short-lived ones leave no trace
		hot.add(h, data('c', 10))
		hot.drop(h)
	}
	if len(hot.order) > 200 {
		t.Errorf("%d handles are remembered for %d bundles", len(hot.order), len(hot.bundles))
	}
	for h := store.Handle(3000); h < 3020; h++ {
		hot.add(h, data('d', 1<<20))
	}
	if hot.size > hotLimit || hot.open(2) != nil || given[&second[0]] != 1 {
		t.Errorf("%d bytes are kept, the limit is %d; the oldest was given back %d times", hot.size, hotLimit, given[&second[0]])
	}
	if hot.open(3019) == nil {
		t.Error("the newest bundle is not kept")
	}
}
