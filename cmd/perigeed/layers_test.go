package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dtn7/dtn7-go/pkg/agent"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/app/apphttp"
	"perigee/bundle/contact"
	"perigee/bundle/dtntime"
	"perigee/convergence/udpcl"
)

// runDaemon runs a daemon as a configuration makes it, with a node table of its own,
// and returns a client. More goes into the table of the node.
func runDaemon(t *testing.T, id, text string, more ...string) app.Client {
	t.Helper()
	dir, err := os.MkdirTemp("", "perigeed")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	file := filepath.Join(dir, "perigeed.toml")
	text = fmt.Sprintf("custody = { aggregate = \"20ms\" }\nnode = { id = %q, data_dir = \"data\", socket = \"s\"%s }\n%s", id, strings.Join(more, ""), text)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := load(file)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	go func() { done <- serve(ctx, c, log, nil) }()
	client := apphttp.Dial(c.Node.Socket)
	t.Cleanup(func() {
		client.Close()
		cancel()
		if err := wait(t, done); err != nil {
			t.Errorf("the daemon of %s: %v", id, err)
		}
	})
	eventually(t, id+" answers", func() bool { _, err := client.Status(t.Context()); return err == nil })
	return client
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not so: %s", what)
		}
	}
}

// freePort is a port where nobody listens yet, of TCP and of UDP.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// carry sends a bundle and waits until it has been delivered.
func carry(t *testing.T, from, to app.Client, inbox bundle.EID, size int, custody bool) {
	t.Helper()
	payload := bytes.Repeat([]byte{byte(size), 2, 3}, size/3)
	id, err := from.Send(t.Context(), app.Outgoing{
		To: inbox, Payload: bytes.NewReader(payload), Length: int64(len(payload)), Custody: custody, Priority: bundle.PriorityNormal,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	d, err := to.Receive(ctx, inbox)
	if err != nil {
		t.Fatalf("%s did not arrive: %v", id, err)
	}
	got, err := io.ReadAll(d.Payload)
	if err := errors.Join(err, d.Payload.Close(), d.Ack(ctx)); err != nil {
		t.Fatal(err)
	}
	if d.ID != id || !bytes.Equal(got, payload) {
		t.Errorf("%s with %d bytes arrived, want %s with %d", d.ID, len(got), id, len(payload))
	}
}

// TestLayers lets two daemons exchange bundles over each layer.
func TestLayers(t *testing.T) {
	for _, is := range layers() {
		t.Run(is.name, func(t *testing.T) {
			idA, idB := "dtn://a/", "dtn://b/"
			portA, portB := freePort(t), freePort(t)
			config := func(mine, other int, peer string) string {
				if is.name == layerLTP { // which knows nodes by numbers
					return fmt.Sprintf("ltp = { engine_id = %d }\nlisten = [{ layer = \"ltp\", address = \"127.0.0.1:%d\" }]\n"+
						"link = [{ layer = \"ltp\", peer = %q, engine_id = %d, address = \"127.0.0.1:%d\", mode = \"always\" }]\n", mine, mine, peer, other, other)
				}
				return fmt.Sprintf("listen = [{ layer = %q, address = \"127.0.0.1:%d\" }]\n"+
					"link = [{ layer = %q, peer = %q, address = \"127.0.0.1:%d\", mode = \"always\" }]\n", is.name, mine, is.name, peer, other)
			}
			a := runDaemon(t, idA, config(portA, portB, idB))
			b := runDaemon(t, idB, config(portB, portA, idA))
			eventually(t, "both links are up", func() bool { return isLinked(t, a) && isLinked(t, b) })
			carry(t, a, b, bundle.DTN("b", "inbox"), 900, true)
			carry(t, b, a, bundle.DTN("a", "inbox"), 900, true)
			carry(t, a, b, bundle.DTN("b", "inbox"), 60_000, false) // over UDP it goes in pieces
			for _, client := range []app.Client{a, b} {
				eventually(t, "custody is released", func() bool {
					s, err := client.Status(t.Context())
					return err == nil && s.Counters.CustodyReleased == 1 && s.Store.Custodial == 0
				})
			}
			s, err := a.Status(t.Context())
			if err != nil || len(s.Links) != 1 || s.Links[0].Layer != is.name || s.Links[0].BundlesSent == 0 {
				t.Errorf("links: %+v, %v", s.Links, err)
			}
		})
	}
}

func isLinked(t *testing.T, c app.Client) bool {
	t.Helper()
	s, err := c.Status(t.Context())
	return err == nil && len(s.Links) > 0 && s.Links[0].Physical == "up"
}

// TestDiscoveredNeighbours lets two daemons find each other. They know nothing of each
// other beforehand.
func TestDiscoveredNeighbours(t *testing.T) {
	config := func(port int) string {
		return fmt.Sprintf("listen = [{ layer = \"mtcp\", address = \"0.0.0.0:%d\" }]\n"+
			"dtn7 = { discovery = true, interval = \"1s\", interfaces = [\"lo\"] }\n", port)
	}
	a := runDaemon(t, "dtn://found-a/", config(freePort(t)))
	b := runDaemon(t, "dtn://found-b/", config(freePort(t)))
	carry(t, a, b, bundle.DTN("found-b", "inbox"), 3000, true)
	carry(t, b, a, bundle.DTN("found-a", "inbox"), 3000, true)
}

// TestAgents sends a bundle by the REST agent to a client of the WebSocket agent.
func TestAgents(t *testing.T) {
	for name, ports := range map[string][2]int{"one address": {1, 1}, "two addresses": {1, 2}} {
		t.Run(name, func(t *testing.T) {
			rest := fmt.Sprintf("127.0.0.1:%d", freePort(t))
			socket := rest
			if ports[0] != ports[1] {
				socket = fmt.Sprintf("127.0.0.1:%d", freePort(t))
			}
			runDaemon(t, "dtn://perigee/", fmt.Sprintf("[dtn7.agents]\nrest = %q\nwebsocket = %q\ncustody = true\n", rest, socket))
			var uuid agent.RestRegisterResponse
			eventually(t, "the REST agent answers", func() bool {
				return post(rest, "register", agent.RestRegisterRequest{EndpointId: "dtn://perigee/rest"}, &uuid) == nil && uuid.UUID != ""
			})
			var to *agent.WebSocketAgentConnector
			eventually(t, "the WebSocket agent answers", func() bool {
				var err error
				to, err = agent.NewWebSocketAgentConnector("ws://"+socket+"/ws", "dtn://perigee/ws")
				return err == nil
			})
			defer to.Close()
			var answer agent.RestBuildResponse
			if err := post(rest, "build", agent.RestBuildRequest{UUID: uuid.UUID, Args: map[string]any{
				"source": "dtn://perigee/rest", "destination": "dtn://perigee/ws", "creation_timestamp_now": 1, "lifetime": "1h", "payload_block": "hello",
			}}, &answer); err != nil || answer.Error != "" {
				t.Fatalf("build: %+v, %v", answer, err)
			}
			got, err := to.ReadBundle()
			if err != nil || got.PrimaryBlock.SourceNode.String() != "dtn://perigee/rest" {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}

func post(address, what string, request, answer any) error {
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	resp, err := http.Post("http://"+address+"/rest/"+what, "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return json.NewDecoder(resp.Body).Decode(answer)
}

// A contact's rate goes before that of the configuration.
func TestRateOfContact(t *testing.T) {
	l, err := udpcl.Listen(t.Context(), "127.0.0.1:0", udpcl.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	me, peer := bundle.IPN(1, 0), bundle.IPN(2, 0)
	now := clock{}.Now()
	plan, err := contact.New([]contact.Contact{{
		From: me, To: peer, Start: now - dtntime.Time(dtntime.Minute), End: now.Add(dtntime.Hour), Rate: 80_000, Confidence: 1,
	}})
	if err != nil {
		t.Fatal(err)
	}
	d := &pacedDialer{me: me, peer: peer, plan: new(currentPlan), cfg: udpcl.Config{Peer: peer.String(), Rate: 1e9}}
	for _, tt := range []struct {
		plan *contact.Plan
		slow bool
	}{{nil, false}, {plan, true}} {
		d.plan.Store(tt.plan)
		s, err := d.Dial(t.Context(), l.Addr())
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		for range 2 {
			if _, err := s.Send(t.Context(), 1000, strings.NewReader("\x9f"+strings.Repeat("x", 999))); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(begin); took >= 100*time.Millisecond != tt.slow {
			t.Errorf("in a contact: %v; the second datagram went after %s", tt.slow, took)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
