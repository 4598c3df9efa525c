package apphttp

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/app/apptest"
)

// sampleFrames are bodies of a send and of a delivery.
func sampleFrames() (app.Outgoing, []byte, app.Delivery, []byte) {
	out := app.Outgoing{
		To: bundle.IPN(2, 11), From: bundle.DTN("sat-17", "agent"), Reports: bundle.FlagReportDelivered,
		Custody: true, Lifetime: 1 << 40, Priority: bundle.PriorityExpedited, Value: 1 << 40, Critical: true, Compressed: bundle.ReportingCustodyRefused,
	}
	d := app.Delivery{
		ID:     bundle.ID{Source: bundle.IPN(1, 7), Created: bundle.Timestamp{Time: 833587200000, Sequence: 9}},
		Source: bundle.IPN(1, 7), Destination: bundle.IPN(2, 11), Received: 833587200500, Size: 5,
	}
	return out, append(appendOutgoing(nil, &out), "hello"...), d, append(appendDelivery(nil, &d, ""), "hello"...)
}

func TestFrameBodies(t *testing.T) {
	out, send, d, delivery := sampleFrames()
	in := body{rest: send}
	got := readOutgoing(&in)
	if diff := cmp.Diff(out, got, cmp.Comparer(func(a, b bundle.EID) bool { return a == b })); diff != "" || in.err != nil || string(in.rest) != "hello" {
		t.Errorf("read %v, payload %q (-want +got):\n%s", in.err, in.rest, diff)
	}
	in = body{rest: delivery}
	back, token := readDelivery(&in)
	equal := cmp.Comparer(func(a, b bundle.EID) bool { return a == b })
	if diff := cmp.Diff(&d, back, equal, cmpopts.IgnoreFields(app.Delivery{}, "Ack", "Release")); diff != "" || in.err != nil || token != "" {
		t.Errorf("read %v, token %q (-want +got):\n%s", in.err, token, diff)
	}
	// Every truncation of the head is noticed.
	for n := range len(send) - len("hello") {
		in := body{rest: send[:n]}
		if readOutgoing(&in); !errors.Is(in.err, errMalformed) {
			t.Errorf("first %d bytes of a send: %v", n, in.err)
		}
	}
	for n := range delivery {
		in := body{rest: delivery[:n]}
		if readDelivery(&in); !errors.Is(in.err, errMalformed) {
			t.Errorf("first %d bytes of a delivery: %v", n, in.err)
		}
	}
}

func FuzzFrameBodies(f *testing.F) {
	_, send, _, delivery := sampleFrames()
	f.Add(send)
	f.Add(delivery)
	f.Fuzz(func(t *testing.T, raw []byte) {
		in := body{rest: raw}
		if out := readOutgoing(&in); in.err == nil {
			again := body{rest: appendOutgoing(nil, &out)}
			if got := readOutgoing(&again); again.err != nil || got != out {
				t.Errorf("%+v becomes %+v, %v", out, got, again.err)
			}
		}
		in = body{rest: raw}
		if d, token := readDelivery(&in); in.err == nil {
			again := body{rest: append(appendDelivery(nil, d, token), in.rest...)}
			if got, _ := readDelivery(&again); again.err != nil || got.ID != d.ID || got.Size != d.Size {
				t.Errorf("%+v becomes %+v, %v", d, got, again.err)
			}
		}
		if fr, err := readFrame(bytes.NewReader(raw)); err == nil && len(fr.body) != len(raw)-frameHead && len(fr.body) > len(raw) {
			t.Errorf("frame of %d bytes out of %d", len(fr.body), len(raw))
		}
	})
}

// TestFramesArriveInOrder writes frames from one side of a connection to the other.
func TestFramesArriveInOrder(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	w := newFrameWriter(near, 0)
	written := make(chan struct{})
	go func() { defer close(written); w.run(); near.Close() }()
	const frames = 100
	sent := make(chan error, 1)
	go func() {
		for i := range uint64(frames) {
			err := w.write(frameDone, i, func(dst []byte) []byte { return append(dst, strings.Repeat("x", int(i))...) })
			if err != nil {
				sent <- err
				return
			}
		}
		w.close()
		sent <- nil
	}()
	for i := range uint64(frames) {
		f, err := readFrame(far)
		if err != nil || f.kind != frameDone || f.number != i || len(f.body) != int(i) {
			t.Fatalf("frame %d: %+v, %v", i, f, err)
		}
	}
	if _, err := readFrame(far); !errors.Is(err, io.EOF) {
		t.Errorf("after the last frame: %v", err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	<-written
	// A frame that is too long is refused, and one on a dead connection too.
	w = newFrameWriter(near, 0)
	if err := w.write(frameDone, 1, func(dst []byte) []byte { return append(dst, make([]byte, maxFrame)...) }); !errors.Is(err, errMalformed) {
		t.Errorf("a frame that is too long: %v", err)
	}
	if err := w.write(frameDone, 1, nil); err != nil {
		t.Error(err)
	}
	w.run()
	if err := w.write(frameDone, 2, nil); err == nil {
		t.Error("wrote to a closed connection")
	}
}

// TestPipeOpensAgain cuts the pipe of a client, which opens another. What it held
// was given back.
func TestPipeOpensAgain(t *testing.T) {
	node := apptest.NewMemory(here)
	path, _ := serve(t, node.Client(), Limits{})
	c := dial(t, path)
	id, err := c.Send(t.Context(), bundleFor(here.WithService(1), "held"))
	if err != nil {
		t.Fatal(err)
	}
	held, err := c.Receive(t.Context(), here.WithService(1))
	if err != nil {
		t.Fatal(err)
	}
	c.pipe.conn.Close()
	<-c.pipe.gone
	if err := held.Ack(t.Context()); !errors.Is(err, app.ErrUnreachable) {
		t.Errorf("Ack over a pipe that was cut: %v", err)
	}
	again, err := c.Receive(t.Context(), here.WithService(1))
	if err != nil || again.ID != id {
		t.Fatalf("second delivery: %+v, %v", again, err)
	}
	if err := again.Ack(t.Context()); err != nil {
		t.Error(err)
	}
	if err := again.Ack(t.Context()); !errors.Is(err, app.ErrNotFound) {
		t.Errorf("second Ack: %v", err)
	}
}
