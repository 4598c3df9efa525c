package ground

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"perigee/agent/durable"
	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/models"
	"perigee/models/payload"
)

// Service numbers of the applications under their node (ipn:N.SERVICE).
const (
	serviceTelemetry = 10
	serviceSamples   = 11
	serviceModels    = 12
	serviceReceipts  = 14
)

// maxTelemetryFile is where the telemetry file of a satellite begins anew, in
// bytes. The one before is kept.
const maxTelemetryFile = 16 << 20

// errUseless is wrapped by errors about a delivery that will never be of use.
var errUseless = errors.New("delivery is of no use")

// receive hands deliveries for a service to keep until ctx ends. A delivery is
// acknowledged once keep has made it durable, or found it useless.
func (g *Ground) receive(ctx context.Context, service uint64, limit int64, keep func(from bundle.EID, data []byte) error) error {
	for {
		d, err := g.client.Receive(ctx, g.node.WithService(service))
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && isPassing(err):
			g.log.Info("node delivers nothing now; trying again", "service", service, "err", err)
			if err := pause(ctx, g.cfg.Send.Retry.Std()); err != nil {
				return err
			}
			continue
		case err != nil:
			return fmt.Errorf("receive for service %d: %w", service, err)
		}
		if err := g.take(ctx, d, limit, keep); err != nil {
			return err
		}
	}
}

func (g *Ground) take(ctx context.Context, d *app.Delivery, limit int64, keep func(from bundle.EID, data []byte) error) error {
	from := d.Source.Node()
	data, err := durable.ReadAll(d.Payload, limit)
	err = errors.Join(err, d.Payload.Close())
	if err != nil && !errors.Is(err, durable.ErrTooLarge) {
		g.log.Warn("delivery is not readable now", "bundle", d.ID, "err", err)
		if err := pause(ctx, g.cfg.Send.Retry.Std()); err != nil {
			return err
		}
		return g.settle(ctx, d, d.Release)
	}
	switch {
	case errors.Is(err, durable.ErrTooLarge):
		g.log.Warn("delivery dropped", "bundle", d.ID, "source", d.Source, "err", err)
	case !g.roster.knows(from):
		g.log.Warn("delivery from a stranger dropped", "bundle", d.ID, "source", d.Source)
	default:
		if err := keep(from, data); errors.Is(err, errUseless) {
			g.log.Warn("delivery dropped", "bundle", d.ID, "source", d.Source, "err", err)
		} else if err != nil {
			return fmt.Errorf("keep delivery %v: %w", d.ID, err)
		}
	}
	return g.settle(ctx, d, d.Ack)
}

// settle ends a delivery. When the node does not hear of it, it delivers again,
// which does no harm.
func (g *Ground) settle(ctx context.Context, d *app.Delivery, how func(context.Context) error) error {
	err := how(ctx)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, app.ErrClosed):
		return fmt.Errorf("acknowledge %v: %w", d.ID, err)
	default:
		g.log.Warn("delivery could not be settled; it will come again", "bundle", d.ID, "err", err)
	}
	return nil
}

func (g *Ground) keepSamples(from bundle.EID, data []byte) error {
	batch, err := payload.DecodeSampleBatch(data)
	if err != nil {
		return fmt.Errorf("%w: %w", errUseless, err)
	}
	fresh := 0
	for i := range batch.Samples {
		s := &batch.Samples[i]
		isNew, err := g.library.add(Sample{
			ID: s.ID, Name: s.Name, Satellite: from, Taken: s.Taken, Received: g.clock.Now(),
			Model: s.Model, Bytes: int64(len(s.Picture)), Found: s.Found,
		}, s.Picture, g.isBusy)
		if err != nil {
			return err
		}
		if isNew {
			fresh++
		}
	}
	g.log.Info("batch of samples received", "source", from, "batch", batch.Batch, "samples", len(batch.Samples), "new", fresh)
	g.publish(func(*Progress) {})
	signal(g.wake)
	return nil
}

func (g *Ground) keepTelemetry(from bundle.EID, data []byte) error {
	t, err := payload.DecodeTelemetry(data)
	if err != nil {
		return fmt.Errorf("%w: %w", errUseless, err)
	}
	line, err := json.Marshal(struct {
		Source bundle.EID `json:"source"`
		*payload.Telemetry
	}{from, t})
	if err != nil {
		return fmt.Errorf("%w: %w", errUseless, err)
	}
	dir := filepath.Join(g.cfg.DataDir, "telemetry")
	path := filepath.Join(dir, fileName(from)+".jsonl")
	if info, err := os.Stat(path); err == nil && info.Size() > maxTelemetryFile {
		if err := g.disk.Rename(path, path+".1"); err != nil {
			return err
		}
	}
	if err := g.disk.Append(path, append(line, '\n')); err != nil {
		return err
	}
	err = g.roster.change(from, func(s *Satellite) {
		s.Heard = g.clock.Now()
		if t.Time > s.At {
			s.Active, s.Version, s.At = t.Model, t.ModelVersion, t.Time
		}
	})
	g.publish(func(*Progress) {})
	signal(g.wake)
	return err
}

func (g *Ground) keepReceipt(from bundle.EID, data []byte) error {
	r, err := payload.DecodeReceipt(data)
	if err != nil {
		return fmt.Errorf("%w: %w", errUseless, err)
	}
	g.log.Info("receipt received", "source", from, "update", r.Update, "version", r.Version, "status", r.Status, "reason", r.Reason)
	err = g.roster.change(from, func(s *Satellite) {
		s.Heard = g.clock.Now()
		if r.Time >= s.At {
			s.Active, s.Version, s.At = r.Active, r.ActiveVersion, r.Time
		}
		if r.Update >= s.Update {
			s.Update, s.Status, s.Reason = r.Update, r.Status, r.Reason
		}
	})
	g.publish(func(*Progress) {})
	signal(g.wake)
	return err
}

// fileName is an EID as part of a file name.
func fileName(e bundle.EID) string {
	name := []byte(e.String())
	for i, c := range name {
		if !slices.Contains([]byte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-"), c) {
			name[i] = '_'
		}
	}
	return string(name)
}

// isPassing tells whether an error of the client may go away by itself.
func isPassing(err error) bool {
	return errors.Is(err, app.ErrTryAgain) || errors.Is(err, app.ErrUnreachable)
}

// signal wakes the one who waits on c, now or at its next wait.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// pause waits for d or until ctx ends, whose error it then returns.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// isFinal tells whether a receipt of this status is an update's last.
func isFinal(s payload.Status) bool {
	return s == payload.StatusActive || s == payload.StatusRefused || s == payload.StatusRolledBack
}

// believed returns the network that most satellites are believed to fly, the
// first of several in the order of the configuration.
func believed(all []Satellite) models.Hash {
	count := map[models.Hash]int{}
	var best models.Hash
	for _, s := range all {
		count[s.Active]++
	}
	for _, s := range all {
		if count[s.Active] > count[best] {
			best = s.Active
		}
	}
	return best
}
