package badgerstore

import (
	"fmt"
	"testing"
)

// TestRecent writes more keys than are remembered: the last are known, deletes among
// them, and an older write never hides a newer one.
func TestRecent(t *testing.T) {
	var r recent
	key := func(i int) string { return fmt.Sprintf("key %d", i) }
	r.put("twice", []byte("old"))
	for i := range 3 * recentKeys {
		if i == recentKeys {
			r.put("twice", []byte("new"))
		}
		r.put(key(i), []byte(key(i)))
		if value, ok := r.get("twice"); ok && i >= recentKeys && string(value) != "new" {
			t.Fatalf("after %d keys: %q", i, value)
		}
		if len(r.young)+len(r.old) > 2*recentKeys {
			t.Fatalf("remembers %d and %d keys", len(r.young), len(r.old))
		}
	}
	if _, ok := r.get(key(0)); ok {
		t.Error("the first key is still remembered")
	}
	for i := 2 * recentKeys; i < 3*recentKeys; i++ {
		if value, ok := r.get(key(i)); !ok || string(value) != key(i) {
			t.Fatalf("%s: %q, %v", key(i), value, ok)
		}
	}
	r.put(key(3*recentKeys-1), nil)
	if value, ok := r.get(key(3*recentKeys - 1)); !ok || value != nil {
		t.Errorf("a key that was deleted: %q, %v", value, ok)
	}
}
