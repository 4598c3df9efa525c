package badgerstore

import (
	"fmt"
	"testing"
)

// TestPending changes more keys than a generation holds: each is known until its
// generation was written, the last change counts, and what badger never knew stays
// marked as such however often it changes.
func TestPending(t *testing.T) {
	var p pending
	key := func(i int) string { return fmt.Sprintf("key %d", i) }
	p.put("kept", []byte("old"), false)
	p.put("passing", []byte("short"), true)
	for i := range 3 * pendingKeys {
		switch i {
		case pendingKeys:
			p.put("kept", []byte("new"), true) // the caller cannot know
			p.put("passing", nil, false)
		case pendingKeys + 1:
			if w := p.young["kept"]; w.fresh || string(w.value) != "new" {
				t.Fatalf("a key that badger knows: %+v", w)
			}
			if w := p.young["passing"]; !w.fresh || w.value != nil {
				t.Fatalf("a key that badger never knew: %+v", w)
			}
			if _, ok := p.old["kept"]; ok {
				t.Fatal("an overwritten change would still be written")
			}
		}
		p.put(key(i), []byte(key(i)), true)
		if p.isFull() {
			p.age()
		}
		if value, ok := p.get(key(i)); !ok || string(value) != key(i) {
			t.Fatalf("%s: %q, %v", key(i), value, ok)
		}
		if p.size() > 2*pendingKeys {
			t.Fatalf("%d keys are pending", p.size())
		}
	}
	if _, ok := p.get(key(0)); ok {
		t.Error("the first key is still pending")
	}
	p.put(key(3*pendingKeys-1), nil, false)
	if value, ok := p.get(key(3*pendingKeys - 1)); !ok || value != nil {
		t.Errorf("a key that was removed: %q, %v", value, ok)
	}
}
