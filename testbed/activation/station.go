package activation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/app/apphttp"
	"perigee/bundle/node"
	"perigee/bundle/store/memstore"
	"perigee/models/payload"
)

// Service numbers of the applications.
const (
	serviceModels   = 12
	serviceReceipts = 14
)

// station is a node with its socket, and the ground: what outlives the satellite.
type station struct {
	client app.Client
	cancel context.CancelFunc
	group  *errgroup.Group

	mu       sync.Mutex // guards what follows
	receipts []payload.Receipt
	change   chan struct{} // closed and replaced when a receipt comes
}

// nodeMemory is what the node holds at most, in bytes.
const nodeMemory = 512 << 20

func openStation(ctx context.Context, dir string) (*station, error) {
	log := slog.New(slog.DiscardHandler)
	n, err := node.New(node.Config{
		Node: nodeID(), Store: memstore.New(memstore.Options{Quota: nodeMemory}), Clock: clock{}, Log: log, SpoolDir: dir, MaxBundle: 8 << 20,
	})
	if err != nil {
		return nil, err
	}
	listener, err := apphttp.Listen(ctx, filepath.Join(dir, socketName), 0o600)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	s := &station{client: n.Client(), cancel: cancel, change: make(chan struct{})}
	s.group, ctx = errgroup.WithContext(ctx)
	s.group.Go(func() error { return n.Run(ctx) })
	s.group.Go(func() error { return apphttp.NewServer(n.Client(), log).Serve(ctx, listener) })
	s.group.Go(func() error { return s.listen(ctx) })
	return s, nil
}

// close ends the node.
func (s *station) close() error {
	s.cancel()
	err := s.group.Wait()
	if errors.Is(err, context.Canceled) || errors.Is(err, app.ErrClosed) {
		err = nil
	}
	return errors.Join(err, s.client.Close())
}

// listen takes receipts.
func (s *station) listen(ctx context.Context) error {
	for {
		d, err := s.client.Receive(ctx, nodeID().WithService(serviceReceipts))
		if err != nil {
			return err
		}
		data, err := io.ReadAll(d.Payload)
		if err := errors.Join(err, d.Payload.Close(), d.Ack(ctx)); err != nil {
			return err
		}
		r, err := payload.DecodeReceipt(data)
		if err != nil {
			return err
		}
		s.mu.Lock()
		s.receipts = append(s.receipts, *r)
		close(s.change)
		s.change = make(chan struct{})
		s.mu.Unlock()
	}
}

// said returns the receipts about an update.
func (s *station) said(update uint64) []payload.Receipt {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.receipts), func(r payload.Receipt) bool { return r.Update != update })
}

// count returns about how many updates a receipt of a status came.
func (s *station) count(status payload.Status) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	updates := map[uint64]bool{}
	for _, r := range s.receipts {
		if r.Status == status {
			updates[r.Update] = true
		}
	}
	return len(updates)
}

// ended waits for the receipt that ends an update.
func (s *station) ended(ctx context.Context, update uint64) (payload.Receipt, error) {
	for {
		s.mu.Lock()
		change := s.change
		s.mu.Unlock()
		for _, r := range s.said(update) {
			if r.Status >= payload.StatusActive {
				return r, nil
			}
		}
		select {
		case <-change:
		case <-ctx.Done():
			return payload.Receipt{}, fmt.Errorf("update %d has not ended: %w; its receipts: %+v", update, ctx.Err(), s.said(update))
		}
	}
}

// send hands parts of an update to the node.
func (s *station) send(ctx context.Context, parts []payload.ModelPart) error {
	for i := range parts {
		data, err := parts[i].Encode()
		if err != nil {
			return err
		}
		_, err = s.client.Send(ctx, app.Outgoing{
			To: nodeID().WithService(serviceModels), Priority: bundle.PriorityNormal,
			Payload: bytes.NewReader(data), Length: int64(len(data)),
		})
		if err != nil {
			return fmt.Errorf("send part %d of update %d: %w", i, parts[i].Update, err)
		}
	}
	return nil
}
