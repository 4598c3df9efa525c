package node

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/bundletest"
	"perigee/bundle/route"
	"perigee/convergence/dtn7"
)

// stockProgram builds the daemon of dtn7-go.
func stockProgram(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("building the stock daemon takes a while, and -short was asked for")
	}
	program := filepath.Join(t.TempDir(), "dtnd")
	build := exec.CommandContext(t.Context(), "go", "build", "-modfile=.ci/tools.mod", "-o", program, "github.com/dtn7/dtn7-go/cmd/dtnd")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the stock daemon: %v\n%s", err, out)
	}
	return program
}

// freeAddress is where nobody listens yet.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// stockDaemon starts a stock dtn7 daemon with a ping agent, and returns the address at
// which it takes sessions of the protocol. It opens MTCP sessions with peers.
func stockDaemon(t *testing.T, program, protocol string, peers map[bundle.EID]string) string {
	t.Helper()
	address, dir := freeAddress(t), t.TempDir()
	var text strings.Builder
	fmt.Fprintf(&text, `
[core]
store = %q
node-id = "dtn://stock/"
[logging]
level = "warn"
[agents]
ping = "dtn://stock/ping"
[[listen]]
protocol = %q
endpoint = %q
[routing]
algorithm = "epidemic"
`, filepath.Join(dir, "store"), protocol, address)
	for peer, endpoint := range peers {
		fmt.Fprintf(&text, "[[peer]]\nnode = %q\nprotocol = \"mtcp\"\nendpoint = %q\n", peer, endpoint)
	}
	config := filepath.Join(dir, "dtnd.toml")
	if err := os.WriteFile(config, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	daemon := exec.Command(program, config)
	daemon.Stdout, daemon.Stderr = t.Output(), t.Output()
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = daemon.Process.Kill()
		_ = daemon.Wait() // it was killed
	})
	return address
}

// TestStockNeighbour runs stock dtn7 daemons as neighbours.
func TestStockNeighbour(t *testing.T) {
	program := stockProgram(t)
	t.Run("tcpclv4", func(t *testing.T) {
		pingStock(t, dialling(perigee, stock, stockDaemon(t, program, "tcpclv4", nil), true), nil, 1)
	})
	t.Run("mtcp", func(t *testing.T) {
		l, address := listenMTCP(t)
		at := stockDaemon(t, program, "mtcp", map[bundle.EID]string{perigee: address})
		pingStock(t, diallingMTCP(stock, at), []Listener{l}, 10)
	})
	t.Run("dtn7-mtcp", func(t *testing.T) {
		l, err := dtn7.Listen(t.Context(), freeAddress(t), dtn7.Config{})
		if err != nil {
			t.Fatal(err)
		}
		at := stockDaemon(t, program, "mtcp", map[bundle.EID]string{perigee: l.Addr()})
		link := Link{Peer: stock, Layer: "dtn7-mtcp", Address: at, Always: true, Dialer: dtn7.NewDialer(dtn7.Config{Peer: stock.String()})}
		pingStock(t, link, []Listener{{Layer: "dtn7-mtcp", Unnamed: true, Listener: l}}, 10)
	})
	t.Run("custody through it", func(t *testing.T) { custodyThroughStock(t, program) })
}

var perigee, stock = bundle.DTN("perigee", ""), bundle.DTN("stock", "")

// pingStock sends bundles to a stock dtn7 daemon and takes as many from it. Its ping
// agent answers to the report-to endpoint.
func pingStock(t *testing.T, link Link, listeners []Listener, count int) {
	t.Helper()
	n := start(t, Config{Node: perigee, Store: memory(), Links: []Link{link}, Listeners: listeners})
	answers := bundle.DTN("perigee", "answers")
	for i := range count { // one after the other: the daemon loses some of those that come together
		payload := strings.Repeat("ping", 1+i*5000)
		if _, err := n.client.Send(t.Context(), app.Outgoing{
			To: bundle.DTN("stock", "ping"), From: answers, ReportTo: answers, Payload: strings.NewReader(payload), Length: int64(len(payload)),
		}); err != nil {
			t.Fatal(err)
		}
		if got, payload := receive(t, n, answers); got.Source != bundle.DTN("stock", "ping") || string(payload) != "pong" {
			t.Errorf("got %q in %s", payload, got)
		}
	}
	eventually(t, "the stock daemon has the bundles", func() bool { return status(t, n).Counters.BundlesSent == uint64(count) })
}

// custodyThroughStock keeps custody between two nodes that meet only through a stock
// dtn7 daemon, which knows nothing of it and carries the blocks along.
func custodyThroughStock(t *testing.T, program string) {
	t.Helper()
	idA, idB := bundle.DTN("a", ""), bundle.DTN("b", "")
	la, addressA := listenMTCP(t)
	lb, addressB := listenMTCP(t)
	address := stockDaemon(t, program, "mtcp", map[bundle.EID]string{idA: addressA, idB: addressB})
	table, err := route.NewTable([]route.Route{{To: "dtn:*", Next: stock}})
	if err != nil {
		t.Fatal(err)
	}
	config := func(id bundle.EID, l Listener) Config {
		return Config{Node: id, Store: memory(), Listeners: []Listener{l}, Routes: table, Links: []Link{diallingMTCP(stock, address)}}
	}
	a, b := start(t, config(idA, la)), start(t, config(idB, lb))
	for _, way := range []struct {
		from, to *started
		inbox    bundle.EID
	}{{a, b, bundle.DTN("b", "inbox")}, {b, a, bundle.DTN("a", "inbox")}} {
		for i := range 10 {
			payload := bundletest.Payload(int64(i), 5000*i)
			id, err := way.from.client.Send(t.Context(), app.Outgoing{
				To: way.inbox, Payload: bytes.NewReader(payload), Length: int64(len(payload)), Custody: true, Priority: bundle.PriorityNormal,
			})
			if err != nil {
				t.Fatal(err)
			}
			if got, at := receive(t, way.to, way.inbox); got != id || !bytes.Equal(at, payload) {
				t.Errorf("got %s of %d bytes, want %s", got, len(at), id)
			}
			eventually(t, "custody is released", func() bool {
				s := status(t, way.from)
				return s.Counters.CustodyReleased == uint64(i+1) && s.Store.Custodial == 0
			})
		}
	}
}
