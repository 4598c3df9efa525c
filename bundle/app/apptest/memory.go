package apptest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/contact"
	"perigee/bundle/dtntime"
	"perigee/bundle/store"
)

// Memory is a node that delivers only to itself and keeps bundles in memory: the
// other end for tests of whatever speaks app.Client. A stored bundle's bytes are a
// short head and its payload.
type Memory struct {
	// Quota is the largest payload that is taken, in bytes. It is set before
	// the node is used.
	Quota int64

	id bundle.EID

	mu       sync.Mutex // guards what follows
	changed  chan struct{}
	stored   []*memBundle
	gone     map[bundle.ID]store.Gone
	handle   store.Handle
	clock    dtntime.Time
	status   app.Status
	plan     *contact.Plan
	watchers map[chan app.Event]bool
	payloads int // deliveries whose payload is open

	registered []app.Registration
}

type memBundle struct {
	record  store.Record
	source  bundle.EID
	payload []byte
	lent    bool
	copyOf  app.Registration // that the copy is for, at a non-singleton endpoint
}

// memHead stands for the header of a bundle.
const memHead = "HEAD"

// NewMemory returns an empty node with the node ID id.
func NewMemory(id bundle.EID) *Memory {
	return &Memory{
		id: id, Quota: 1 << 30, changed: make(chan struct{}), gone: map[bundle.ID]store.Gone{},
		clock: 1000, watchers: map[chan app.Event]bool{},
	}
}

// OpenPayloads returns how many payloads of deliveries are open.
func (n *Memory) OpenPayloads() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.payloads
}

// Watchers returns how many watches run.
func (n *Memory) Watchers() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.watchers)
}

// Lent tells whether a stored bundle is in the hands of an application.
func (n *Memory) Lent(id bundle.ID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	b := n.find(id)
	return b != nil && b.lent
}

// tell announces a change and an event. The caller holds mu.
func (n *Memory) tell(kind app.EventKind, id bundle.ID) {
	close(n.changed)
	n.changed = make(chan struct{})
	n.announce(app.Event{At: n.clock, Kind: kind, Bundle: &id})
}

// announce shows an event to all watchers. The caller holds mu.
func (n *Memory) announce(e app.Event) {
	for w := range n.watchers {
		select {
		case w <- e:
		default:
		}
	}
}

func (n *Memory) find(id bundle.ID) *memBundle {
	for _, b := range n.stored {
		if b.record.ID == id {
			return b
		}
	}
	return nil
}

func (n *Memory) drop(b *memBundle, reason store.GoneReason) {
	n.stored = slices.DeleteFunc(n.stored, func(o *memBundle) bool { return o == b })
	n.gone[b.record.ID] = store.Gone{ID: b.record.ID, Reason: reason, At: n.clock}
}

// memClient is a client of a Memory; closing it gives back its deliveries.
type memClient struct {
	node *Memory
	mu   sync.Mutex // guards held
	held map[*memBundle]bool
}

// Client returns another client of the node.
func (n *Memory) Client() app.Client { return &memClient{node: n, held: map[*memBundle]bool{}} }

func (c *memClient) Send(ctx context.Context, out app.Outgoing) (bundle.ID, error) {
	if out.To.IsNull() {
		return bundle.ID{}, fmt.Errorf("%w: a bundle needs a destination", app.ErrRejected)
	}
	payload, err := c.readPayload(ctx, out)
	if err != nil {
		return bundle.ID{}, err
	}
	n := c.node
	n.mu.Lock()
	defer n.mu.Unlock()
	n.handle++
	n.clock++
	source := out.From
	if source.IsNull() {
		source = n.id
	}
	id := bundle.ID{Source: source, Created: bundle.Timestamp{Time: n.clock, Sequence: uint64(n.handle)}}
	n.store(memBundle{source: source, payload: payload, record: store.Record{
		Handle: n.handle, ID: id, Destination: out.To, ReportTo: out.ReportTo, Flags: out.Reports,
		Priority: out.Priority, Duty: store.DutyDeliver, Received: n.clock, Expiry: n.clock.Add(out.Lifetime),
		HeaderLen: int64(len(memHead)), PayloadLen: int64(len(payload)), Size: int64(len(memHead) + len(payload)),
		Custodial: out.Custody,
	}})
	n.status.Counters.BundlesCreated++
	n.tell(app.EventReceived, id)
	return id, nil
}

func (c *memClient) readPayload(ctx context.Context, out app.Outgoing) ([]byte, error) {
	var payload bytes.Buffer
	chunk := make([]byte, 32<<10)
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		k, err := out.Payload.Read(chunk)
		payload.Write(chunk[:k])
		if int64(payload.Len()) > c.node.Quota {
			return nil, fmt.Errorf("%w: %w", app.ErrTryAgain, store.ErrQuota)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	if out.Length >= 0 && out.Length != int64(payload.Len()) {
		return nil, fmt.Errorf("%w: payload has %d bytes of %d", app.ErrRejected, payload.Len(), out.Length)
	}
	return payload.Bytes(), nil
}

func (c *memClient) Receive(ctx context.Context, endpoint bundle.EID) (*app.Delivery, error) {
	if !endpoint.IsSingleton() {
		return c.ReceiveAs(ctx, app.Registration{Endpoint: endpoint})
	}
	return c.await(ctx, func(b *memBundle) bool { return b.record.Destination == endpoint })
}

// await waits for a bundle that is wanted.
func (c *memClient) await(ctx context.Context, wanted func(*memBundle) bool) (*app.Delivery, error) {
	n := c.node
	for {
		n.mu.Lock()
		changed := n.changed
		for _, b := range n.stored {
			if wanted(b) && !b.lent && ctx.Err() == nil {
				b.lent = true
				n.payloads++
				n.mu.Unlock()
				return c.deliver(b), nil
			}
		}
		n.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

type memPayload struct {
	*bytes.Reader
	node *Memory
	once sync.Once
}

func (p *memPayload) Close() error {
	p.once.Do(func() {
		p.node.mu.Lock()
		defer p.node.mu.Unlock()
		p.node.payloads--
	})
	return nil
}

func (c *memClient) deliver(b *memBundle) *app.Delivery {
	c.mu.Lock()
	c.held[b] = true
	c.mu.Unlock()
	settle := func(ack bool) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.held[b] {
			return fmt.Errorf("%w: delivery is settled", app.ErrNotFound)
		}
		delete(c.held, b)
		n := c.node
		n.mu.Lock()
		defer n.mu.Unlock()
		b.lent = false
		if ack {
			n.drop(b, store.GoneDelivered)
			n.tell(app.EventDelivered, b.record.ID)
		} else {
			n.tell(app.EventSendFailed, b.record.ID)
		}
		return nil
	}
	return &app.Delivery{
		ID: b.record.ID, Source: b.source, Destination: b.record.Destination, Received: b.record.Received,
		Size: int64(len(b.payload)), Payload: &memPayload{Reader: bytes.NewReader(b.payload), node: c.node},
		Ack:     func(context.Context) error { return settle(true) },
		Release: func(context.Context) error { return settle(false) },
	}
}

func (c *memClient) Watch(ctx context.Context, see func(app.Event) error) error {
	events := make(chan app.Event, 1024)
	n := c.node
	n.mu.Lock()
	n.watchers[events] = true
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.watchers, events)
	}()
	for {
		select {
		case e := <-events:
			if err := see(e); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *memClient) Status(context.Context) (app.Status, error) {
	n := c.node
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.status
	s.Node, s.Started, s.Now = n.id, 1000, n.clock
	s.Store.Bundles = int64(len(n.stored))
	s.Registrations = n.registrations()
	return s, nil
}

func (c *memClient) Bundles(_ context.Context, after store.Handle, limit int) ([]store.Record, error) {
	n := c.node
	n.mu.Lock()
	defer n.mu.Unlock()
	var records []store.Record
	for _, b := range n.stored {
		if b.record.Handle > after && len(records) < limit {
			records = append(records, b.record)
		}
	}
	return records, nil
}

func (c *memClient) Bundle(_ context.Context, id bundle.ID) (app.Trace, error) {
	n := c.node
	n.mu.Lock()
	defer n.mu.Unlock()
	if b := n.find(id); b != nil {
		record := b.record
		return app.Trace{Record: &record}, nil
	}
	if gone, ok := n.gone[id]; ok {
		return app.Trace{Gone: &gone}, nil
	}
	return app.Trace{}, fmt.Errorf("%w: bundle %s", app.ErrNotFound, id)
}

func (c *memClient) Export(_ context.Context, id bundle.ID) (io.ReadCloser, error) {
	n := c.node
	n.mu.Lock()
	defer n.mu.Unlock()
	b := n.find(id)
	if b == nil {
		return nil, fmt.Errorf("%w: bundle %s", app.ErrNotFound, id)
	}
	return io.NopCloser(io.MultiReader(strings.NewReader(memHead), bytes.NewReader(b.payload))), nil
}

func (c *memClient) Remove(_ context.Context, id bundle.ID) error {
	n := c.node
	n.mu.Lock()
	defer n.mu.Unlock()
	b := n.find(id)
	if b == nil {
		return fmt.Errorf("%w: bundle %s", app.ErrNotFound, id)
	}
	n.drop(b, store.GoneRemoved)
	n.tell(app.EventDeleted, id)
	return nil
}

func (c *memClient) Verify(context.Context) (store.Report, error) {
	n := c.node
	n.mu.Lock()
	defer n.mu.Unlock()
	return store.Report{Records: int64(len(n.stored)), Corrupt: []string{}}, nil
}

func (c *memClient) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.node
	n.mu.Lock()
	defer n.mu.Unlock()
	for b := range c.held {
		b.lent = false
		delete(c.held, b)
		n.tell(app.EventSendFailed, b.record.ID)
	}
	return nil
}
