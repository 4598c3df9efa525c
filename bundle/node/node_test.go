package node

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/app/apptest"
	"perigee/bundle/contact"
	"perigee/bundle/dtntime"
	"perigee/bundle/store"
	"perigee/bundle/store/badgerstore"
	"perigee/bundle/store/memstore"
	"perigee/convergence/tcpcl"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type wallClock struct{}

func (wallClock) Now() dtntime.Time { return dtntime.FromTime(time.Now()) }

// started is a running node of a test.
type started struct {
	*Node
	client app.Client
	stop   func()
}

// start runs a node until the test ends or stop is called.
func start(t *testing.T, cfg Config) *started {
	t.Helper()
	cfg.Clock, cfg.AcceptCustody, cfg.Aggregate, cfg.PeerAggregate = wallClock{}, true, 50, dtntime.Second
	cfg.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	cfg.SpoolDir = t.TempDir()
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	s := &started{Node: n, client: n.Client()}
	var once sync.Once
	s.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("node ended with %v", err)
			}
		})
	}
	t.Cleanup(s.stop)
	return s
}

// listen returns a listener on loopback and its address.
func listen(t *testing.T, id bundle.EID) (Listener, string) {
	t.Helper()
	l, err := tcpcl.Listen(t.Context(), "127.0.0.1:0", tcpcl.Config{NodeID: id.String()})
	if err != nil {
		t.Fatal(err)
	}
	return Listener{Layer: "tcpcl", Listener: l}, l.Addr()
}

func dialling(id, peer bundle.EID, address string, always bool) Link {
	return Link{
		Peer: peer, Layer: "tcpcl", Address: address, Always: always,
		Dialer: tcpcl.NewDialer(tcpcl.Config{NodeID: id.String()}),
	}
}

func TestClient(t *testing.T) {
	apptest.Run(t, func(t *testing.T) apptest.Subject {
		me := bundle.IPN(1, 0)
		n := start(t, Config{Node: me, Store: memstore.New(memstore.Options{Quota: 1 << 30}), Links: []Link{{Peer: nodeB, Layer: "tcpcl"}}})
		return apptest.Subject{Node: me, Peer: nodeB, Dial: n.Client}
	})
}

var nodeA, nodeB = bundle.IPN(1, 0), bundle.IPN(2, 0)

// pair starts two nodes of which A dials B.
func pair(t *testing.T, a, b store.Store, always bool, plan *contact.Plan) (nodeOne, nodeTwo *started) {
	t.Helper()
	l, address := listen(t, nodeB)
	nodeTwo = start(t, Config{Node: nodeB, Store: b, Listeners: []Listener{l}, Links: []Link{{Peer: nodeA, Always: always}}, Plan: plan})
	nodeOne = start(t, Config{Node: nodeA, Store: a, Links: []Link{dialling(nodeA, nodeB, address, always)}, Plan: plan})
	return nodeOne, nodeTwo
}

func memory() store.Store { return memstore.New(memstore.Options{Quota: 1 << 30}) }

func send(t *testing.T, n *started, to bundle.EID, payload []byte, custody bool) bundle.ID {
	t.Helper()
	id, err := n.client.Send(t.Context(), app.Outgoing{
		To: to, From: n.cfg.Node.WithService(1), Payload: bytes.NewReader(payload), Length: int64(len(payload)), Custody: custody,
		Priority: bundle.PriorityNormal,
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func receive(t *testing.T, n *started, at bundle.EID) (bundle.ID, []byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	d, err := n.client.Receive(ctx, at)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := io.ReadAll(d.Payload)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.Payload.Close(), d.Ack(ctx)); err != nil {
		t.Fatal(err)
	}
	return d.ID, payload
}

// eventually waits for a state that must come.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not so: %s", what)
		}
	}
}

func status(t *testing.T, n *started) app.Status {
	t.Helper()
	s, err := n.client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestCustodyBetweenTwoNodes(t *testing.T) {
	a, b := pair(t, memory(), memory(), true, nil)
	rng := rand.New(rand.NewPCG(1, 2))
	sent := make(map[bundle.ID][32]byte)
	for i := range 200 {
		payload := make([]byte, rng.IntN(5000))
		for k := range payload {
			payload[k] = byte(rng.Uint32())
		}
		sent[send(t, a, nodeB.WithService(11), payload, i%2 == 0)] = sha256.Sum256(payload)
	}
	for range len(sent) {
		id, payload := receive(t, b, nodeB.WithService(11))
		if sum, ok := sent[id]; !ok || sum != sha256.Sum256(payload) {
			t.Fatalf("%s came twice or damaged", id)
		}
		delete(sent, id)
	}
	eventually(t, "custody is released", func() bool {
		s := status(t, a)
		return s.Custody.Held == 0 && s.Store.Bundles == 0 && s.Counters.CustodyReleased == 100
	})
	if s := status(t, b); s.Counters.CustodyAccepted != 100 || s.Counters.Duplicates != 0 {
		t.Errorf("counters of the receiver: %+v", s.Counters)
	}
}

func TestLargeBundleStreams(t *testing.T) {
	disk := func() store.Store {
		s, err := badgerstore.Open(t.TempDir(), badgerstore.Options{Quota: 1 << 30})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	a, b := pair(t, disk(), disk(), true, nil)
	payload := bytes.Repeat([]byte("perigee "), 4<<20)
	send(t, a, nodeB.WithService(11), payload, true)
	if _, got := receive(t, b, nodeB.WithService(11)); !bytes.Equal(got, payload) {
		t.Error("the payload changed on the way")
	}
	eventually(t, "custody is released", func() bool { return status(t, a).Custody.Held == 0 })
}

func TestContactWindow(t *testing.T) {
	now := wallClock{}.Now()
	window := func(from, to bundle.EID) contact.Contact {
		return contact.Contact{From: from, To: to, Start: now.Add(300), End: now.Add(60_000), Rate: 8_000_000, Confidence: 1}
	}
	plan, err := contact.New([]contact.Contact{window(nodeA, nodeB), window(nodeB, nodeA)})
	if err != nil {
		t.Fatal(err)
	}
	a, b := pair(t, memory(), memory(), false, plan)
	send(t, a, nodeB.WithService(11), []byte("x"), true)
	if (wallClock{}).Now() < now.Add(300) && status(t, a).Links[0].Physical != "down" {
		t.Error("the link is up before the contact")
	}
	receive(t, b, nodeB.WithService(11))
	if at := (wallClock{}).Now(); at < now.Add(300) {
		t.Errorf("the bundle came at %s, before the contact", at)
	}
	eventually(t, "custody is released", func() bool { return status(t, a).Custody.Held == 0 })
	if err := a.Client().SetPlan(t.Context(), nil, plan.Generation()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the link is down without a contact", func() bool { return status(t, a).Links[0].Physical == "down" })
}

func TestRestartGoesOn(t *testing.T) {
	shared := memory()
	first := start(t, Config{Node: nodeA, Store: shared, Links: []Link{{Peer: nodeB}}})
	id := send(t, first, nodeB.WithService(11), []byte("kept"), true)
	first.stop()
	a, b := pair(t, shared, memory(), true, nil)
	got, payload := receive(t, b, nodeB.WithService(11))
	if got != id || string(payload) != "kept" {
		t.Errorf("got %s with %q", got, payload)
	}
	eventually(t, "custody is released", func() bool { return status(t, a).Custody.Held == 0 })
}

func TestEcho(t *testing.T) {
	a, _ := pair(t, memory(), memory(), true, nil)
	send(t, a, nodeB.WithService(EchoService), []byte("ping"), false)
	if _, payload := receive(t, a, nodeA.WithService(1)); string(payload) != "ping" {
		t.Errorf("echo is %q", payload)
	}
}

func TestQuotaRefusesAndLosesNothing(t *testing.T) {
	small := memstore.New(memstore.Options{Quota: 4000})
	a, b := pair(t, memory(), small, true, nil)
	first := send(t, a, nodeB.WithService(11), make([]byte, 2500), true)
	eventually(t, "the first bundle is there", func() bool { return status(t, b).Store.Bundles == 1 })
	send(t, a, nodeB.WithService(11), make([]byte, 2500), true)
	eventually(t, "the second is refused", func() bool {
		s := status(t, a)
		return s.Custody.Held == 1 && s.Links[0].Physical == "up"
	})
	if id, _ := receive(t, b, nodeB.WithService(11)); id != first {
		t.Errorf("got %s, not the first", id)
	}
	if _, err := b.client.Send(t.Context(), app.Outgoing{To: nodeA.WithService(1), Payload: bytes.NewReader(make([]byte, 5000)), Length: 5000}); !errors.Is(err, app.ErrTryAgain) {
		t.Errorf("sending without room: %v", err)
	}
}
