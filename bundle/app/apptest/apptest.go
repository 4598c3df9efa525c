// Package apptest is the suite that every implementation of app.Client passes,
// in the process and over a socket.
package apptest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"perigee/bundle"
	"perigee/bundle/app"
)

// Subject is a running node that is tested through its clients.
type Subject struct {
	// Node is the node ID of the node.
	Node bundle.EID
	// Peer is a node that it has a link with, which never comes up.
	Peer bundle.EID
	// Dial returns another client of the node. The suite closes it.
	Dial func() app.Client
	// LargeBytes is the size of the large payload. Default 32 MiB.
	LargeBytes int64
}

// patience is how long something that must happen may take.
const patience = 20 * time.Second

// moment is how long the suite watches for something that must not happen.
const moment = 150 * time.Millisecond

// Run runs the suite. Each test opens a fresh node, which open must take down by
// t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) Subject) {
	tests := []struct {
		name string
		run  func(t *testing.T, c *checker)
	}{
		{"SendReceiveAck", sendReceiveAck},
		{"EmptyPayload", emptyPayload},
		{"ReceiveWaits", receiveWaits},
		{"ReceiveEndsWithContext", receiveEndsWithContext},
		{"ReleaseDeliversAgain", releaseDeliversAgain},
		{"ClosedClientGivesBack", closedClientGivesBack},
		{"PartlyReadIsGivenBack", partlyReadIsGivenBack},
		{"EndpointsAreSeparate", endpointsAreSeparate},
		{"RegistrationsGetCopies", registrationsGetCopies},
		{"RegistrationGetsItsCopyBack", registrationGetsItsCopyBack},
		{"RegistrationsLast", registrationsLast},
		{"RegistrationsAreChecked", registrationsAreChecked},
		{"UnknownBundle", unknownBundle},
		{"RejectedDestination", rejectedDestination},
		{"PayloadFails", payloadFails},
		{"PayloadTooShort", payloadTooShort},
		{"SendEndsWithContext", sendEndsWithContext},
		{"ListAndTrace", listAndTrace},
		{"ExportAndRemove", exportAndRemove},
		{"WatchSeesEvents", watchSeesEvents},
		{"WatchReturnsErrorOfSee", watchReturnsErrorOfSee},
		{"Status", status},
		{"Verify", verify},
		{"Plan", plan},
		{"ExplainRoute", explainRoute},
		{"HoldLink", holdLink},
		{"WatchLinks", watchLinks},
		{"LargeKnownLength", func(t *testing.T, c *checker) { large(t, c, true) }},
		{"LargeUnknownLength", func(t *testing.T, c *checker) { large(t, c, false) }},
		{"Concurrent", concurrent},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			subject := open(t)
			if subject.LargeBytes == 0 {
				subject.LargeBytes = 32 << 20
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			t.Cleanup(cancel)
			c := &checker{t: t, ctx: ctx, Subject: subject}
			c.client = c.dial()
			test.run(t, c)
		})
	}
}

// checker holds what every test needs.
type checker struct {
	Subject
	t      *testing.T
	ctx    context.Context
	client app.Client
}

func (c *checker) dial() app.Client {
	client := c.Dial()
	c.t.Cleanup(func() {
		if err := client.Close(); err != nil {
			c.t.Errorf("closing a client: %v", err)
		}
	})
	return client
}

// endpoint is a local endpoint of the node that no service of its own uses.
func (c *checker) endpoint(n uint64) bundle.EID { return c.Node.WithService(4000 + n) }

// outgoing is a bundle from the node to itself.
func (c *checker) outgoing(to bundle.EID, payload []byte) app.Outgoing {
	return app.Outgoing{
		To: to, From: c.endpoint(999), Priority: bundle.PriorityNormal,
		Payload: bytes.NewReader(payload), Length: int64(len(payload)),
	}
}

func (c *checker) send(to bundle.EID, payload []byte) bundle.ID {
	c.t.Helper()
	id, err := c.client.Send(c.ctx, c.outgoing(to, payload))
	if err != nil {
		c.t.Fatalf("Send to %s: %v", to, err)
	}
	return id
}

func (c *checker) receive(client app.Client, endpoint bundle.EID) *app.Delivery {
	c.t.Helper()
	d, err := client.Receive(c.ctx, endpoint)
	if err != nil {
		c.t.Fatalf("Receive at %s: %v", endpoint, err)
	}
	return d
}

// take reads a delivery to its end, compares its payload and acknowledges it.
func (c *checker) take(d *app.Delivery, want []byte) {
	c.t.Helper()
	c.read(d, want)
	if err := d.Ack(c.ctx); err != nil {
		c.t.Fatalf("Ack of %s: %v", d.ID, err)
	}
}

func (c *checker) read(d *app.Delivery, want []byte) {
	c.t.Helper()
	got, err := io.ReadAll(d.Payload)
	if err != nil {
		c.t.Fatalf("reading the payload of %s: %v", d.ID, err)
	}
	if err := d.Payload.Close(); err != nil {
		c.t.Fatalf("closing the payload of %s: %v", d.ID, err)
	}
	if !bytes.Equal(got, want) {
		c.t.Fatalf("payload of %s: got %d bytes %.40q, want %d bytes %.40q", d.ID, len(got), got, len(want), want)
	}
	if d.Size != int64(len(want)) {
		c.t.Fatalf("Size of %s is %d, want %d", d.ID, d.Size, len(want))
	}
}

// nothing checks that nothing is delivered at the endpoint.
func (c *checker) nothing(endpoint bundle.EID) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, moment)
	defer cancel()
	d, err := c.client.Receive(ctx, endpoint)
	if err == nil {
		c.t.Fatalf("Receive at %s gave bundle %s, want nothing", endpoint, d.ID)
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		c.t.Fatalf("Receive at %s: %v, want the context's error", endpoint, err)
	}
}

// eventually waits until check returns nil.
func (c *checker) eventually(check func() error) {
	c.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-c.ctx.Done():
			c.t.Fatalf("still after %v: %v", patience, err)
		}
	}
}

// stream is a payload of pseudo-random bytes that is never held whole.
type stream struct {
	source *rand.ChaCha8
	left   int64
	sum    hash.Hash
}

func newStream(size int64) *stream {
	return &stream{source: rand.NewChaCha8([32]byte{1}), left: size, sum: sha256.New()}
}

func (s *stream) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), s.left))
	s.left -= int64(n)
	if _, err := s.source.Read(p[:n]); err != nil {
		return 0, fmt.Errorf("drawing random bytes: %w", err)
	}
	s.sum.Write(p[:n])
	return n, nil
}
