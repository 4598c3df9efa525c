package dtn7agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/dtn7/dtn7-go/pkg/agent"
	"github.com/dtn7/dtn7-go/pkg/bpv7"
	"go.uber.org/goleak"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/dtntime"
	"perigee/bundle/node"
	"perigee/bundle/store/memstore"
)

type wallClock struct{}

func (wallClock) Now() dtntime.Time { return dtntime.FromTime(time.Now()) }

// A world is a node with its agents behind an address.
type world struct {
	*testing.T
	node    bundle.EID
	client  app.Client
	address string
	http    *http.Client
}

func start(t *testing.T, id bundle.EID, change ...func(*Config)) *world {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	n, err := node.New(node.Config{
		Node: id, Store: memstore.New(memstore.Options{Quota: 64 << 20}), Clock: wallClock{}, Log: log, SpoolDir: t.TempDir(), MaxBundle: 32 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, node: id, client: n.Client(), address: l.Addr().String(), http: &http.Client{Transport: &http.Transport{}}}
	cfg := Config{Node: id, Client: n.Client(), MaxBundle: 32 << 20, Log: log}
	for _, f := range change {
		f(&cfg)
	}
	agents := New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	running, nodeEnds := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- n.Run(running) }()
	go func() { ended <- agents.Serve(ctx, l, agents.Handler(true, true)) }()
	t.Cleanup(func() {
		w.http.CloseIdleConnections()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the agents ended with %v", err)
		}
		nodeEnds()
		if err := <-ended; err != nil {
			t.Errorf("the node ended with %v", err)
		}
	})
	return w
}

// post sends a request and reads the answer, in the types of dtn7-go.
func (w *world) post(what string, request, answer any) {
	w.Helper()
	body, err := json.Marshal(request)
	if err != nil {
		w.Fatal(err)
	}
	if code := w.raw(what, string(body), answer); code != http.StatusOK {
		w.Fatalf("%s is answered by %d", what, code)
	}
}

func (w *world) raw(what, body string, answer any) int {
	w.Helper()
	resp, err := w.http.Post("http://"+w.address+"/rest/"+what, "application/json", strings.NewReader(body))
	if err != nil {
		w.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && answer != nil {
		err = json.Unmarshal(text, answer)
	}
	if err != nil {
		w.Fatalf("%s is answered by %q: %v", what, text, err)
	}
	return resp.StatusCode
}

func (w *world) register(endpoint string) string {
	w.Helper()
	var answer agent.RestRegisterResponse
	w.post("register", agent.RestRegisterRequest{EndpointId: endpoint}, &answer)
	if answer.Error != "" || len(answer.UUID) != 36 {
		w.Fatalf("register %s: %+v", endpoint, answer)
	}
	return answer.UUID
}

// fetched is a bundle as a REST client sees it.
type fetched struct {
	Primary struct {
		Flags       []string `json:"bundleControlFlags"`
		Destination string   `json:"destination"`
		Source      string   `json:"source"`
		ReportTo    string   `json:"reportTo"`
		Lifetime    uint64   `json:"lifetime"`
	} `json:"primaryBlock"`
	Blocks []struct {
		Type uint64 `json:"blockTypeCode"`
		Data any    `json:"data"`
	} `json:"canonicalBlocks"`
}

func (f fetched) payload() []byte {
	var b []byte
	text, _ := json.Marshal(f.Blocks[len(f.Blocks)-1].Data)
	_ = json.Unmarshal(text, &b)
	return b
}

func (w *world) fetch(uuid string) []fetched {
	w.Helper()
	var answer struct {
		Error   string    `json:"error"`
		Bundles []fetched `json:"bundles"`
	}
	w.post("fetch", agent.RestFetchRequest{UUID: uuid}, &answer)
	if answer.Error != "" || answer.Bundles == nil {
		w.Fatalf("fetch: %+v", answer)
	}
	return answer.Bundles
}

func (w *world) build(uuid string, args map[string]any) string {
	w.Helper()
	var answer agent.RestBuildResponse
	w.post("build", agent.RestBuildRequest{UUID: uuid, Args: args}, &answer)
	return answer.Error
}

// send sends a bundle from an application of the node itself.
func (w *world) send(to bundle.EID, payload []byte) bundle.ID {
	w.Helper()
	id, err := w.client.Send(w.Context(), app.Outgoing{To: to, Payload: bytes.NewReader(payload), Length: int64(len(payload)), Priority: bundle.PriorityNormal})
	if err != nil {
		w.Fatal(err)
	}
	return id
}

func (w *world) stored() int64 {
	w.Helper()
	s, err := w.client.Status(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	return s.Store.Bundles
}

func (w *world) eventually(what string, holds func() bool) {
	w.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.Fatalf("still not so: %s", what)
		}
	}
}

func TestREST(t *testing.T) {
	w := start(t, bundle.DTN("perigee", ""))
	one, two := w.register("dtn://perigee/one"), w.register("dtn://perigee/two")
	if got := w.fetch(one); len(got) != 0 {
		t.Errorf("fetched %v of nothing", got)
	}
	text := strings.Repeat("hello world ", 1000)
	if problem := w.build(one, map[string]any{
		"destination": "dtn://perigee/two", "source": "dtn://perigee/one", "creation_timestamp_now": 1, "lifetime": "24h", "payload_block": text,
	}); problem != "" {
		t.Fatal(problem)
	}
	w.send(bundle.DTN("perigee", "two"), []byte{0xff, 0x00})
	var got []fetched
	w.eventually("both bundles come", func() bool { got = append(got, w.fetch(two)...); return len(got) == 2 })
	p := got[0].Primary
	if p.Source != "dtn://perigee/one" || p.Destination != "dtn://perigee/two" || p.ReportTo != p.Source || p.Lifetime != 86400000 {
		t.Errorf("primary block: %+v", p)
	}
	if len(p.Flags) != 1 || p.Flags[0] != "REQUESTED_DELIVERY_STATUS_REPORT" { // dtn7-go's builder asks for it
		t.Errorf("flags: %q", p.Flags)
	}
	if string(got[0].payload()) != text || !bytes.Equal(got[1].payload(), []byte{0xff, 0x00}) {
		t.Errorf("payloads of %d and %d bytes", len(got[0].payload()), len(got[1].payload()))
	}
	w.eventually("what was fetched is gone", func() bool { return w.stored() == 0 })
	var left agent.RestUnregisterResponse
	w.post("unregister", agent.RestUnregisterRequest{UUID: two}, &left)
	if left.Error != "" {
		t.Error(left.Error)
	}
	var answer agent.RestRegisterResponse
	w.post("fetch", agent.RestFetchRequest{UUID: two}, &answer)
	if !strings.Contains(answer.Error, "Invalid UUID") {
		t.Errorf("fetch after unregister: %+v", answer)
	}
}

// Endpoints of ipn work as well, also those that dtn7-go cannot read itself.
func TestRESTWithIPN(t *testing.T) {
	w := start(t, bundle.IPN(2, 0))
	uuid := w.register("ipn:2.42")
	w.send(bundle.IPN(2, 42), []byte("from ipn:2.0"))
	var got []fetched
	w.eventually("the bundle comes", func() bool { got = append(got, w.fetch(uuid)...); return len(got) == 1 })
	if got[0].Primary.Source != "ipn:2.0" || string(got[0].payload()) != "from ipn:2.0" {
		t.Errorf("got %+v", got[0])
	}
}

func TestWhatRESTRefuses(t *testing.T) {
	w := start(t, bundle.DTN("perigee", ""))
	uuid := w.register("dtn://perigee/one")
	for endpoint, want := range map[string]string{
		"dtn://other/one": "no endpoint of this node", "dtn:none": "no endpoint", "nonsense": "register", "dtn://perigee/~all": "no endpoint",
	} {
		var answer agent.RestRegisterResponse
		w.post("register", agent.RestRegisterRequest{EndpointId: endpoint}, &answer)
		if !strings.Contains(answer.Error, want) || answer.UUID != "" {
			t.Errorf("register %s: %+v, want %q", endpoint, answer, want)
		}
	}
	good := map[string]any{"destination": "dtn://x/y", "source": "dtn://perigee/one", "creation_timestamp_now": true, "lifetime": "1h", "payload_block": "x"}
	for key, bad := range map[string]any{
		"destination": 7, "source": "dtn://perigee/two", "lifetime": "-1h", "creation_timestamp_time": "now", "canonical": 1, "bundle_ctrl_flags": 4,
		"payload_block": map[string]any{}, "what": "ever", "hop_count_block": "many", "previous_node_block": 3,
	} {
		args := make(map[string]any)
		for k, v := range good {
			args[k] = v
		}
		args[key] = bad
		if problem := w.build(uuid, args); problem == "" {
			t.Errorf("%s = %v was taken", key, bad)
		}
	}
	if problem := w.build("no-such", good); !strings.Contains(problem, "Invalid UUID") {
		t.Errorf("build of a stranger: %q", problem)
	}
	if problem := w.build(uuid, nil); problem == "" {
		t.Error("a bundle was made of nothing")
	}
	for _, what := range []string{"register", "unregister", "fetch", "build"} {
		for _, body := range []string{"", "{", "[]", `{"uuid":7,"endpoint_id":7}`, strings.Repeat("[", 100_000)} {
			var answer struct {
				Error string `json:"error"`
			}
			if w.raw(what, body, &answer); answer.Error == "" {
				t.Errorf("%s took %.10q", what, body)
			}
		}
	}
	var large agent.RestBuildResponse
	w.raw("build", `{"uuid":"`+strings.Repeat("x", maxRequest), &large)
	if !strings.Contains(large.Error, "more than") {
		t.Errorf("a request without an end: %q", large.Error)
	}
	if w.stored() != 0 {
		t.Errorf("%d bundles were made", w.stored())
	}
}

// Pages of other sites cannot use a browser to speak to the agents.
func TestOtherSites(t *testing.T) {
	w := start(t, bundle.DTN("perigee", ""))
	for _, what := range []string{"rest/register", "ws"} {
		method := http.MethodPost
		if what == "ws" {
			method = http.MethodGet
		}
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+w.address+"/"+what, strings.NewReader(`{"endpoint_id":"dtn://perigee/x"}`))
		if err != nil {
			t.Fatal(err)
		}
		for key, value := range map[string]string{
			"Origin": "https://evil.example", "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
		} {
			req.Header.Set(key, value)
		}
		resp, err := w.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s for another site is answered by %d", what, resp.StatusCode)
		}
	}
}

// What a client did not take in full is delivered again.
func TestFetchIsDeliveredAgain(t *testing.T) {
	w := start(t, bundle.DTN("perigee", ""))
	uuid := w.register("dtn://perigee/one")
	payload := bytes.Repeat([]byte("x"), 8<<20) // more than the buffers of a connection
	w.send(bundle.DTN("perigee", "one"), payload)
	conn, err := net.Dial("tcp", w.address)
	if err != nil {
		t.Fatal(err)
	}
	body := `{"uuid":"` + uuid + `"}`
	if _, err := io.WriteString(conn, "POST /rest/fetch HTTP/1.1\r\nHost: x\r\nContent-Length: 47\r\n\r\n"+body); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	var got []fetched
	w.eventually("the bundle comes again", func() bool { got = append(got, w.fetch(uuid)...); return len(got) > 0 })
	if len(got) != 1 || !bytes.Equal(got[0].payload(), payload) {
		t.Errorf("%d bundles came", len(got))
	}
}

func TestRegistrationsAreBounded(t *testing.T) {
	a := New(Config{Node: bundle.IPN(2, 0)})
	var uuids []string
	for range maxRegistrations {
		uuid, err := a.enter(bundle.IPN(2, 1))
		if err != nil {
			t.Fatal(err)
		}
		uuids = append(uuids, uuid)
	}
	if _, err := a.enter(bundle.IPN(2, 1)); err == nil {
		t.Error("one too many was registered")
	}
	a.registered[uuids[7]].used = time.Now().Add(-2 * keptIdle)
	if _, err := a.enter(bundle.IPN(2, 1)); err != nil {
		t.Errorf("in the place of an idle one: %v", err)
	}
	if _, err := a.client(uuids[7]); !errors.Is(err, errUnknown) {
		t.Errorf("the idle one is still there: %v", err)
	}
}

// TestJSONIsDTN7s holds what a client fetches against what dtn7-go writes for the same
// bundle.
func TestJSONIsDTN7s(t *testing.T) {
	b, err := bpv7.Builder().CRC(bpv7.CRC32).Source("dtn://a/x").Destination("dtn://b/y").ReportTo("dtn://c/z").
		CreationTimestampNow().Lifetime("90m").HopCountBlock(64).BundleAgeBlock(1234).PreviousNodeBlock("dtn://relay/").
		Canonical(bpv7.NewGenericExtensionBlock([]byte("data"), 200), bpv7.ReplicateBlock|bpv7.RemoveBlock|bpv7.StatusReportBlock).
		BundleCtrlFlags(bpv7.MustNotFragmented | bpv7.StatusRequestDeletion | bpv7.RequestStatusTime).PayloadBlock([]byte("hello\x00world")).Build()
	if err != nil {
		t.Fatal(err)
	}
	var raw bytes.Buffer
	if err := b.WriteBundle(&raw); err != nil {
		t.Fatal(err)
	}
	want, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	if got := jsonOf(t, raw.Bytes()); got != string(want) {
		t.Errorf("we write\n%s\ndtn7-go\n%s", got, want)
	}
}
