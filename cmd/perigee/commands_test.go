package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/app/apphttp"
	"perigee/bundle/app/apptest"
)

// memoryNode is a node in memory behind a socket.
type memoryNode struct {
	*apptest.Memory
	t      *testing.T
	socket string
}

func startMemory(t *testing.T) *memoryNode {
	t.Helper()
	dir, err := os.MkdirTemp("", "perigee")
	if err != nil {
		t.Fatal(err)
	}
	n := &memoryNode{apptest.NewMemory(bundle.IPN(2, 0)), t, filepath.Join(dir, "s")}
	l, err := apphttp.Listen(t.Context(), n.socket, 0)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	server := apphttp.NewServer(n.Client(), slog.New(slog.DiscardHandler))
	go func() { done <- server.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	return n
}

// perigee runs a command line and returns its exit code and output.
func (n *memoryNode) perigee(in string, args ...string) (code int, out, errs string) {
	n.t.Helper()
	e, stdout, stderr := testEnv(in)
	code = run(n.t.Context(), append([]string{"--socket", n.socket}, args...), e)
	return code, stdout.String(), stderr.String()
}

// want runs a command line that must exit with code and print what the pattern
// matches, on either stream.
func (n *memoryNode) want(code int, pattern, in string, args ...string) string {
	n.t.Helper()
	got, out, errs := n.perigee(in, args...)
	if got != code {
		n.t.Fatalf("perigee %v: exit %d, want %d; %s", args, got, code, errs)
	}
	if !regexp.MustCompile(pattern).MatchString(out + errs) {
		n.t.Fatalf("perigee %v printed %q and %q, want %q", args, out, errs, pattern)
	}
	return strings.TrimSpace(out)
}

func TestSendLookReceive(t *testing.T) {
	n := startMemory(t)
	id := n.want(0, `^ipn:2\.9@\d+\.\d+\n$`, "hello\n", "send", "--to", "ipn:2.42", "--from", "ipn:2.9", "--custody", "--priority", "bulk", "-")
	n.want(0, `ipn:2\.9@\S+ +ipn:2\.42 +6 B +deliver +bulk +yes`, "", "bundle", "ls")
	n.want(0, `payload +6 bytes(.|\n)*custody +this node`, "", "bundle", "show", id)
	n.want(0, `^HEADhello\n$`, "", "bundle", "export", id)
	n.want(0, `^hello\n$`, "", "recv", "--endpoint", "ipn:2.42")
	n.want(0, `state +delivered`, "", "trace", id)
	n.want(0, `"state": "delivered"`, "", "trace", "-o", "json", id)
	n.want(exitTryAgain, `0 bundles came for ipn:2.42 within 50ms`, "", "recv", "--endpoint", "ipn:2.42", "--timeout", "50ms")
}

func TestReceiveIntoFolder(t *testing.T) {
	n := startMemory(t)
	dir := filepath.Join(t.TempDir(), "got")
	for _, text := range []string{"one", "two"} {
		n.want(0, "ipn", text, "send", "--to", "ipn:2.42", "--from", "ipn:2.9", "-")
	}
	out := n.want(0, `"payload_bytes":3`, "", "recv", "--endpoint", "ipn:2.42", "--count", "2", "--out", dir, "-o", "json")
	var all string
	lines := json.NewDecoder(strings.NewReader(out))
	for range 2 {
		var line struct{ File, ID string }
		if err := lines.Decode(&line); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(line.File)
		if err != nil {
			t.Fatal(err)
		}
		all += string(text)
	}
	if all != "onetwo" {
		t.Errorf("payloads %q", all)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 2 {
		t.Errorf("%d files, %v, want 2 and nothing temporary", len(files), err)
	}
}

// TestFailedReceiveGivesBack: what could not be written is not acknowledged.
func TestFailedReceiveGivesBack(t *testing.T) {
	n := startMemory(t)
	id := n.want(0, "ipn", "precious", "send", "--to", "ipn:2.42", "-")
	e, _, _ := testEnv("")
	e.out = brokenWriter{}
	if code := run(t.Context(), []string{"--socket", n.socket, "recv", "--endpoint", "ipn:2.42"}, e); code != exitFailed {
		t.Fatalf("exit %d, want %d", code, exitFailed)
	}
	n.want(0, "precious", "", "recv", "--endpoint", "ipn:2.42", "--timeout", "10s")
	n.want(0, "delivered", "", "trace", id)
}

func TestListRemove(t *testing.T) {
	n := startMemory(t)
	n.want(0, `^\[\]\n$`, "", "bundle", "ls", "-o", "json")
	var ids []string
	for range 5 {
		ids = append(ids, n.want(0, "ipn", "x", "send", "--to", "ipn:2.42", "-"))
	}
	if out := n.want(0, "ipn", "", "bundle", "ls", "--limit", "3"); strings.Count(out, "\n") != 3 {
		t.Errorf("bundle ls --limit 3 printed\n%s", out)
	}
	n.want(0, "removed", "", "bundle", "rm", ids[0], ids[1])
	n.want(exitFailed, "not found", "", "bundle", "rm", ids[0], ids[2])
	if out := n.want(0, "ipn", "", "bundle", "ls", "--limit", "0"); strings.Count(out, "\n") != 2 {
		t.Errorf("bundle ls printed\n%s", out)
	}
	n.want(exitFailed, "not found", "", "bundle", "show", "ipn:2.1@1.1")
	n.want(exitFailed, "not found", "", "bundle", "export", "ipn:2.1@1.1")
	n.want(0, `"reason": "removed"`, "", "bundle", "show", "-o", "json", ids[0])
}

func TestFullStoreIsTryAgain(t *testing.T) {
	n := startMemory(t)
	n.Quota = 10
	n.want(exitTryAgain, "try again later", strings.Repeat("x", 100), "send", "--to", "ipn:2.42", "-")
	n.want(exitTryAgain, `"code":75`, strings.Repeat("x", 100), "send", "--to", "ipn:2.42", "-o", "json", "-")
}

func TestStatusCommands(t *testing.T) {
	n := startMemory(t)
	n.want(0, `node +ipn:2\.0(.|\n)*LINKS(.|\n)*CONTACTS`, "", "status")
	n.want(0, `"node": "ipn:2.0"`, "", "status", "-o", "json")
	n.want(0, "BUNDLE +NEXT", "", "custody", "ls")
	n.want(0, `"held": 0`, "", "custody", "ls", "-o", "json")
	n.want(0, "PEER +LAYER", "", "link", "ls")
	n.want(0, `^\[\]\n$`, "", "link", "ls", "-o", "json")
	n.want(0, "FROM +TO", "", "contact", "ls")
	n.want(0, `^\[\]\n$`, "", "contact", "ls", "-o", "json")
	n.want(0, "bundles +0", "", "store", "stats")
	n.want(0, `"bundles": 0`, "", "store", "stats", "-o", "json")
	n.want(0, `corrupt +0`, "", "store", "verify")
	n.want(0, `"corrupt": \[\]`, "", "store", "verify", "-o", "json")
}

// echo sends back what comes to the node's echo service, count times.
func echo(ctx context.Context, n *memoryNode, count int) error {
	client := n.Client()
	defer client.Close()
	for range count {
		d, err := client.Receive(ctx, bundle.IPN(2, serviceEcho))
		if err != nil {
			return err
		}
		_, err = client.Send(ctx, app.Outgoing{To: d.Source, From: d.Destination, Payload: d.Payload, Length: d.Size})
		if err := errors.Join(err, d.Payload.Close(), d.Ack(ctx)); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
	}
	return nil
}

func TestPing(t *testing.T) {
	n := startMemory(t)
	done := make(chan error, 1)
	go func() { done <- echo(t.Context(), n, 5) }()
	n.want(0, `reply from ipn:2.7: number 1, [\d.]+ ms\n(.|\n)*3 sent, 3 replies`, "", "ping", "ipn:2.0", "-c", "3", "--interval", "1ms")
	out := n.want(0, `"received": 2`, "", "ping", "ipn:2.7", "-c", "2", "--interval", "1ms", "-o", "json")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	var view pingView
	if err := json.Unmarshal([]byte(out), &view); err != nil {
		t.Fatal(err)
	}
	if view.Sent != 2 || len(view.Replies) != 2 || view.Min > view.Mean || view.Mean > view.Max || view.From.Node() != bundle.IPN(2, 0) {
		t.Errorf("outcome %+v", view)
	}
	// Nobody answers any more.
	n.want(exitFailed, "no reply within 50ms", "", "ping", "ipn:2.0", "-c", "1", "--timeout", "50ms")
}
