package node

import (
	"bytes"
	"context"
	"net"
	"slices"
	"testing"

	"perigee/bundle"
	"perigee/bundle/bundletest"
	"perigee/convergence/mtcp"
	"perigee/convergence/unacked/unackedtest"
)

// listenMTCP returns a listener whose neighbours have no names, and its address.
func listenMTCP(t *testing.T) (Listener, string) {
	t.Helper()
	l, err := mtcp.Listen(t.Context(), "127.0.0.1:0", mtcp.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return Listener{Layer: "mtcp", Unnamed: true, Listener: l}, l.Addr()
}

func diallingMTCP(peer bundle.EID, address string) Link {
	return Link{Peer: peer, Layer: "mtcp", Address: address, Always: true, Dialer: mtcp.NewDialer(mtcp.Config{Peer: peer.String()})}
}

// Two nodes that each dial the other over MTCP: custody is taken and released, and
// what goes without custody arrives as well.
func TestCustodyOverMTCP(t *testing.T) {
	la, addressA := listenMTCP(t)
	lb, addressB := listenMTCP(t)
	a := start(t, Config{Node: nodeA, Store: memory(), Listeners: []Listener{la}, Links: []Link{diallingMTCP(nodeB, addressB)}})
	b := start(t, Config{Node: nodeB, Store: memory(), Listeners: []Listener{lb}, Links: []Link{diallingMTCP(nodeA, addressA)}})
	var sent []bundle.ID
	payload := bundletest.Payload(1, 200_000)
	for i := range 40 {
		sent = append(sent, send(t, a, nodeB.WithService(3), payload, i%2 == 0))
	}
	for range sent {
		id, got := receive(t, b, nodeB.WithService(3))
		if !slices.Contains(sent, id) || !bytes.Equal(got, payload) {
			t.Fatalf("%s arrived with %d bytes", id, len(got))
		}
	}
	eventually(t, "custody of all is released", func() bool {
		s := status(t, a)
		return s.Counters.CustodyReleased == 20 && s.Store.Bundles == 0
	})
	if s := status(t, b); s.Counters.BundlesReceived < 40 {
		t.Errorf("%d bundles count as received", s.Counters.BundlesReceived)
	}
}

// A bundle under custody that the link lost is sent again.
func TestCustodyOutlivesLossOverMTCP(t *testing.T) {
	la, addressA := listenMTCP(t)
	lossy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := start(t, Config{Node: nodeA, Store: memory(), Listeners: []Listener{la}, Links: []Link{diallingMTCP(nodeB, lossy.Addr().String())}})
	// The first connection leads nowhere: TCP takes the bundle, and it is lost.
	conn, err := lossy.Accept()
	if err != nil {
		t.Fatal(err)
	}
	send(t, a, nodeB.WithService(3), []byte("precious"), true)
	eventually(t, "the link took the bundle", func() bool { return status(t, a).Counters.BundlesSent == 1 })
	if s := status(t, a); s.Store.Custodial != 1 {
		t.Fatalf("%d bundles are in custody, want the one that was sent", s.Store.Custodial)
	}
	address := lossy.Addr().String()
	lossy.Close()
	conn.Close()
	lb, err := mtcp.Listen(t.Context(), address, mtcp.Config{})
	if err != nil {
		t.Fatal(err)
	}
	b := start(t, Config{
		Node: nodeB, Store: memory(), Listeners: []Listener{{Layer: "mtcp", Unnamed: true, Listener: lb}}, Links: []Link{diallingMTCP(nodeA, addressA)},
	})
	if _, got := receive(t, b, nodeB.WithService(3)); string(got) != "precious" {
		t.Errorf("%q arrived", got)
	}
	eventually(t, "custody is released", func() bool { return status(t, a).Counters.CustodyReleased == 1 })
}

// What a stranger sends that is no bundle is dropped, and the next bundle is taken.
func TestStrangersOverMTCP(t *testing.T) {
	l, address := listenMTCP(t)
	n := start(t, Config{Node: nodeA, Store: memory(), Listeners: []Listener{l}})
	s, err := mtcp.NewDialer(mtcp.Config{Peer: unackedtest.Peer}).Dial(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(context.Background())
	inbox := nodeA.WithService(9)
	good := bundletest.Bytes(1, 100, bundletest.To(inbox), bundletest.At(n.now(), 1))
	for _, text := range [][]byte{[]byte("no bundle"), good[:len(good)-1], append(slices.Clone(good), 0), good} {
		if _, err := s.Send(t.Context(), int64(len(text)), bytes.NewReader(text)); err != nil {
			t.Fatal(err)
		}
	}
	if _, got := receive(t, n, inbox); !bytes.Equal(got, bundletest.Payload(1, 100)) {
		t.Errorf("%d bytes arrived", len(got))
	}
}
