package node

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"perigee/bundle"
	"perigee/bundle/app"
)

// stockDaemon builds and starts a stock dtn7 daemon with a ping agent, and returns
// the address at which it takes TCPCLv4 sessions.
func stockDaemon(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "dtnd")
	build := exec.CommandContext(t.Context(), "go", "build", "-modfile=.ci/tools.mod", "-o", program, "github.com/dtn7/dtn7-go/cmd/dtnd")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the stock daemon: %v\n%s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	config := filepath.Join(dir, "dtnd.toml")
	text := fmt.Sprintf(`
[core]
store = %q
node-id = "dtn://stock/"
[logging]
level = "warn"
[agents]
ping = "dtn://stock/ping"
[[listen]]
protocol = "tcpclv4"
endpoint = %q
[routing]
algorithm = "epidemic"
`, filepath.Join(dir, "store"), address)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
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

// TestStockNeighbour sends a bundle to a stock dtn7 daemon and takes one from it.
// Its ping agent answers to the report-to endpoint.
func TestStockNeighbour(t *testing.T) {
	if testing.Short() {
		t.Skip("building the stock daemon takes a while, and -short was asked for")
	}
	me, stock := bundle.DTN("perigee", ""), bundle.DTN("stock", "")
	n := start(t, Config{Node: me, Store: memory(), Links: []Link{dialling(me, stock, stockDaemon(t), true)}})
	answers := bundle.DTN("perigee", "answers")
	id, err := n.client.Send(t.Context(), app.Outgoing{
		To: bundle.DTN("stock", "ping"), From: answers, ReportTo: answers, Payload: strings.NewReader("ping"), Length: 4,
	})
	if err != nil {
		t.Fatal(err)
	}
	got, payload := receive(t, n, answers)
	if got.Source != bundle.DTN("stock", "ping") || string(payload) != "pong" {
		t.Errorf("got %q in %s as the answer to %s", payload, got, id)
	}
	eventually(t, "the stock daemon has the bundle", func() bool { return status(t, n).Counters.BundlesSent == 1 })
}
