// Package agenttest helps to test the applications without a node: a mission of
// nodes in memory, a fuse that stops an application between any two durable
// steps, and a network and pictures small enough for thousands of runs.
package agenttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/dtntime"
)

// ErrCut is what every step fails with once a Fuse has blown.
var ErrCut = errors.New("process was cut off")

// Fuse lets so many steps pass and then none, as if the process had been killed.
type Fuse struct {
	mu    sync.Mutex // guards what follows
	left  int
	steps int
	cut   string
}

// NewFuse returns a fuse that blows after so many steps, or never if negative.
func NewFuse(steps int) *Fuse { return &Fuse{left: steps} }

// Step passes or fails with ErrCut. It is a durable.Step.
func (f *Fuse) Step(op, what string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cut == "" && f.left == 0 {
		f.cut = op + " " + what
	}
	if f.cut != "" {
		return fmt.Errorf("%w before: %s", ErrCut, f.cut)
	}
	f.left--
	f.steps++
	return nil
}

// Blow makes every step from now on fail.
func (f *Fuse) Blow() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cut == "" {
		f.cut = "anything else"
	}
}

// Blown tells whether the fuse has blown, and before which step.
func (f *Fuse) Blown() (string, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cut, f.cut != ""
}

// Steps returns how many steps passed.
func (f *Fuse) Steps() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.steps
}

// Sent is a bundle of a mission.
type Sent struct {
	ID      bundle.ID
	Out     app.Outgoing // without its payload
	Payload []byte
}

type waiting struct {
	Sent
	holder *Client // that was given it and has not acknowledged it
}

// Mission is a set of nodes that hand each other bundles at once and in order. It
// keeps what was sent and not acknowledged whatever happens to the applications.
type Mission struct {
	Clock *Clock

	mu     sync.Mutex // guards what follows
	queue  map[bundle.EID][]*waiting
	log    []Sent
	seq    uint64
	change chan struct{} // closed and replaced whenever anything changes
	full   int           // how many times Send is to fail with ErrTryAgain
}

// NewMission returns a mission without bundles.
func NewMission() *Mission {
	return &Mission{Clock: NewClock(), queue: map[bundle.EID][]*waiting{}, change: make(chan struct{})}
}

// Refuse makes the next n calls of Send fail with app.ErrTryAgain.
func (m *Mission) Refuse(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.full = n
}

// changed wakes everyone who waits. m.mu is held.
func (m *Mission) changed() {
	close(m.change)
	m.change = make(chan struct{})
}

// Inject sends a bundle from an endpoint, as the node there would.
func (m *Mission) Inject(from, to bundle.EID, payload []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.enqueue(app.Outgoing{From: from, To: to}, payload)
}

func (m *Mission) enqueue(out app.Outgoing, payload []byte) bundle.ID {
	m.seq++
	out.Payload = nil
	s := Sent{Out: out, Payload: payload, ID: bundle.ID{
		Source: out.From, Created: bundle.Timestamp{Time: m.Clock.Now(), Sequence: m.seq},
	}}
	m.queue[out.To] = append(m.queue[out.To], &waiting{Sent: s})
	m.log = append(m.log, s)
	m.changed()
	return s.ID
}

// SentTo returns every bundle that was ever sent to an endpoint.
func (m *Mission) SentTo(to bundle.EID) []Sent {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Sent
	for _, s := range m.log {
		if s.Out.To == to {
			out = append(out, s)
		}
	}
	return out
}

// Queued returns how many bundles for an endpoint are not acknowledged.
func (m *Mission) Queued(to bundle.EID) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.queue[to])
}

// Wait waits until done returns true, looking whenever a bundle is sent or
// acknowledged and every few milliseconds.
func (m *Mission) Wait(ctx context.Context, done func() bool) error {
	look := time.NewTicker(3 * time.Millisecond)
	defer look.Stop()
	for {
		m.mu.Lock()
		change := m.change
		m.mu.Unlock()
		if done() {
			return nil
		}
		select {
		case <-change:
		case <-look.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// maxDrive is how long Drive lets an application run.
const maxDrive = 20 * time.Second

// Drive lets an application run until done, or until its fuse blows, and stops
// it. The error says that it did not get there, or how it ended: from a blown
// fuse it may end with ErrCut.
func (m *Mission) Drive(ctx context.Context, fuse *Fuse, run func(context.Context) error, done func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, maxDrive)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx)
		cancel()
	}()
	waited := m.Wait(ctx, done)
	cancel()
	err := <-ended
	if _, blown := fuse.Blown(); blown && (err == nil || errors.Is(err, ErrCut)) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("application ended: %w", err)
	}
	if waited != nil {
		return fmt.Errorf("application did not get there: %w", waited)
	}
	return nil
}

// Client is the application interface of one node for one run of an application.
// The methods that the applications do not use are not there.
type Client struct {
	app.Client
	mission *Mission
	node    bundle.EID
	fuse    *Fuse
}

// Open returns a client of a node whose steps the fuse counts.
func (m *Mission) Open(node bundle.EID, fuse *Fuse) *Client {
	return &Client{mission: m, node: node.Node(), fuse: fuse}
}

// Close gives back what was delivered and not acknowledged.
func (c *Client) Close() error {
	c.mission.mu.Lock()
	defer c.mission.mu.Unlock()
	for _, queue := range c.mission.queue {
		for _, w := range queue {
			if w.holder == c {
				w.holder = nil
			}
		}
	}
	c.mission.changed()
	return nil
}

// Status implements app.Client.
func (c *Client) Status(context.Context) (app.Status, error) {
	return app.Status{Node: c.node, Now: c.mission.Clock.Now()}, nil
}

// Send implements app.Client. It is two steps: before the bundle is durable and
// behind it.
func (c *Client) Send(ctx context.Context, out app.Outgoing) (bundle.ID, error) {
	if err := ctx.Err(); err != nil {
		return bundle.ID{}, err
	}
	payload, err := io.ReadAll(out.Payload)
	if err != nil {
		return bundle.ID{}, err
	}
	if out.Length >= 0 && out.Length != int64(len(payload)) {
		return bundle.ID{}, fmt.Errorf("%w: payload of %d bytes, announced were %d", app.ErrRejected, len(payload), out.Length)
	}
	if err := c.fuse.Step("send", out.To.String()); err != nil {
		return bundle.ID{}, err
	}
	c.mission.mu.Lock()
	if c.mission.full > 0 {
		c.mission.full--
		c.mission.mu.Unlock()
		return bundle.ID{}, app.ErrTryAgain
	}
	if out.From.IsNull() {
		out.From = c.node
	}
	id := c.mission.enqueue(out, payload)
	c.mission.mu.Unlock()
	return id, c.fuse.Step("sent", out.To.String())
}

// Receive implements app.Client.
func (c *Client) Receive(ctx context.Context, endpoint bundle.EID) (*app.Delivery, error) {
	for {
		c.mission.mu.Lock()
		change := c.mission.change
		var next *waiting
		for _, w := range c.mission.queue[endpoint] {
			if w.holder == nil {
				next = w
				w.holder = c
				break
			}
		}
		c.mission.mu.Unlock()
		if next != nil {
			return c.delivery(endpoint, next), nil
		}
		select {
		case <-change:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (c *Client) delivery(endpoint bundle.EID, w *waiting) *app.Delivery {
	return &app.Delivery{
		ID: w.ID, Source: w.Out.From, Destination: endpoint, Received: c.mission.Clock.Now(),
		Size: int64(len(w.Payload)), Payload: io.NopCloser(bytes.NewReader(w.Payload)),
		Ack: func(context.Context) error {
			if err := c.fuse.Step("ack", endpoint.String()); err != nil {
				return err
			}
			c.mission.mu.Lock()
			defer c.mission.mu.Unlock()
			c.mission.queue[endpoint] = slices.DeleteFunc(c.mission.queue[endpoint], func(have *waiting) bool { return have == w })
			c.mission.changed()
			return nil
		},
		Release: func(context.Context) error {
			c.mission.mu.Lock()
			defer c.mission.mu.Unlock()
			w.holder = nil
			c.mission.changed()
			return nil
		},
	}
}

// Clock is a dtntime.Clock that goes on by a millisecond at every look.
type Clock struct {
	mu  sync.Mutex // guards now
	now dtntime.Time
}

// NewClock returns a clock that begins in 2026.
func NewClock() *Clock { return &Clock{now: 820454400000} }

// Now implements dtntime.Clock.
func (c *Clock) Now() dtntime.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(dtntime.Millisecond)
	return c.now
}
