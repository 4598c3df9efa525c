package apphttp

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"perigee/bundle"
	"perigee/bundle/app"
)

// lease is a delivery in the hands of a client. The handler of the receive owns
// it; acknowledgements and releases come from other requests as verdicts.
type lease struct {
	token    string
	delivery *app.Delivery
	verdicts chan verdict
	ended    chan struct{} // closed when the owner no longer listens
}

type verdict struct {
	ack    bool
	result chan<- error // has room for one
}

// lend gives a delivery a token. Tokens are random so that one from before a
// restart of the daemon never names another delivery.
func (s *Server) lend(d *app.Delivery) *lease {
	l := &lease{token: rand.Text(), delivery: d, verdicts: make(chan verdict), ended: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leases[l.token] = l
	return l
}

// end takes the lease back. It is released unless it was settled.
func (s *Server) end(l *lease, settled bool) {
	s.mu.Lock()
	delete(s.leases, l.token)
	s.mu.Unlock()
	close(l.ended)
	if settled {
		return
	}
	ctx, cancel := carryThrough(context.Background())
	defer cancel()
	if err := l.delivery.Release(ctx); err != nil {
		s.log.Warn("releasing a delivery that its application left", "bundle", l.delivery.ID, "error", err)
	}
}

// receive waits for a delivery, sends it, and holds the answer open until the
// delivery is settled, its client is gone or its time is over.
func (s *Server) receive(w http.ResponseWriter, r *http.Request) error {
	endpoint, err := bundle.ParseEID(r.URL.Query().Get("endpoint"))
	if err != nil {
		return fmt.Errorf("%w: endpoint: %w", errMalformed, err)
	}
	ctx, cancel := s.waiting(r)
	defer cancel()
	delivery, err := s.client.Receive(ctx, endpoint)
	if err != nil {
		return s.ended(err)
	}
	l := s.lend(delivery)
	settled := false
	defer func() { s.end(l, settled) }()
	if err := s.deliver(w, l); err != nil {
		s.abort("delivering bundle "+delivery.ID.String(), err)
	}
	settled = s.await(ctx, l)
	if !settled {
		s.abort("waiting for the acknowledgement of bundle "+delivery.ID.String(), context.Cause(ctx))
	}
	return nil
}

// deliver sends the head and the payload of a delivery, and closes the payload.
func (s *Server) deliver(w http.ResponseWriter, l *lease) (err error) {
	d := l.delivery
	defer func() {
		if closeErr := d.Payload.Close(); err == nil {
			err = closeErr
		}
	}()
	header := w.Header()
	header.Set("Content-Type", "application/octet-stream")
	header.Set(headerToken, l.token)
	header.Set(headerBundle, d.ID.String())
	header.Set(headerSource, d.Source.String())
	header.Set(headerDestination, d.Destination.String())
	header.Set(headerReceived, strconv.FormatUint(uint64(d.Received), 10))
	header.Set(headerSize, strconv.FormatInt(d.Size, 10))
	n, err := copySteady(s.steady(w), io.LimitReader(d.Payload, d.Size))
	if err != nil {
		return err
	}
	if n != d.Size {
		return fmt.Errorf("payload has %d bytes of %d: %w", n, d.Size, io.ErrUnexpectedEOF)
	}
	return nil
}

// await waits for the verdict on a delivery and tells whether it was settled.
func (s *Server) await(ctx context.Context, l *lease) bool {
	limit := time.NewTimer(s.Limits.Lease)
	defer limit.Stop()
	for {
		select {
		case v := <-l.verdicts:
			err := l.apply(ctx, v)
			v.result <- err
			if err == nil {
				return true
			}
		case <-limit.C:
			s.log.Warn("taking back a delivery that its application neither acknowledged nor released",
				"bundle", l.delivery.ID, "limit", s.Limits.Lease)
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// apply carries a verdict out. When it fails the lease goes on.
func (l *lease) apply(ctx context.Context, v verdict) error {
	ctx, cancel := carryThrough(ctx)
	defer cancel()
	if v.ack {
		return l.delivery.Ack(ctx)
	}
	return l.delivery.Release(ctx)
}

// settle hands a verdict to the owner of the lease.
func (s *Server) settle(w http.ResponseWriter, r *http.Request) error {
	token := r.URL.Query().Get("token")
	s.mu.Lock()
	l := s.leases[token]
	s.mu.Unlock()
	gone := fmt.Errorf("%w: the delivery is no longer held by this client and will be made again", app.ErrNotFound)
	if l == nil {
		return gone
	}
	result := make(chan error, 1)
	select {
	case l.verdicts <- verdict{ack: r.URL.Path == pathAck, result: result}:
	case <-l.ended:
		return gone
	case <-r.Context().Done():
		return r.Context().Err()
	}
	if err := <-result; err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
