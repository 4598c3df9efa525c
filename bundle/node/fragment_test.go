package node

import (
	"bytes"
	"testing"

	"perigee/bundle/bundletest"
	"perigee/bundle/store"
	"perigee/bundle/store/badgerstore"
	"perigee/convergence/tcpcl"
)

// A bundle that is larger than what the neighbour takes in one transfer crosses the
// link in pieces and is delivered whole.
func TestPiecesOverASession(t *testing.T) {
	disk, err := badgerstore.Open(t.TempDir(), badgerstore.Options{Quota: 1 << 28})
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	for name, at := range map[string]store.Store{"memory": memory(), "disk": disk} {
		t.Run(name, func(t *testing.T) {
			l, err := tcpcl.Listen(t.Context(), "127.0.0.1:0", tcpcl.Config{NodeID: nodeB.String(), TransferMRU: 100_000})
			if err != nil {
				t.Fatal(err)
			}
			b := start(t, Config{Node: nodeB, Store: at, Listeners: []Listener{{Layer: "tcpcl", Listener: l}}, Links: []Link{{Peer: nodeA, Always: true}}})
			a := start(t, Config{Node: nodeA, Store: memory(), Links: []Link{dialling(nodeA, nodeB, l.Addr(), true)}})
			payload := bundletest.Payload(3, 1_000_000)
			id := send(t, a, nodeB.WithService(1), payload, false)
			got, data := receive(t, b, nodeB.WithService(1))
			if got != id || !bytes.Equal(data, payload) {
				t.Errorf("received %s with %d bytes, want %s with %d", got, len(data), id, len(payload))
			}
			s, err := b.client.Status(t.Context())
			if err != nil || s.Counters.Reassembled != 1 || s.Counters.BundlesReceived < 10 {
				t.Errorf("counters %+v, %v", s.Counters, err)
			}
		})
	}
}
