package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/core"
	"perigee/bundle/store"
)

// statusLimit bounds the contacts and custodies that a status lists.
const statusLimit = 1000

// Client returns a new client of the node, in the same process.
func (n *Node) Client() app.Client {
	return &client{node: n, leases: make(map[lease]bool), closed: make(chan struct{})}
}

// lease is a bundle that is lent to an application.
type lease struct {
	handle       store.Handle
	registration uint64 // 0 at a local endpoint
}

func (l lease) release() core.Release {
	return core.Release{Handle: l.handle, Registration: l.registration}
}

// client implements app.Client.
type client struct {
	node   *Node
	once   sync.Once
	closed chan struct{}

	mu     sync.Mutex // guards leases
	leases map[lease]bool
}

// ask gives an event to the core and waits for the answer.
func (c *client) ask(ctx context.Context, e core.Event, staged store.Staged) error {
	r := &request{reply: make(chan error, 1), staged: staged}
	c.node.post(input{event: e, request: r})
	select {
	case err := <-r.reply:
		return translate(err)
	case <-ctx.Done():
		return ctx.Err()
	case <-c.closed:
		return app.ErrClosed
	}
}

// translate puts the node's errors into the words of the application interface.
func translate(err error) error {
	var refused *core.RefusedError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, core.ErrNoSpace), errors.Is(err, core.ErrBusy),
		errors.Is(err, store.ErrQuota), errors.Is(err, store.ErrFull), errors.Is(err, store.ErrFailed):
		return fmt.Errorf("%w: %w", app.ErrTryAgain, err)
	case errors.Is(err, store.ErrNotFound), errors.Is(err, core.ErrNotRegistered), errors.Is(err, core.ErrNoNeighbour):
		return fmt.Errorf("%w: %w", app.ErrNotFound, err)
	case errors.Is(err, core.ErrStopped):
		return fmt.Errorf("%w: %w", app.ErrClosed, err)
	case errors.As(err, &refused):
		return fmt.Errorf("%w: %w", app.ErrRejected, err)
	}
	return err
}

// Receive implements app.Client.
func (c *client) Receive(ctx context.Context, endpoint bundle.EID) (*app.Delivery, error) {
	switch {
	case !endpoint.IsSingleton():
		return c.ReceiveAs(ctx, app.Registration{Endpoint: endpoint})
	case endpoint.Node() != c.node.cfg.Node:
		return nil, fmt.Errorf("%w: %s is not an endpoint of this node, which is %s", app.ErrRejected, endpoint, c.node.cfg.Node)
	}
	return c.await(ctx, core.Receive{Endpoint: endpoint})
}

// await waits for a bundle.
func (c *client) await(ctx context.Context, e core.Receive) (*app.Delivery, error) {
	r := &request{deliver: make(chan core.Deliver, 1), reply: make(chan error, 1)}
	c.node.post(input{event: e, request: r})
	var why error
	select {
	case x := <-r.deliver:
		return c.delivery(x)
	case err := <-r.reply:
		return nil, translate(err)
	case <-ctx.Done():
		why = ctx.Err()
	case <-c.closed:
		why = app.ErrClosed
	}
	c.node.post(input{request: &request{cancel: true, of: r}})
	return nil, why
}

// delivery opens a bundle that was handed over.
func (c *client) delivery(x core.Deliver) (*app.Delivery, error) {
	rec, l := &x.Record, lease{x.Record.Handle, x.Registration}
	content, err := c.node.cfg.Store.Open(l.handle)
	if err != nil {
		c.node.post(input{event: l.release()})
		return nil, fmt.Errorf("opening %s to deliver it: %w", rec.ID, err)
	}
	c.mu.Lock()
	c.leases[l] = true
	c.mu.Unlock()
	return &app.Delivery{
		ID: rec.ID, Source: rec.ID.Source, Destination: rec.Destination, Received: rec.Received, Size: rec.PayloadLen,
		Payload: &section{io.NewSectionReader(content, rec.HeaderLen, rec.PayloadLen), content},
		Ack: func(ctx context.Context) error {
			if !c.leased(l) {
				return fmt.Errorf("acknowledging %s: it was acknowledged or released before: %w", rec.ID, app.ErrNotFound)
			}
			// Until it is answered the lease stays, so that a failure can be
			// followed by another try or by Release.
			if err := c.ask(ctx, core.Ack{Handle: l.handle, Registration: l.registration}, nil); err != nil {
				return fmt.Errorf("acknowledging %s: %w", rec.ID, err)
			}
			c.unlease(l)
			return nil
		},
		Release: func(context.Context) error {
			if c.unlease(l) {
				c.node.post(input{event: l.release()})
			}
			return nil
		},
	}, nil
}

// leased tells whether a bundle is lent to this client.
func (c *client) leased(l lease) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leases[l]
}

// unlease ends a lease and tells whether there was one.
func (c *client) unlease(l lease) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	had := c.leases[l]
	delete(c.leases, l)
	return had
}

// section is a part of a stored bundle.
type section struct {
	*io.SectionReader
	content store.Content
}

func (s *section) Close() error { return s.content.Close() }

// WriteTo implements io.WriterTo: what is in memory is not copied on its way.
func (s *section) WriteTo(w io.Writer) (int64, error) {
	at, err := s.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, err
	}
	if m, ok := s.content.(interface{ Bytes() []byte }); ok {
		_, from, length := s.Outer()
		n, err := w.Write(m.Bytes()[from+at : from+length])
		_, seekErr := s.Seek(int64(n), io.SeekCurrent)
		return int64(n), errors.Join(err, seekErr)
	}
	return io.Copy(w, s.SectionReader)
}

// Watch implements app.Client.
func (c *client) Watch(ctx context.Context, see func(app.Event) error) error {
	return c.watch(ctx, nil, see)
}

// watch shows the events of some kinds, or all if wanted is nil.
func (c *client) watch(ctx context.Context, wanted func(app.EventKind) bool, see func(app.Event) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var follow sync.WaitGroup
	follow.Go(func() {
		select {
		case <-c.closed:
			cancel(app.ErrClosed)
		case <-ctx.Done():
		}
	})
	defer follow.Wait()
	defer cancel(nil)
	err := c.node.hub.watch(ctx, wanted, see)
	if cause := context.Cause(ctx); errors.Is(cause, app.ErrClosed) {
		return app.ErrClosed
	}
	return err
}

// Status implements app.Client.
func (c *client) Status(ctx context.Context) (app.Status, error) {
	n := c.node
	answer := make(chan app.Status, 1)
	all := n.registry.all()
	n.post(input{call: func(c *core.Core) {
		s := c.Status(statusLimit)
		s.Registrations = n.registered(c, all)
		answer <- s
	}})
	select {
	case s := <-answer:
		s.Now, s.Started, s.Version, s.Store = n.now(), n.started, n.cfg.Version, n.cfg.Store.Stats()
		s.Custody.Held = s.Store.Custodial // also of bundles that are not in memory
		n.describeLinks(s.Links)
		return s, nil
	case <-ctx.Done():
		return app.Status{}, ctx.Err()
	case <-n.stopped:
		return app.Status{}, fmt.Errorf("asking for status: %w", app.ErrClosed)
	}
}

// Bundles implements app.Client.
func (c *client) Bundles(_ context.Context, after store.Handle, limit int) ([]store.Record, error) {
	return c.node.cfg.Store.Scan(after, limit)
}

// Bundle implements app.Client.
func (c *client) Bundle(_ context.Context, id bundle.ID) (app.Trace, error) {
	known, err := c.node.cfg.Store.Find(id)
	if err != nil {
		return app.Trace{}, fmt.Errorf("looking up %s: %w", id, err)
	}
	t := app.Trace{Record: known.Live, Gone: known.Gone, Events: c.node.hub.about(id)}
	if t.Record == nil && t.Gone == nil && len(t.Events) == 0 {
		return app.Trace{}, fmt.Errorf("bundle %s: %w", id, app.ErrNotFound)
	}
	return t, nil
}

// live returns the record of a bundle that the store holds.
func (c *client) live(id bundle.ID) (*store.Record, error) {
	known, err := c.node.cfg.Store.Find(id)
	if err != nil {
		return nil, fmt.Errorf("looking up %s: %w", id, err)
	}
	if known.Live == nil {
		return nil, fmt.Errorf("bundle %s: %w", id, app.ErrNotFound)
	}
	return known.Live, nil
}

// Export implements app.Client.
func (c *client) Export(_ context.Context, id bundle.ID) (io.ReadCloser, error) {
	rec, err := c.live(id)
	if err != nil {
		return nil, err
	}
	content, err := c.node.cfg.Store.Open(rec.Handle)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", id, err)
	}
	return &section{io.NewSectionReader(content, 0, rec.Size), content}, nil
}

// Remove implements app.Client.
func (c *client) Remove(ctx context.Context, id bundle.ID) error {
	rec, err := c.live(id)
	if err != nil {
		return err
	}
	if err := c.ask(ctx, core.Remove{Record: *rec}, nil); err != nil {
		return fmt.Errorf("removing %s: %w", id, err)
	}
	return nil
}

// Verify implements app.Client.
func (c *client) Verify(ctx context.Context) (store.Report, error) {
	return c.node.cfg.Store.Verify(ctx, nil)
}

// Close implements app.Client. What was delivered and not acknowledged is
// delivered again.
func (c *client) Close() error {
	c.once.Do(func() {
		close(c.closed)
		c.mu.Lock()
		leases := c.leases
		c.leases = make(map[lease]bool)
		c.mu.Unlock()
		for l := range leases {
			c.node.post(input{event: l.release()})
		}
	})
	return nil
}
