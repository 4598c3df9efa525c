package apptest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"perigee/bundle"
	"perigee/bundle/app"
)

func unknownBundle(t *testing.T, c *checker) {
	id := bundle.ID{Source: c.endpoint(1), Created: bundle.Timestamp{Time: 12345, Sequence: 6}}
	if _, err := c.client.Bundle(c.ctx, id); !errors.Is(err, app.ErrNotFound) {
		t.Errorf("Bundle: %v, want ErrNotFound", err)
	}
	if _, err := c.client.Export(c.ctx, id); !errors.Is(err, app.ErrNotFound) {
		t.Errorf("Export: %v, want ErrNotFound", err)
	}
	if err := c.client.Remove(c.ctx, id); !errors.Is(err, app.ErrNotFound) {
		t.Errorf("Remove: %v, want ErrNotFound", err)
	}
}

func rejectedDestination(t *testing.T, c *checker) {
	_, err := c.client.Send(c.ctx, c.outgoing(bundle.EID{}, []byte("nowhere")))
	if !errors.Is(err, app.ErrRejected) {
		t.Fatalf("Send to dtn:none: %v, want ErrRejected", err)
	}
	c.empty()
}

// empty checks that the node holds no bundle.
func (c *checker) empty() {
	c.t.Helper()
	c.eventually(func() error {
		records, err := c.client.Bundles(c.ctx, 0, 10)
		if err != nil {
			c.t.Fatalf("Bundles: %v", err)
		}
		if len(records) > 0 {
			return fmt.Errorf("%d bundles are stored, the first is %s", len(records), records[0].ID)
		}
		return nil
	})
}

var errSource = errors.New("the source of the payload broke")

func payloadFails(t *testing.T, c *checker) {
	out := c.outgoing(c.endpoint(1), nil)
	out.Length = -1
	out.Payload = io.MultiReader(newStream(100_000), failing{})
	if _, err := c.client.Send(c.ctx, out); !errors.Is(err, errSource) {
		t.Fatalf("Send of a failing payload: %v, want the payload's error", err)
	}
	c.empty()
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errSource }

func payloadTooShort(t *testing.T, c *checker) {
	out := c.outgoing(c.endpoint(1), []byte("short"))
	out.Length = 6
	if id, err := c.client.Send(c.ctx, out); err == nil {
		t.Fatalf("Send of 5 bytes announced as 6 gave %s, want an error", id)
	}
	c.empty()
}

func sendEndsWithContext(t *testing.T, c *checker) {
	ctx, cancel := context.WithCancel(c.ctx)
	out := c.outgoing(c.endpoint(1), nil)
	out.Length = -1
	out.Payload = &cancelling{inner: newStream(1 << 40), after: 1 << 20, cancel: cancel}
	if _, err := c.client.Send(ctx, out); !errors.Is(err, context.Canceled) {
		t.Fatalf("Send after cancellation: %v, want context.Canceled", err)
	}
	c.empty()
}

// cancelling ends the context of its own send while it is read.
type cancelling struct {
	inner  io.Reader
	after  int64
	cancel context.CancelFunc
}

func (r *cancelling) Read(p []byte) (int, error) {
	n, err := r.inner.Read(p)
	if r.after -= int64(n); r.after <= 0 {
		r.cancel()
	}
	return n, err
}

func listAndTrace(t *testing.T, c *checker) {
	var ids []bundle.ID
	for i := range 5 {
		ids = append(ids, c.send(c.endpoint(1), bytes.Repeat([]byte("x"), i+1)))
	}
	first, err := c.client.Bundles(c.ctx, 0, 3)
	if err != nil || len(first) != 3 {
		t.Fatalf("Bundles(0, 3): %d records, %v", len(first), err)
	}
	rest, err := c.client.Bundles(c.ctx, first[2].Handle, 100)
	if err != nil || len(rest) != 2 {
		t.Fatalf("Bundles after the third: %d records, %v", len(rest), err)
	}
	for i, r := range append(first, rest...) {
		if r.ID != ids[i] || r.Destination != c.endpoint(1) || r.PayloadLen != int64(i+1) {
			t.Errorf("record %d is %s to %s with %d bytes, want %s to %s with %d",
				i, r.ID, r.Destination, r.PayloadLen, ids[i], c.endpoint(1), i+1)
		}
	}
	trace, err := c.client.Bundle(c.ctx, ids[4])
	if err != nil || trace.Record == nil {
		t.Fatalf("Bundle: %+v, %v", trace, err)
	}
	if *trace.Record != rest[1] {
		t.Errorf("Bundle gave %+v, Bundles %+v", *trace.Record, rest[1])
	}
	c.take(c.receive(c.client, c.endpoint(1)), []byte("x"))
	c.eventually(func() error {
		trace, err := c.client.Bundle(c.ctx, ids[0])
		switch {
		case errors.Is(err, app.ErrNotFound): // a node may forget a delivered bundle at once
		case err != nil:
			t.Fatalf("Bundle after delivery: %v", err)
		case trace.Record != nil:
			return errors.New("the record of a delivered bundle is still there")
		}
		return nil
	})
}

func exportAndRemove(t *testing.T, c *checker) {
	payload := []byte("the very bytes of the payload")
	id := c.send(c.endpoint(1), payload)
	content, err := c.client.Export(c.ctx, id)
	if err != nil {
		t.Fatalf("Export: %v", err)
	}
	raw, err := io.ReadAll(content)
	if err := errors.Join(err, content.Close()); err != nil {
		t.Fatalf("reading the export: %v", err)
	}
	records, err := c.client.Bundles(c.ctx, 0, 1)
	if err != nil || len(records) != 1 {
		t.Fatalf("Bundles: %d records, %v", len(records), err)
	}
	if int64(len(raw)) != records[0].Size || !bytes.Contains(raw, payload) {
		t.Errorf("exported %d bytes, want %d with the payload in them", len(raw), records[0].Size)
	}
	if err := c.client.Remove(c.ctx, id); err != nil {
		t.Fatalf("Remove: %v", err)
	}
	c.empty()
	c.nothing(c.endpoint(1))
	if _, err := c.client.Export(c.ctx, id); !errors.Is(err, app.ErrNotFound) {
		t.Errorf("Export after Remove: %v, want ErrNotFound", err)
	}
}

// watch starts a watch and waits until it is in force.
func (c *checker) watch() (events <-chan app.Event, stop func() error) {
	ctx, cancel := context.WithCancel(c.ctx)
	out := make(chan app.Event, 4096)
	done := make(chan error, 1)
	go func() {
		done <- c.client.Watch(ctx, func(e app.Event) error {
			out <- e
			return nil
		})
	}()
	// Only events from now on are seen, so bundles are sent until one is.
	c.eventually(func() error {
		c.send(c.endpoint(77), []byte("ping"))
		if len(out) == 0 {
			return errors.New("no event was seen")
		}
		return nil
	})
	return out, func() error { cancel(); return <-done }
}

func watchSeesEvents(t *testing.T, c *checker) {
	events, stop := c.watch()
	id := c.send(c.endpoint(1), []byte("seen"))
	c.take(c.receive(c.client, c.endpoint(1)), []byte("seen"))
	kinds := map[app.EventKind]bool{}
	for !kinds[app.EventDelivered] {
		select {
		case e := <-events:
			if e.Bundle != nil && *e.Bundle == id {
				kinds[e.Kind] = true
			}
		case <-c.ctx.Done():
			t.Fatalf("no event says that %s was delivered; seen of it: %v", id, kinds)
		}
	}
	if !kinds[app.EventReceived] {
		t.Errorf("no event says that %s was received; seen of it: %v", id, kinds)
	}
	if err := stop(); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("Watch after cancellation: %v", err)
	}
}

func watchReturnsErrorOfSee(t *testing.T, c *checker) {
	enough := errors.New("seen enough")
	done := make(chan error, 1)
	go func() { done <- c.client.Watch(c.ctx, func(app.Event) error { return enough }) }()
	c.eventually(func() error {
		c.send(c.endpoint(77), []byte("ping"))
		select {
		case err := <-done:
			if !errors.Is(err, enough) {
				t.Fatalf("Watch: %v, want the error of see", err)
			}
			return nil
		default:
			return errors.New("Watch has not returned")
		}
	})
}

func status(t *testing.T, c *checker) {
	before, err := c.client.Status(c.ctx)
	if err != nil {
		t.Fatalf("Status: %v", err)
	}
	if before.Node != c.Node {
		t.Errorf("Node is %s, want %s", before.Node, c.Node)
	}
	if before.Now == 0 || before.Started == 0 || before.Started > before.Now {
		t.Errorf("Started %s, Now %s", before.Started, before.Now)
	}
	c.send(c.endpoint(1), []byte("counted"))
	after, err := c.client.Status(c.ctx)
	if err != nil {
		t.Fatalf("Status: %v", err)
	}
	if got := after.Store.Bundles - before.Store.Bundles; got != 1 {
		t.Errorf("the store has %d bundles more, want 1", got)
	}
	if got := after.Counters.BundlesCreated - before.Counters.BundlesCreated; got != 1 {
		t.Errorf("%d bundles were created, want 1", got)
	}
}

func verify(t *testing.T, c *checker) {
	c.send(c.endpoint(1), []byte("sound"))
	report, err := c.client.Verify(c.ctx)
	if err != nil {
		t.Fatalf("Verify: %v", err)
	}
	if report.Records < 1 || len(report.Corrupt) != 0 {
		t.Errorf("Verify: %+v, want one sound record", report)
	}
}
