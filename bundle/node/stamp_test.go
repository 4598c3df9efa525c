package node

import (
	"bytes"
	"io"
	"testing"

	"perigee/bundle"
	"perigee/bundle/store/memstore"
)

// Without a clock no timestamp comes twice, restarts or not.
func TestStampsWithoutClock(t *testing.T) {
	disk := memstore.New(memstore.Options{Quota: 1 << 20})
	seen := make(map[bundle.Timestamp]bool)
	for range 4 {
		var s stamper
		if err := s.withoutClock(disk); err != nil {
			t.Fatal(err)
		}
		for range 3000 {
			stamp := s.next(5)
			if stamp.Time != 0 || seen[stamp] {
				t.Fatalf("timestamp %+v", stamp)
			}
			seen[stamp] = true
		}
		disk = disk.Crash()
	}
}

// A node without a clock sends bundles that say so and carry their age, and a node
// that has one takes them.
func TestNodeWithoutClock(t *testing.T) {
	l, address := listen(t, nodeB)
	b := start(t, Config{Node: nodeB, Store: memory(), Listeners: []Listener{l}, Links: []Link{{Peer: nodeA, Always: true}}})
	a := start(t, Config{Node: nodeA, Store: memory(), NoClock: true, Links: []Link{dialling(nodeA, nodeB, address, true)}})
	for _, custody := range []bool{false, true} {
		id := send(t, a, nodeB.WithService(1), []byte("hello"), custody)
		if id.Created.Time != 0 {
			t.Errorf("created at %s", id.Created.Time)
		}
		stored, err := a.client.Export(t.Context(), id)
		if err == nil { // it may have left already
			raw, err := io.ReadAll(stored)
			if err != nil {
				t.Fatal(err)
			}
			made, _, err := bundle.Parse(raw, bundle.DefaultLimits())
			if _, ok := made.Age(); err != nil || !ok {
				t.Errorf("the stored bundle has no age, %v", err)
			}
			_ = stored.Close()
		}
		got, data := receive(t, b, nodeB.WithService(1))
		if got != id || !bytes.Equal(data, []byte("hello")) {
			t.Errorf("received %s: %q", got, data)
		}
	}
	eventually(t, "custody is released by a signal", func() bool { return status(t, a).Custody.Held == 0 })
}
