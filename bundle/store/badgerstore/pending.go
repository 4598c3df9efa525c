package badgerstore

import "sync"

// pendingKeys is how many keys a generation of pending holds.
const pendingKeys = 32 << 10

// pending holds what changed in the index and is not in badger yet. Most bundles
// leave soon after they came; badger then never hears of them. What a crash takes
// away, the log brings back.
//
// There are two generations. When the young one is full, the old one is written to
// badger, and the young one becomes the old one: so every change has some time to be
// undone by another.
type pending struct {
	young, old map[string]write
}

// write is a change of one key.
type write struct {
	value []byte // nil: the key is removed
	fresh bool   // badger does not know the key
}

// put notes a change. fresh tells that the key was not in the index before.
func (p *pending) put(key string, value []byte, fresh bool) {
	if p.young == nil {
		p.young = make(map[string]write)
	}
	if w, ok := p.young[key]; ok {
		fresh = w.fresh
	} else if w, ok := p.old[key]; ok {
		fresh = w.fresh
		delete(p.old, key)
	}
	p.young[key] = write{value, fresh}
}

// get returns the value of a key, nil when it is removed, and whether the key is
// pending.
func (p *pending) get(key string) ([]byte, bool) {
	w, ok := p.young[key]
	if !ok {
		w, ok = p.old[key]
	}
	return w.value, ok
}

func (p *pending) isFull() bool { return len(p.young) >= pendingKeys }

func (p *pending) size() int { return len(p.young) + len(p.old) }

// age makes the young generation the old one, which must have been written.
func (p *pending) age() {
	clear(p.old)
	p.young, p.old = p.old, p.young
}

// clear forgets everything, which must have been written.
func (p *pending) clear() { p.young, p.old = nil, nil }

// absentKeys is how many keys absent remembers.
const absentKeys = 4 << 10

// absent remembers keys that were looked for and not found: whoever asks whether a
// bundle is known stores it next, and badger takes long to find nothing. Keys are
// removed from it when they are put.
type absent struct {
	mu   sync.Mutex // guards keys
	keys map[string]struct{}
}

func (a *absent) has(key string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, ok := a.keys[key]
	return ok
}

func (a *absent) add(key string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.keys == nil || len(a.keys) >= absentKeys {
		a.keys = make(map[string]struct{})
	}
	a.keys[key] = struct{}{}
}

func (a *absent) remove(key string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.keys, key)
}
