package dtn7

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"sync"

	"github.com/dtn7/dtn7-go/pkg/bpv7"
	"github.com/dtn7/dtn7-go/pkg/cla"
	"github.com/dtn7/dtn7-go/pkg/cla/mtcp"

	"perigee/convergence"
	"perigee/convergence/unacked"
)

// A listener has one session, in which the bundles of all peers arrive, because that
// is how dtn7-go's server hands them over.
type listener struct {
	address  string
	session  *receiver
	accepted chan struct{} // of capacity 1: holds a token until the session is accepted
	closed   chan struct{}
	closing  sync.Once
}

// Listen starts dtn7-go's MTCP server at address ("host:port", with a port above 0).
// The first Accept returns the one session; it lives until it is closed. See the
// package's comment for who must not reach the address.
func Listen(_ context.Context, address string, _ Config) (convergence.Listener, error) {
	if _, port, err := net.SplitHostPort(address); err != nil || port == "0" {
		return nil, fmt.Errorf("listen for MTCP peers with dtn7-go: address %q has no port that it could tell", address)
	}
	server := mtcp.NewMTCPServer(address, bpv7.DtnNone(), false)
	if err, _ := server.Start(); err != nil {
		return nil, fmt.Errorf("listen for MTCP peers with dtn7-go: %w", err)
	}
	l := &listener{
		address: address, accepted: make(chan struct{}, 1), closed: make(chan struct{}),
		session: &receiver{
			state: newState(), server: server, address: address,
			receiveSlot: make(chan struct{}, 1), undecided: make(chan struct{}, maxUndecided),
		},
	}
	l.accepted <- struct{}{}
	return l, nil
}

// maxUndecided bounds the bundles that have arrived and are neither accepted nor
// refused.
const maxUndecided = 256

func (l *listener) Addr() string { return l.address }

func (l *listener) Accept(ctx context.Context) (convergence.Session, error) {
	select {
	case <-l.closed:
		return nil, convergence.ErrClosed
	default:
	}
	select {
	case <-l.accepted:
		return l.session, nil
	case <-l.closed:
		return nil, convergence.ErrClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Close ends the session too if it was never accepted.
func (l *listener) Close() (err error) {
	l.closing.Do(func() {
		close(l.closed)
		select {
		case <-l.accepted:
			err = l.session.Close(context.Background())
		default:
		}
	})
	return err
}

// A receiver is the session of a listener. It only receives.
type receiver struct {
	*state
	server      *mtcp.MTCPServer
	address     string
	receiveSlot chan struct{} // held by the one Receive that runs
	undecided   chan struct{} // one for each bundle that is neither accepted nor refused
	closing     sync.Once

	last *unacked.Arrived // guarded by receiveSlot; the last bundle that Receive returned
}

func (r *receiver) PeerNode() string    { return "" }
func (r *receiver) RemoteAddr() string  { return r.address }
func (r *receiver) MaxTransfer() uint64 { return math.MaxUint64 }

// Send fails: the session has no one peer.
func (r *receiver) Send(context.Context, int64, io.Reader) (convergence.Transfer, error) {
	return nil, errors.New("send bundle: this session has no one peer and only receives")
}

// Receive waits for a bundle that dtn7-go's server has read, and encodes it again.
func (r *receiver) Receive(ctx context.Context) (convergence.Incoming, error) {
	if err := r.acquire(ctx, r.receiveSlot); err != nil {
		return nil, err
	}
	defer func() { <-r.receiveSlot }()
	if err := r.Err(); err != nil {
		return nil, err
	}
	if r.last != nil && !r.last.IsRead() {
		return nil, errors.New("receive bundle: read the one before to its end, or refuse it")
	}
	if err := r.acquire(ctx, r.undecided); err != nil {
		return nil, err
	}
	raw, err := r.next(ctx)
	if err != nil {
		<-r.undecided
		return nil, err
	}
	r.last = unacked.NewArrived(raw, r.settled)
	return r.last, nil
}

func (r *receiver) acquire(ctx context.Context, slots chan struct{}) error {
	select {
	case slots <- struct{}{}:
		return nil
	case <-r.done:
		return r.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (r *receiver) next(ctx context.Context) ([]byte, error) {
	for {
		select {
		case news := <-r.server.Channel():
			received, ok := news.Message.(cla.ConvergenceReceivedBundle)
			if !ok {
				continue
			}
			// Only this goroutine has the bundle.
			if raw, err := encode(received.Bundle); err == nil {
				r.count(func(c *convergence.Counters) { c.BytesReceived += uint64(len(raw)) })
				return raw, nil
			}
		case <-r.done:
			return nil, r.Err()
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// Close stops the server. Connections that it has stay until their peers end them;
// what comes over them is dropped.
func (r *receiver) Close(context.Context) error {
	r.closing.Do(func() {
		r.end(convergence.ErrClosed)
		var dropping sync.WaitGroup
		dropping.Go(func() {
			for range r.server.Channel() { // until the server closes it
			}
		})
		if err := r.server.Close(); err != nil {
			r.end(err)
		}
		dropping.Wait()
	})
	return nil
}

// settled counts what became of a bundle.
func (r *receiver) settled(accepted bool) {
	r.count(func(c *convergence.Counters) {
		if accepted {
			c.BundlesReceived++
		} else {
			c.BundlesRefused++
		}
	})
	<-r.undecided
}
