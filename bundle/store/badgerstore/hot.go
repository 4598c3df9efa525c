package badgerstore

import (
	"bytes"
	"slices"
	"sync"

	"perigee/bundle/store"
)

// hotLimit is how many bytes of bundles are kept in memory after they were stored.
const hotLimit = 16 << 20

// hot keeps the bytes of small bundles that were stored last, since most are sent on
// or delivered at once, until they leave or there are too many.
type hot struct {
	done func([]byte) // is given what nobody uses any more

	mu      sync.Mutex // guards everything below
	bundles map[store.Handle]*hotBundle
	order   []store.Handle // as they were added, with some that have left
	size    int64
}

type hotBundle struct {
	data    []byte
	readers int
	left    bool // the last reader is done with it
}

func newHot(done func([]byte)) *hot {
	return &hot{done: done, bundles: make(map[store.Handle]*hotBundle)}
}

// add keeps the bytes of a bundle. Nobody may change them any more.
func (t *hot) add(h store.Handle, data []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.bundles[h] = &hotBundle{data: data}
	t.order = append(t.order, h)
	t.size += int64(cap(data))
	for t.size > hotLimit {
		t.remove(t.order[0])
		t.order = t.order[1:]
	}
	if len(t.order) > 2*len(t.bundles)+64 {
		t.order = slices.DeleteFunc(t.order, func(h store.Handle) bool { return t.bundles[h] == nil })
	}
}

// drop forgets a bundle that left.
func (t *hot) drop(h store.Handle) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.remove(h)
}

// remove forgets a bundle. The caller holds t.mu.
func (t *hot) remove(h store.Handle) {
	b := t.bundles[h]
	if b == nil {
		return
	}
	delete(t.bundles, h)
	t.size -= int64(cap(b.data))
	if b.left = true; b.readers == 0 {
		t.done(b.data)
	}
}

// open returns the bytes of a bundle, or nil when they are not here.
func (t *hot) open(h store.Handle) *hotContent {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.bundles[h]
	if b == nil {
		return nil
	}
	b.readers++
	return &hotContent{Reader: bytes.NewReader(b.data), hot: t, bundle: b}
}

// hotContent is the bytes of a bundle in memory.
type hotContent struct {
	*bytes.Reader
	hot    *hot
	bundle *hotBundle
	closed bool // under hot.mu
}

// Bytes are those of the bundle, until Close.
func (c *hotContent) Bytes() []byte { return c.bundle.data }

// Close implements store.Content.
func (c *hotContent) Close() error {
	t := c.hot
	t.mu.Lock()
	defer t.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	if c.bundle.readers--; c.bundle.readers == 0 && c.bundle.left {
		t.done(c.bundle.data)
	}
	return nil
}
