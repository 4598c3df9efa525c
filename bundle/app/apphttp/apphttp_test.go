package apphttp

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"go.uber.org/goleak"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/app/apptest"
	"perigee/bundle/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var here = bundle.IPN(7, 0)

// socketPath returns a path short enough for a socket.
func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "perigee")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

// serve serves client on a socket until the test ends or stop is called.
func serve(t *testing.T, client app.Client, limits Limits) (path string, stop func()) {
	t.Helper()
	path = socketPath(t)
	l, err := Listen(t.Context(), path, 0)
	if err != nil {
		t.Fatal(err)
	}
	server := NewServer(client, slog.New(slog.DiscardHandler))
	server.Limits = limits
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, l) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("Serve did not return")
		}
	}
	t.Cleanup(stop)
	return path, stop
}

func dial(t *testing.T, path string) *Client {
	t.Helper()
	c := Dial(path)
	t.Cleanup(func() { c.Close() })
	return c
}

func bundleFor(to bundle.EID, payload string) app.Outgoing {
	return app.Outgoing{To: to, Priority: bundle.PriorityNormal, Payload: strings.NewReader(payload), Length: int64(len(payload))}
}

// neighbour is the node that a node in memory has a link with.
var neighbour = bundle.IPN(31, 0)

func TestSuiteInProcess(t *testing.T) {
	apptest.Run(t, func(t *testing.T) apptest.Subject {
		node := apptest.NewMemory(here)
		node.AddLink(neighbour)
		return apptest.Subject{Node: here, Peer: neighbour, Dial: func() app.Client { return node.Client() }}
	})
}

func TestSuiteOverSocket(t *testing.T) {
	apptest.Run(t, func(t *testing.T) apptest.Subject {
		id := bundle.DTN("sat-17", "")
		node := apptest.NewMemory(id)
		node.AddLink(neighbour)
		path, _ := serve(t, node.Client(), Limits{})
		t.Cleanup(func() {
			if n := node.OpenPayloads(); n != 0 {
				t.Errorf("%d payloads were left open", n)
			}
		})
		return apptest.Subject{Node: id, Peer: neighbour, Dial: func() app.Client { return Dial(path) }}
	})
}

func TestErrorsKeepTheirIdentity(t *testing.T) {
	for _, k := range kinds() {
		original := fmt.Errorf("storing bundle 3 in /data: %w", k.err)
		f, status := failureOf(original)
		got := f.err()
		if !errors.Is(got, k.err) || got.Error() != original.Error() || status != k.status {
			t.Errorf("%s: got %v with status %d, want %v with %d", k.name, got, status, original, k.status)
		}
		for _, other := range kinds() {
			if other.name != k.name && errors.Is(got, other.err) {
				t.Errorf("%s also matches %s", k.name, other.name)
			}
		}
	}
	both, _ := failureOf(fmt.Errorf("%w: %w", app.ErrTryAgain, store.ErrQuota))
	if err := both.err(); !errors.Is(err, app.ErrTryAgain) || !errors.Is(err, store.ErrQuota) {
		t.Errorf("%v has lost one of two identities", err)
	}
	if f, status := failureOf(errors.New("odd")); status != http.StatusInternalServerError || len(f.Kinds) != 0 {
		t.Errorf("unknown error: kinds %v, status %d", f.Kinds, status)
	}
}

func TestUnreachable(t *testing.T) {
	path := socketPath(t)
	c := dial(t, path)
	_, err := c.Status(t.Context())
	if !errors.Is(err, app.ErrUnreachable) || !strings.Contains(err.Error(), path) {
		t.Errorf("no socket: %v, want ErrUnreachable naming %s", err, path)
	}
	if _, err := c.Receive(t.Context(), here); !errors.Is(err, app.ErrUnreachable) {
		t.Errorf("Receive without a daemon: %v", err)
	}
	if _, err := c.Send(t.Context(), bundleFor(here, "x")); !errors.Is(err, app.ErrUnreachable) {
		t.Errorf("Send without a daemon: %v", err)
	}
	c.Close()
	if _, err := c.Status(t.Context()); !errors.Is(err, app.ErrClosed) {
		t.Errorf("closed client: %v, want ErrClosed", err)
	}
}

// TestRefusedMidway sends far more than fits: the reason must come back although
// the server has not read the payload.
func TestRefusedMidway(t *testing.T) {
	node := apptest.NewMemory(here)
	node.Quota = 1 << 20
	path, _ := serve(t, node.Client(), Limits{})
	c := dial(t, path)
	for range 20 {
		out := bundleFor(here.WithService(1), "")
		out.Payload, out.Length = io.LimitReader(zeros{}, 64<<20), 64<<20
		_, err := c.Send(t.Context(), out)
		if !errors.Is(err, app.ErrTryAgain) || !errors.Is(err, store.ErrQuota) {
			t.Fatalf("Send over the quota: %v, want ErrTryAgain and ErrQuota", err)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// flow is a client that consumes and produces large payloads without keeping them.
type flow struct {
	app.Client
	size int64
	sum  []byte
}

func (f *flow) Send(_ context.Context, out app.Outgoing) (bundle.ID, error) {
	sum := sha256.New()
	n, err := io.Copy(sum, out.Payload)
	f.sum = sum.Sum(nil)
	if n != f.size {
		err = errors.Join(err, fmt.Errorf("got %d bytes", n))
	}
	return bundle.ID{Source: here}, err
}

func (f *flow) Receive(ctx context.Context, endpoint bundle.EID) (*app.Delivery, error) {
	return &app.Delivery{
		Size: f.size, Payload: io.NopCloser(io.LimitReader(zeros{}, f.size)),
		Ack: func(context.Context) error { return nil }, Release: func(context.Context) error { return nil },
	}, nil
}

// TestConstantMemory carries 300 MB each way and looks at all that was allocated on
// the way, garbage included.
func TestConstantMemory(t *testing.T) {
	const size = 300 << 20
	node := &flow{Client: apptest.NewMemory(here).Client(), size: size}
	path, _ := serve(t, node, Limits{})
	c := dial(t, path)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	out := bundleFor(here.WithService(1), "")
	out.Payload, out.Length = io.LimitReader(zeros{}, size), size
	if _, err := c.Send(t.Context(), out); err != nil {
		t.Fatal(err)
	}
	sum := sha256.New()
	if _, err := io.CopyN(sum, zeros{}, size); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(sum.Sum(nil), node.sum) {
		t.Error("the payload was changed on the way")
	}
	d, err := c.Receive(t.Context(), here)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, d.Payload); n != size || err != nil {
		t.Fatalf("received %d bytes, %v", n, err)
	}
	if err := d.Ack(t.Context()); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 8<<20 {
		t.Errorf("600 MB of payload allocated %d bytes", used)
	}
}

func TestLeaseLimit(t *testing.T) {
	node := apptest.NewMemory(here)
	path, _ := serve(t, node.Client(), Limits{Lease: 50 * time.Millisecond})
	c := dial(t, path)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	id, err := c.Send(ctx, bundleFor(here.WithService(1), "held too long"))
	if err != nil {
		t.Fatal(err)
	}
	first, err := c.Receive(ctx, here.WithService(1))
	if err != nil {
		t.Fatal(err)
	}
	// The client stays silent; the bundle comes again when its time is over.
	second, err := c.Receive(ctx, here.WithService(1))
	if err != nil || second.ID != id {
		t.Fatalf("second delivery: %+v, %v", second, err)
	}
	if err := first.Ack(ctx); err == nil {
		t.Error("Ack of a delivery that was taken back succeeded")
	}
	// Whatever became of the second lease, the bundle is not lost.
	if _, err := node.Client().Bundle(ctx, id); err != nil {
		t.Errorf("the bundle is gone: %v", err)
	}
}

func TestSlowPayloadIsCut(t *testing.T) {
	path, _ := serve(t, apptest.NewMemory(here).Client(), Limits{Stall: 50 * time.Millisecond})
	c := dial(t, path)
	out := bundleFor(here.WithService(1), "")
	stuck, feed := io.Pipe()
	defer feed.Close()
	go feed.Write([]byte("begin"))
	out.Payload, out.Length = stuck, -1
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	sent := make(chan error, 1)
	go func() {
		_, err := c.Send(ctx, out)
		sent <- err
	}()
	// The server gives up and answers; Send then waits for the read it has begun.
	time.AfterFunc(300*time.Millisecond, func() { feed.CloseWithError(io.ErrClosedPipe) })
	if err := <-sent; err == nil || ctx.Err() != nil {
		t.Errorf("Send of a payload that stalls: %v", err)
	}
}

func TestTooManyStreams(t *testing.T) {
	path, _ := serve(t, apptest.NewMemory(here).Client(), Limits{Streams: 1})
	c := dial(t, path)
	ctx, cancel := context.WithCancel(t.Context())
	waited := make(chan error, 1)
	go func() {
		_, err := c.Receive(ctx, here.WithService(1))
		waited <- err
	}()
	deadline := time.Now().Add(10 * time.Second)
	for {
		attempt, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
		_, err := c.Receive(attempt, here.WithService(2))
		stop()
		if errors.Is(err, app.ErrTryAgain) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("a stream over the limit: %v, want ErrTryAgain", err)
		}
	}
	if _, err := c.Status(t.Context()); err != nil {
		t.Errorf("Status beside a full house of streams: %v", err)
	}
	cancel()
	<-waited
}

func TestShutdownEndsWaiting(t *testing.T) {
	node := apptest.NewMemory(here)
	path, stop := serve(t, node.Client(), Limits{})
	c := dial(t, path)
	id, err := c.Send(t.Context(), bundleFor(here.WithService(1), "lent"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Receive(t.Context(), here.WithService(1)); err != nil {
		t.Fatal(err)
	}
	errs := make(chan error, 2)
	go func() {
		_, err := c.Receive(t.Context(), here.WithService(2))
		errs <- err
	}()
	go func() { errs <- c.Watch(t.Context(), func(app.Event) error { return nil }) }()
	for { // both wait
		if node.Watchers() == 1 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	stop()
	for range 2 {
		if err := <-errs; !errors.Is(err, app.ErrClosed) && !errors.Is(err, app.ErrUnreachable) {
			t.Errorf("a wait ended with %v, want ErrClosed or ErrUnreachable", err)
		}
	}
	if trace, err := node.Client().Bundle(t.Context(), id); err != nil || trace.Record == nil || node.Lent(id) {
		t.Errorf("the delivery was not given back: %+v, %v", trace, err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// TestShutdownIsBounded ends the server under a send that never makes progress.
func TestShutdownIsBounded(t *testing.T) {
	path, stop := serve(t, apptest.NewMemory(here).Client(), Limits{Shutdown: 50 * time.Millisecond})
	c := dial(t, path)
	out := bundleFor(here.WithService(1), "")
	begun := make(chan struct{})
	pipe, feed := io.Pipe()
	out.Payload, out.Length = pipe, -1
	sent := make(chan error, 1)
	go func() {
		_, err := c.Send(t.Context(), out)
		sent <- err
	}()
	go func() {
		feed.Write(make([]byte, 1<<20))
		close(begun)
	}()
	<-begun
	stop()
	feed.CloseWithError(io.ErrClosedPipe)
	if err := <-sent; err == nil {
		t.Error("Send succeeded although the server was cut")
	}
}

func TestMalformedRequests(t *testing.T) {
	path, _ := serve(t, apptest.NewMemory(here).Client(), Limits{})
	c := dial(t, path)
	good := query(bundleFor(here, "")).Encode()
	tests := []struct {
		method, target string
		status         int
	}{
		{"GET", "/nothing", http.StatusBadRequest},
		{"PUT", pathStatus, http.StatusBadRequest},
		{"POST", pathSend, http.StatusBadRequest},
		{"POST", pathSend + "?" + strings.Replace(good, "to=ipn", "to=http", 1), http.StatusBadRequest},
		{"POST", pathSend + "?" + strings.Replace(good, "normal", "urgent", 1), http.StatusBadRequest},
		{"POST", pathSend + "?" + strings.Replace(good, "lifetime=0", "lifetime=-1", 1), http.StatusBadRequest},
		{"POST", pathSend + "?" + strings.Replace(good, "custody=false", "custody=maybe", 1), http.StatusBadRequest},
		{"POST", pathSend + "?" + strings.Replace(good, "reports=0", "reports=x", 1), http.StatusBadRequest},
		{"POST", pathPipe, http.StatusBadRequest},
		{"GET", pathFetch + "?token=unknown", http.StatusNotFound},
		{"GET", pathBundle + "?id=nonsense", http.StatusBadRequest},
		{"GET", pathBundles + "?after=0", http.StatusBadRequest},
		{"POST", pathAck + "?token=unknown", http.StatusNotFound},
		{"PUT", pathPlan, http.StatusBadRequest},
		{"PUT", pathPlan + "?was=1", http.StatusServiceUnavailable},
		{"GET", pathStatus + "?" + strings.Repeat("x", maxHeaderBytes+8192), http.StatusRequestHeaderFieldsTooLarge},
	}
	for _, test := range tests {
		name := test.method + " " + test.target[:min(len(test.target), 90)]
		req, err := http.NewRequestWithContext(t.Context(), test.method, "http://perigee"+test.target, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.http.Do(req)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		resp.Body.Close()
		if resp.StatusCode != test.status {
			t.Errorf("%s: status %d, want %d", name, resp.StatusCode, test.status)
		}
	}
}

func TestListen(t *testing.T) {
	path := socketPath(t)
	l, err := Listen(t.Context(), path, 0)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != DefaultMode {
		t.Errorf("permissions %v, %v, want %v", info.Mode().Perm(), err, DefaultMode)
	}
	if _, err := Listen(t.Context(), path, 0); err == nil {
		t.Error("a second daemon took the socket of a living one")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	// A socket whose daemon was killed is replaced.
	stale, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	stale.(*net.UnixListener).SetUnlinkOnClose(false)
	stale.Close()
	l, err = Listen(t.Context(), path, 0o600)
	if err != nil {
		t.Fatalf("Listen over a stale socket: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("permissions %v, %v, want 0600", info.Mode().Perm(), err)
	}
	// A listener removes only its own socket.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(t.Context(), path, 0); err == nil {
		t.Error("Listen replaced a file that is no socket")
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "data" {
		t.Errorf("the file in the place of the socket: %q, %v", data, err)
	}
	long := filepath.Join(filepath.Dir(path), strings.Repeat("x", 200))
	if _, err := Listen(t.Context(), long, 0); err == nil || !strings.Contains(err.Error(), "shorter") {
		t.Errorf("Listen at a long path: %v", err)
	}
}

func TestPayloadSourceChecksLength(t *testing.T) {
	tests := []struct {
		payload string
		length  int64
		fails   bool
	}{
		{"", 0, false},
		{"", -1, false},
		{"abc", 3, false},
		{"abc", -1, false},
		{"abc", 4, true},
		{"abc", 2, true},
		{"a", 0, true},
		{"", 1, true},
	}
	for _, test := range tests {
		for name, wrap := range map[string]func(io.Reader) io.Reader{
			"whole": func(r io.Reader) io.Reader { return r }, "bytes": iotest.OneByteReader, "dataerr": iotest.DataErrReader,
		} {
			source := &payloadSource{inner: wrap(strings.NewReader(test.payload)), length: test.length}
			got, err := io.ReadAll(source)
			if (err != nil) != test.fails || !test.fails && string(got) != test.payload {
				t.Errorf("%q as %d bytes, %s: got %q, %v", test.payload, test.length, name, got, err)
			}
			if test.fails && int64(len(got)) >= test.length && test.length > 0 {
				t.Errorf("%q as %d bytes, %s: a wrong payload was given away whole", test.payload, test.length, name)
			}
		}
	}
}
