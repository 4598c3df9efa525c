package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"perigee/agent/mail"
	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/dtntime"
	"perigee/models/payload"
)

// sendTelemetry reports until ctx ends. A report that the node does not take is
// dropped: the next one says more.
func (a *Agent) sendTelemetry(ctx context.Context) error {
	last := a.clock.Now()
	var busy dtntime.Duration
	for {
		now := a.clock.Now()
		_, total := a.runner.state()
		duty := 0.0
		if elapsed := now.Sub(last); elapsed > 0 {
			duty = float64(total-busy) / float64(elapsed)
		}
		last, busy = now, total
		err := a.report(ctx, now, duty)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, app.ErrClosed):
			return err
		case err != nil:
			a.log.Info("telemetry not sent", "err", err)
		}
		if err := mail.Pause(ctx, a.cfg.Telemetry.Interval.Std()); err != nil {
			return err
		}
	}
}

func (a *Agent) report(ctx context.Context, now dtntime.Time, duty float64) error {
	status, err := a.client.Status(ctx)
	if err != nil {
		return fmt.Errorf("ask the node for its state: %w", err)
	}
	t := a.telemetry(status, now, duty)
	data, err := t.Encode()
	if err != nil {
		return fmt.Errorf("prepare telemetry: %w", err)
	}
	_, err = a.client.Send(ctx, app.Outgoing{
		To: a.cfg.Ground.WithService(ServiceTelemetry), Lifetime: a.cfg.Telemetry.Lifetime,
		Priority: bundle.PriorityNormal, Payload: bytes.NewReader(data), Length: int64(len(data)),
	})
	if err != nil {
		return fmt.Errorf("send telemetry: %w", err)
	}
	return nil
}

func (a *Agent) telemetry(status app.Status, now dtntime.Time, duty float64) payload.Telemetry {
	active, _ := a.runner.state()
	c := a.miner.counters()
	batches, samples, size := a.miner.outbox.pending()
	vitals := a.cfg.Craft.At(now, duty)
	return payload.Telemetry{
		Time: now, Model: active.Hash, ModelVersion: active.Version,
		Taken: c.Taken, TakenBytes: c.TakenBytes, Hard: c.Hard,
		Sent: less(c.Closed, uint64(samples)), SentBytes: less(c.ClosedBytes, uint64(size)),
		StorageUsed: uint64(max(0, status.Store.Bytes)), StorageFree: uint64(max(0, status.Store.Quota-status.Store.Bytes)),
		Battery: float32(100 * vitals.Battery), Temperature: float32(vitals.Temperature),
		PendingBatches: uint64(batches) + uint64(max(0, status.Custody.Held)),
		Probation:      a.slots.picturesLeft(),
	}
}

// less returns a-b, or 0: the two were read one after the other.
func less(a, b uint64) uint64 { return a - min(a, b) }
