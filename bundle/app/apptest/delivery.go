package apptest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"testing"

	"golang.org/x/sync/errgroup"

	"perigee/bundle/app"
)

func sendReceiveAck(t *testing.T, c *checker) {
	to := c.endpoint(1)
	payload := []byte("hello, perigee")
	id := c.send(to, payload)
	if id.Source != c.endpoint(999) {
		t.Errorf("Send gave source %s, want %s", id.Source, c.endpoint(999))
	}
	d := c.receive(c.client, to)
	if d.ID != id {
		t.Errorf("delivered bundle is %s, want %s", d.ID, id)
	}
	if d.Source != c.endpoint(999) || d.Destination != to {
		t.Errorf("delivered from %s to %s, want from %s to %s", d.Source, d.Destination, c.endpoint(999), to)
	}
	if d.Received == 0 {
		t.Error("Received is unknown")
	}
	c.take(d, payload)
	c.nothing(to)
}

func emptyPayload(t *testing.T, c *checker) {
	c.send(c.endpoint(1), nil)
	c.take(c.receive(c.client, c.endpoint(1)), nil)
}

func receiveWaits(t *testing.T, c *checker) {
	to := c.endpoint(1)
	var group errgroup.Group
	group.Go(func() error {
		d, err := c.client.Receive(c.ctx, to)
		if err != nil {
			return fmt.Errorf("Receive: %w", err)
		}
		got, err := io.ReadAll(d.Payload)
		if err != nil || string(got) != "come" {
			return fmt.Errorf("payload %q, %w", got, err)
		}
		return errors.Join(d.Payload.Close(), d.Ack(c.ctx))
	})
	c.send(to, []byte("come"))
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

func receiveEndsWithContext(t *testing.T, c *checker) {
	ctx, cancel := context.WithCancel(c.ctx)
	done := make(chan error, 1)
	go func() {
		_, err := c.client.Receive(ctx, c.endpoint(1))
		done <- err
	}()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatalf("Receive after cancellation: %v, want context.Canceled", err)
	}
	// The wait that was given up must not swallow a bundle.
	c.send(c.endpoint(1), []byte("after"))
	c.take(c.receive(c.client, c.endpoint(1)), []byte("after"))
}

func releaseDeliversAgain(t *testing.T, c *checker) {
	to := c.endpoint(1)
	id := c.send(to, []byte("again"))
	first := c.receive(c.client, to)
	c.read(first, []byte("again"))
	c.nothing(to) // one delivery at a time
	if err := first.Release(c.ctx); err != nil {
		t.Fatalf("Release: %v", err)
	}
	second := c.receive(c.client, to)
	if second.ID != id {
		t.Errorf("delivered again: %s, want %s", second.ID, id)
	}
	c.take(second, []byte("again"))
	c.nothing(to)
}

func closedClientGivesBack(t *testing.T, c *checker) {
	to := c.endpoint(1)
	c.send(to, []byte("kept"))
	other := c.Dial()
	c.read(c.receive(other, to), []byte("kept"))
	if err := other.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	c.take(c.receive(c.client, to), []byte("kept"))
}

func partlyReadIsGivenBack(t *testing.T, c *checker) {
	to := c.endpoint(1)
	payload := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // 1 MiB, more than any buffer on the way
	c.send(to, payload)
	d := c.receive(c.client, to)
	if _, err := io.ReadFull(d.Payload, make([]byte, 10)); err != nil {
		t.Fatalf("reading 10 bytes: %v", err)
	}
	if err := d.Payload.Close(); err != nil {
		t.Fatalf("closing the payload: %v", err)
	}
	if err := d.Release(c.ctx); err != nil {
		t.Fatalf("Release: %v", err)
	}
	again := c.receive(c.client, to)
	if err := again.Payload.Close(); err != nil {
		t.Fatalf("closing the payload: %v", err)
	}
	if err := again.Ack(c.ctx); err != nil {
		t.Fatalf("Ack of an unread payload: %v", err)
	}
	c.nothing(to)
}

func endpointsAreSeparate(t *testing.T, c *checker) {
	c.send(c.endpoint(1), []byte("one"))
	c.send(c.endpoint(2), []byte("two"))
	c.take(c.receive(c.client, c.endpoint(2)), []byte("two"))
	c.nothing(c.endpoint(2))
	c.take(c.receive(c.client, c.endpoint(1)), []byte("one"))
}

func large(t *testing.T, c *checker, known bool) {
	payload := newStream(c.LargeBytes)
	out := c.outgoing(c.endpoint(1), nil)
	out.Payload, out.Length = payload, -1
	if known {
		out.Length = c.LargeBytes
	}
	if _, err := c.client.Send(c.ctx, out); err != nil {
		t.Fatalf("Send of %d bytes: %v", c.LargeBytes, err)
	}
	d := c.receive(c.client, c.endpoint(1))
	if d.Size != c.LargeBytes {
		t.Errorf("Size is %d, want %d", d.Size, c.LargeBytes)
	}
	sum := sha256.New()
	n, err := io.Copy(sum, d.Payload)
	if err != nil || n != c.LargeBytes {
		t.Fatalf("read %d bytes of %d: %v", n, c.LargeBytes, err)
	}
	if !bytes.Equal(sum.Sum(nil), payload.sum.Sum(nil)) {
		t.Error("the payload was changed on the way")
	}
	if err := errors.Join(d.Payload.Close(), d.Ack(c.ctx)); err != nil {
		t.Fatal(err)
	}
}

func concurrent(t *testing.T, c *checker) {
	const senders, each = 6, 8
	group, ctx := errgroup.WithContext(c.ctx)
	for s := range senders {
		group.Go(func() error {
			for i := range each {
				_, err := c.client.Send(ctx, c.outgoing(c.endpoint(1), fmt.Appendf(nil, "%d.%d", s, i)))
				if err != nil {
					return fmt.Errorf("Send: %w", err)
				}
			}
			return nil
		})
	}
	got := make(chan string, senders*each)
	for range 3 {
		client := c.dial()
		group.Go(func() error {
			for range senders * each / 3 {
				text, err := takeText(ctx, c, client)
				if err != nil {
					return err
				}
				got <- text
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	close(got)
	seen := map[string]bool{}
	for text := range got {
		if seen[text] {
			t.Errorf("payload %q was delivered twice", text)
		}
		seen[text] = true
	}
	if len(seen) != senders*each {
		t.Errorf("got %d payloads, want %d", len(seen), senders*each)
	}
}

func takeText(ctx context.Context, c *checker, client app.Client) (string, error) {
	d, err := client.Receive(ctx, c.endpoint(1))
	if err != nil {
		return "", fmt.Errorf("Receive: %w", err)
	}
	text, err := io.ReadAll(d.Payload)
	return string(text), errors.Join(err, d.Payload.Close(), d.Ack(ctx))
}
