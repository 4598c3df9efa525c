package dtn7

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/dtn7/dtn7-go/pkg/cla"
	"github.com/dtn7/dtn7-go/pkg/cla/mtcp"

	"perigee/convergence"
)

type dialer struct{ cfg Config }

// NewDialer returns a dialer of sessions with the node cfg.Peer by dtn7-go's MTCP.
// Addresses are "host:port". A config that cannot hold is reported by Dial.
func NewDialer(cfg Config) convergence.Dialer { return &dialer{cfg} }

// Dial opens a session. dtn7-go gives up by itself after a second, whatever ctx says.
func (d *dialer) Dial(_ context.Context, address string) (convergence.Session, error) {
	cfg, err := d.cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	peer, err := endpoint(cfg.Peer)
	if err != nil {
		return nil, err
	}
	client := mtcp.NewMTCPClient(address, peer, false)
	if err, _ := client.Start(); err != nil {
		return nil, fmt.Errorf("dial MTCP peer with dtn7-go: %w", err)
	}
	s := &sender{
		client: client, cfg: cfg, address: address, state: newState(), sendSlot: make(chan struct{}, 1), drained: make(chan struct{}),
	}
	go s.drain()
	return s, nil
}

// A sender is a session of dtn7-go's MTCP client. It only sends: what the peer writes
// is not read.
type sender struct {
	*state
	client   *mtcp.MTCPClient
	cfg      Config
	address  string
	sendSlot chan struct{} // held by the one Send that runs, and by Close for good
	drained  chan struct{} // closed when the client has ended
	closing  sync.Once
}

func (s *sender) PeerNode() string    { return s.cfg.Peer }
func (s *sender) RemoteAddr() string  { return s.address }
func (s *sender) MaxTransfer() uint64 { return uint64(s.cfg.MaxBundle) }

// drain takes the client's news until Close ends it: nobody else must write to the
// channel after that.
func (s *sender) drain() {
	defer close(s.drained)
	for news := range s.client.Channel() {
		if news.MessageType == cla.PeerDisappeared {
			s.end(errors.New("connection lost, as dtn7-go found out while writing"))
		}
	}
}

// sent is the fate of every bundle that dtn7-go has written.
type sent struct{}

func (sent) Wait(context.Context) error { return nil }

// Send parses one bundle with dtn7-go's codec and lets its client write it. A bundle
// that the codec refuses or changes is refused as not acceptable; the session goes
// on.
func (s *sender) Send(ctx context.Context, length int64, body io.Reader) (convergence.Transfer, error) {
	if length <= 0 || length > s.cfg.MaxBundle {
		return nil, notAcceptable("send bundle of %d bytes: this link carries 1 to %d", length, s.cfg.MaxBundle)
	}
	select {
	case s.sendSlot <- struct{}{}:
		defer func() { <-s.sendSlot }()
	case <-s.done:
		return nil, s.Err()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if err := s.Err(); err != nil {
		return nil, err
	}
	raw := make([]byte, length)
	if _, err := io.ReadFull(body, raw); err != nil {
		return nil, fmt.Errorf("send bundle of %d bytes: read its body: %w", length, err) // nothing was sent
	}
	b, err := unchanged(raw)
	if err != nil {
		return nil, fmt.Errorf("send bundle of %d bytes: %w", length, err)
	}
	if err := s.client.Send(b); err != nil {
		s.end(fmt.Errorf("connection lost: %w", err))
		return nil, fmt.Errorf("send bundle of %d bytes: %w", length, s.Err())
	}
	s.count(func(c *convergence.Counters) {
		c.BundlesSent, c.BytesSent = c.BundlesSent+1, c.BytesSent+uint64(length)
	})
	return sent{}, nil
}

// Receive waits for the end, since nothing comes over this session.
func (s *sender) Receive(ctx context.Context) (convergence.Incoming, error) {
	select {
	case <-s.done:
		return nil, s.Err()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Close waits for the bundle that is being written, which dtn7-go lets nobody cut. On
// a peer that takes nothing, its client gives up after 2 s.
func (s *sender) Close(context.Context) error {
	s.closing.Do(func() {
		s.sendSlot <- struct{}{} // no Send runs, or will
		s.end(convergence.ErrClosed)
		if err := s.client.Close(); err != nil {
			s.end(err)
		}
	})
	<-s.drained
	return nil
}
