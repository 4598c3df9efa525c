package badgerstore

// recentKeys is how many keys a generation of recent holds.
const recentKeys = 16 << 10

// recent remembers what was last written to the index: most bundles are read,
// changed and deleted soon after they came, and badger takes long to find what was
// written last. It has two generations; when the young one is full, the old one is
// forgotten. It holds only what badger holds too.
type recent struct {
	young, old map[string][]byte // nil for a key that was deleted
}

// put notes that key was written, or deleted when value is nil.
func (r *recent) put(key string, value []byte) {
	if r.young == nil || len(r.young) >= recentKeys {
		r.young, r.old = make(map[string][]byte), r.young
	}
	r.young[key] = value
}

// get returns what was last written under key, and whether that is remembered.
func (r *recent) get(key string) ([]byte, bool) {
	value, ok := r.young[key]
	if !ok {
		value, ok = r.old[key]
	}
	return value, ok
}
