package apphttp

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"perigee/bundle/app"
)

// lease is a delivery in the hands of a client. The handler of the receive owns
// it; acknowledgements and releases come from other requests as verdicts.
type lease struct {
	token    string // empty when the delivery went over a pipe
	delivery *app.Delivery
	verdicts chan verdict  // of capacity 1
	fetch    chan struct{} // hands the lease to the request that fetches the delivery
	ended    chan struct{} // closed when the owner no longer listens
}

type verdict struct {
	ack    bool
	answer func(error) // called once it was carried out, unless the lease ends before
}

// errNotHeld is the answer to a verdict on a delivery that the client does not hold.
var errNotHeld = fmt.Errorf("%w: the delivery is no longer held by this client and will be made again", app.ErrNotFound)

func newLease(d *app.Delivery) *lease {
	return &lease{
		delivery: d, verdicts: make(chan verdict, 1), fetch: make(chan struct{}), ended: make(chan struct{}),
	}
}

// lend gives a delivery a token. Tokens are random so that one from before a
// restart of the daemon never names another delivery.
func (s *Server) lend(d *app.Delivery) *lease {
	l := newLease(d)
	l.token = rand.Text()
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
	l.refuseVerdict()
	if settled {
		return
	}
	ctx, cancel := carryThrough(context.Background())
	defer cancel()
	if err := l.delivery.Release(ctx); err != nil {
		s.log.Warn("releasing a delivery that its application left", "bundle", l.delivery.ID, "error", err)
	}
}

// refuseVerdict answers a verdict that came too late for the owner.
func (l *lease) refuseVerdict() {
	select {
	case v := <-l.verdicts:
		v.answer(errNotHeld)
	default:
	}
}

// offer holds a delivery for the request that fetches it, until ctx ends or its
// time is over.
func (s *Server) offer(ctx context.Context, l *lease) {
	limit := time.NewTimer(s.Limits.Lease)
	defer limit.Stop()
	select {
	case l.fetch <- struct{}{}: // that request owns it now
		return
	case <-limit.C:
	case <-ctx.Done():
	}
	_ = l.delivery.Payload.Close() // it was not read
	s.end(l, false)
}

// fetch takes over a large delivery that was announced on a pipe, sends it, and
// holds the answer open until the delivery is settled, its client is gone or its
// time is over.
func (s *Server) fetch(w http.ResponseWriter, r *http.Request) error {
	s.mu.Lock()
	l := s.leases[r.URL.Query().Get("token")]
	s.mu.Unlock()
	if l == nil {
		return errNotHeld
	}
	ctx, cancel := s.waiting(r.Context())
	defer cancel()
	select {
	case <-l.fetch:
	case <-l.ended:
		return errNotHeld
	case <-ctx.Done():
		return s.ended(ctx.Err())
	}
	settled := false
	defer func() { s.end(l, settled) }()
	if err := s.deliver(w, l); err != nil {
		s.abort("delivering bundle "+l.delivery.ID.String(), err)
	}
	settled = s.await(ctx, l)
	if !settled {
		s.abort("waiting for the acknowledgement of bundle "+l.delivery.ID.String(), context.Cause(ctx))
	}
	if _, err := io.WriteString(w, settledMark); err != nil {
		s.abort("ending the delivery of bundle "+l.delivery.ID.String(), err)
	}
	return nil
}

// settledMark follows the payload of a delivery once it is settled. Until then the
// answer is not complete, and its connection carries nothing else.
const settledMark = "\n"

// deliver sends the payload of a delivery and closes it.
func (s *Server) deliver(w http.ResponseWriter, l *lease) (err error) {
	d := l.delivery
	defer func() {
		if closeErr := d.Payload.Close(); err == nil {
			err = closeErr
		}
	}()
	w.Header().Set("Content-Type", "application/octet-stream")
	// An answer of known length goes out as it is, and not in chunks.
	w.Header().Set("Content-Length", strconv.FormatInt(d.Size+int64(len(settledMark)), 10))
	n, err := s.copySteady(s.steady(w), d.Payload)
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
			v.answer(err)
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
	if l == nil {
		return errNotHeld
	}
	result := make(chan error, 1)
	select {
	case l.verdicts <- verdict{ack: r.URL.Path == pathAck, answer: func(err error) { result <- err }}:
	case <-l.ended:
		return errNotHeld
	case <-r.Context().Done():
		return r.Context().Err()
	}
	select {
	case err := <-result:
		if err != nil {
			return err
		}
	case <-l.ended: // the answer came first, or none comes
		select {
		case err := <-result:
			if err != nil {
				return err
			}
		default:
			return errNotHeld
		}
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
