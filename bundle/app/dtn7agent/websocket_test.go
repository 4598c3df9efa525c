package dtn7agent

import (
	"bufio"
	"bytes"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/dtn7/dtn7-go/pkg/agent"
	"github.com/dtn7/dtn7-go/pkg/bpv7"
	"github.com/fxamacker/cbor/v2"
	"github.com/gorilla/websocket"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/bundletest"
)

func jsonOf(t *testing.T, raw []byte) string {
	t.Helper()
	r := bundle.NewReader(bytes.NewReader(raw), bundle.DefaultLimits())
	b, err := r.Header()
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	out := bufio.NewWriter(&text)
	if err := writeBundle(out, b, r); err != nil {
		t.Fatal(err)
	}
	out.Flush()
	return text.String()
}

// connector opens dtn7-go's own client.
func (w *world) connector(endpoint string) *agent.WebSocketAgentConnector {
	w.Helper()
	c, err := agent.NewWebSocketAgentConnector("ws://"+w.address+"/ws", endpoint)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(c.Close)
	return c
}

func built7(t *testing.T, source, destination string, payload []byte) bpv7.Bundle {
	t.Helper()
	b, err := bpv7.Builder().CRC(bpv7.CRC32).Source(source).Destination(destination).
		CreationTimestampNow().Lifetime("1h").HopCountBlock(32).PayloadBlock(payload).Build()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestWebSocketWithDTN7sClient(t *testing.T) {
	w := start(t, bundle.DTN("perigee", ""))
	one, two := w.connector("dtn://perigee/one"), w.connector("dtn://perigee/two")
	for _, size := range []int{0, 10, 100_000, 3_000_000} {
		payload := bundletest.Payload(int64(size), size)
		if err := one.WriteBundle(built7(t, "dtn://perigee/one", "dtn://perigee/two", payload)); err != nil {
			t.Fatal(err)
		}
		got, err := two.ReadBundle()
		if err != nil {
			t.Fatal(err)
		}
		block, err := got.PayloadBlock()
		if err != nil || !bytes.Equal(block.Value.(*bpv7.PayloadBlock).Data(), payload) {
			t.Errorf("a payload of %d bytes arrived as another, %v", size, err)
		}
		if p := got.PrimaryBlock; p.SourceNode.String() != "dtn://perigee/one" || p.Lifetime != 3_600_000 || !p.BundleControlFlags.Has(bpv7.StatusRequestDelivery) {
			t.Errorf("primary block: %s", p)
		}
	}
	w.eventually("what was delivered is gone", func() bool { return w.stored() == 0 })
}

func TestWebSocketRegistration(t *testing.T) {
	w := start(t, bundle.DTN("perigee", ""))
	if _, err := agent.NewWebSocketAgentConnector("ws://"+w.address+"/ws", "dtn://other/one"); err == nil || !strings.Contains(err.Error(), "no endpoint of this node") {
		t.Errorf("an endpoint of another node: %v", err)
	}
}

// talk is a client that says whatever a test wants.
type talk struct {
	*testing.T
	conn *websocket.Conn
}

func (w *world) talk() talk {
	w.Helper()
	conn, _, err := websocket.DefaultDialer.Dial("ws://"+w.address+"/ws", nil)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { conn.Close() })
	conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	return talk{w.T, conn}
}

func (c talk) say(code int, what any) {
	c.Helper()
	text, err := cbor.Marshal([]any{code, what})
	if err != nil {
		c.Fatal(err)
	}
	c.write(text)
}

func (c talk) write(text []byte) {
	c.Helper()
	if err := c.conn.WriteMessage(websocket.BinaryMessage, text); err != nil {
		c.Fatal(err)
	}
}

// status reads the next message as a status.
func (c talk) status() string {
	c.Helper()
	_, text, err := c.conn.ReadMessage()
	if err != nil {
		c.Fatal(err)
	}
	var message struct {
		_    struct{} `cbor:",toarray"`
		Code int
		Text string
	}
	if err := cbor.Unmarshal(text, &message); err != nil || message.Code != codeStatus {
		c.Fatalf("%x is no status: %v", text, err)
	}
	return message.Text
}

// ended waits for the end of the connection.
func (c talk) ended() {
	c.Helper()
	for {
		if _, _, err := c.conn.ReadMessage(); err != nil {
			return
		}
	}
}

func TestWhatTheWebSocketRefuses(t *testing.T) {
	w := start(t, bundle.DTN("perigee", ""))
	c := w.talk()
	for _, endpoint := range []string{"dtn://other/x", "", "dtn:none"} {
		if c.say(codeRegister, endpoint); c.status() == "" {
			t.Errorf("%q was registered", endpoint)
		}
	}
	c.say(codeRegister, "dtn://perigee/x")
	if s := c.status(); s != "" {
		t.Fatal(s)
	}
	if c.say(codeRegister, "dtn://perigee/y"); !strings.Contains(c.status(), "already") {
		t.Error("a second endpoint was registered")
	}
	c.say(codeSyscallRequest, "whoami") // not answered
	from, to := bundletest.From(bundle.DTN("perigee", "x")), bundletest.To(bundle.DTN("other", "y"))
	good := bundletest.Bytes(1, 100, from, to)
	for want, raw := range map[string][]byte{
		"fragment":              bundletest.Bytes(1, 10, from, to, bundletest.Fragment(1, 100)),
		"administrative record": bundletest.Bytes(1, 10, from, to, bundletest.Flags(bundle.FlagAdminRecord)),
		"no source":             bundletest.Bytes(1, 10, bundletest.From(bundle.EID{}), bundletest.Flags(bundle.FlagMustNotFragment), to),
		"block of type 13":      bundletest.Bytes(1, 10, from, to, bundletest.Custody(bundle.DTN("perigee", ""), 1, 2)),
		"not an endpoint":       bundletest.Bytes(1, 10, bundletest.From(bundle.DTN("other", "x")), to),
		"needs a destination":   bundletest.Bytes(1, 10, from, bundletest.To(bundle.EID{})),
		"CRC":                   append(append([]byte(nil), good[:len(good)-30]...), append([]byte{good[len(good)-30] ^ 1}, good[len(good)-29:]...)...),
		"bytes follow":          append(append([]byte(nil), good...), 0),
		"ends":                  good[:len(good)-50],
	} {
		c.write(append([]byte{arrayOfTwo, codeBundle}, raw...))
		if s := c.status(); !strings.Contains(s, want) {
			t.Errorf("%s: told %q", want, s)
		}
	}
	if n := w.stored(); n != 0 {
		t.Fatalf("%d bundles were made", n)
	}
	c.write(append([]byte{arrayOfTwo, codeBundle}, good...)) // the connection lives on
	w.eventually("a good bundle is taken", func() bool { return w.stored() == 1 })
}

// TestBrokenMessages sends what is no message. The connection ends.
func TestBrokenMessages(t *testing.T) {
	w := start(t, bundle.DTN("perigee", ""), func(c *Config) { c.MaxBundle = 1 << 20 })
	for name, text := range map[string][]byte{
		"nothing": {}, "one byte": {arrayOfTwo}, "no array": {0x02, 0x02}, "unknown code": {arrayOfTwo, 9}, "long code": {arrayOfTwo, 0x18},
		"no text": {arrayOfTwo, codeRegister, 0x01}, "lying text": {arrayOfTwo, codeRegister, 0x7b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"long text": append([]byte{arrayOfTwo, codeRegister, 0x79, 0xff, 0xff}, make([]byte, 65535)...), "too large": append([]byte{arrayOfTwo, codeBundle}, make([]byte, 2<<20)...),
	} {
		t.Run(name, func(*testing.T) {
			c := w.talk()
			_ = c.conn.WriteMessage(websocket.BinaryMessage, text) // it may end in the middle
			c.ended()
		})
	}
	c := w.talk()
	if err := c.conn.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	c.ended()
}

// A client that goes away in the middle of a bundle gets it again.
func TestWebSocketIsDeliveredAgain(t *testing.T) {
	w := start(t, bundle.DTN("perigee", ""))
	payload := bundletest.Payload(1, 16<<20) // more than the buffers of a connection
	w.send(bundle.DTN("perigee", "x"), payload)
	c := w.talk()
	c.say(codeRegister, "dtn://perigee/x")
	if _, err := c.conn.NetConn().Read(make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	c.conn.Close()
	c = w.talk()
	c.say(codeRegister, "dtn://perigee/x")
	if s := c.status(); s != "" {
		t.Fatal(s)
	}
	_, text, err := c.conn.ReadMessage()
	if err != nil {
		t.Fatal(err)
	}
	if _, got, err := bundle.Parse(text[messageHead:], bundle.DefaultLimits()); err != nil || !bytes.Equal(got, payload) {
		t.Errorf("%d bytes came, %v", len(got), err)
	}
	w.eventually("it is gone", func() bool { return w.stored() == 0 })
}

// A store that is full ends the connection, so that a client notices.
func TestWebSocketWithAFullStore(t *testing.T) {
	w := start(t, bundle.DTN("perigee", ""))
	for {
		_, err := w.client.Send(t.Context(), app.Outgoing{To: bundle.DTN("other", "y"), Payload: bytes.NewReader(make([]byte, 8<<20)), Length: 8 << 20})
		if err != nil {
			break
		}
	}
	c := w.talk()
	c.write(append([]byte{arrayOfTwo, codeBundle}, bundletest.Bytes(1, 20<<20, bundletest.From(bundle.DTN("perigee", "x")), bundletest.To(bundle.DTN("other", "y")))...))
	if s := c.status(); !strings.Contains(s, "try again") {
		t.Errorf("told %q", s)
	}
	c.ended()
}

func TestSocketsAreBounded(t *testing.T) {
	w := start(t, bundle.DTN("perigee", ""))
	for range maxSockets {
		w.talk()
	}
	if conn, resp, err := websocket.DefaultDialer.Dial("ws://"+w.address+"/ws", nil); err == nil || resp == nil || resp.StatusCode != 503 {
		conn.Close()
		t.Errorf("one too many was taken: %v", err)
	}
	// Others go on all the same, and the end of the agents ends all.
	conn, err := net.Dial("tcp", w.address)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

// FuzzMessage reads whatever a client may say.
func FuzzMessage(f *testing.F) {
	good := bundletest.Bytes(1, 30, bundletest.Hops(9, 1), bundletest.Priority(bundle.PriorityBulk))
	f.Add(append([]byte{arrayOfTwo, codeBundle}, good...))
	text, err := status(errMessage)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte{arrayOfTwo, codeRegister, 0x63, 'd', 't', 'n'})
	f.Fuzz(func(t *testing.T, message []byte) {
		r := bytes.NewReader(message)
		code, err := readCode(r)
		if err != nil {
			return
		}
		if code != codeBundle {
			if text, err := readText(r); err == nil && len(text) > maxText {
				t.Errorf("a text of %d bytes was read", len(text))
			}
			return
		}
		out, err := outgoing(r)
		if err == nil && (out.Length < 0 || out.From.IsNull() || out.Payload == nil) {
			t.Errorf("read %+v", out)
		}
	})
}
