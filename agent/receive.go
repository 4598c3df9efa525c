package agent

import (
	"context"
	"errors"
	"fmt"

	"perigee/agent/mail"
	"perigee/bundle"
	"perigee/models/payload"
)

// offer is a delivery on its way to the goroutine that owns the updates.
type offer struct {
	from bundle.EID
	data []byte
	done chan error // is told what became of it
}

// offer hands a part to the goroutine that owns the updates and waits for what
// becomes of it.
func (a *Agent) offer(ctx context.Context, from bundle.EID, data []byte) error {
	o := offer{from, data, make(chan error, 1)}
	select {
	case a.offers <- o:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-o.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// settle tells that goroutine that what it was offered may be installed.
func (a *Agent) settle(ctx context.Context) error {
	select {
	case a.settled <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// receiveUpdates takes parts from the node until ctx ends.
func (a *Agent) receiveUpdates(ctx context.Context) error {
	in := mail.Inbox{
		Client: a.client, Endpoint: a.node.WithService(ServiceModels), Limit: maxPartFile, Wait: a.newBackoff(), Log: a.log,
	}
	for {
		err := in.Next(ctx, func(from bundle.EID, data []byte) error { return a.offer(ctx, from, data) })
		if err != nil {
			return fmt.Errorf("receive updates: %w", err)
		}
		if err := a.settle(ctx); err != nil {
			return err
		}
	}
}

// keepUpdates owns the updates: it keeps their parts, and installs what is ready
// once the node has heard that it may forget them, until ctx ends.
func (a *Agent) keepUpdates(ctx context.Context) error {
	if err := a.installReady(ctx); err != nil {
		return err
	}
	for {
		select {
		case o := <-a.offers:
			o.done <- a.takePart(o.from, o.data)
			continue
		case c := <-a.commands:
			done, err := a.runner.rollBack(c.reason)
			c.done <- outcome{done, err}
			if errors.Is(err, errGrave) {
				return err
			}
			continue // returned says whether something was changed
		case <-a.settled:
		case <-a.runner.returned:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := a.installReady(ctx); err != nil {
			return err
		}
	}
}

// takePart keeps a part of an update. What is none, or neither from the ground nor
// made on board, is useless.
func (a *Agent) takePart(from bundle.EID, data []byte) error {
	if from != a.cfg.Ground.Node() && from != a.node {
		return fmt.Errorf("%w: it is not from the ground, %v", mail.ErrUseless, a.cfg.Ground.Node())
	}
	p, err := payload.DecodeModelPart(data)
	if err != nil {
		return fmt.Errorf("%w: %w", mail.ErrUseless, err)
	}
	if err := a.keepPart(p, data); err != nil {
		return err
	}
	a.log.Info("part of an update received", "update", p.Update, "version", p.Version, "step", p.Step, "part", p.Index, "of", p.Count)
	return nil
}

// keepPart makes a part durable, or refuses its update.
func (a *Agent) keepPart(p *payload.ModelPart, data []byte) error {
	if r := a.updates.outcome(p.Update); r != nil {
		if p.Index > 0 || p.Step > 0 {
			return nil
		}
		// The ground sends again what has ended: it has no receipt yet.
		return a.post(*r)
	}
	if reason := a.unwanted(p); reason != "" {
		return a.refuse(p, reason)
	}
	if a.updates.open[p.Update] == nil && len(a.updates.open) >= a.cfg.Updates.MaxOpen {
		oldest := a.updates.oldest()
		if oldest.meta.Version >= p.Version {
			return a.refuse(p, fmt.Sprintf("%d newer updates are being collected", len(a.updates.open)))
		}
		if err := a.refuse(&oldest.meta, "newer updates take its place"); err != nil {
			return err
		}
	}
	err := a.updates.add(p, data)
	if errors.Is(err, errPartsDisagree) {
		return a.refuse(p, err.Error())
	}
	return err
}

// unwanted says why an update is refused before its parts are there, or "".
func (a *Agent) unwanted(p *payload.ModelPart) string {
	active := a.slots.active()
	size := a.updates.bytes(p)
	switch {
	case size > uint64(a.cfg.Updates.MaxBytes):
		return fmt.Sprintf("%d bytes, limit %d", size, a.cfg.Updates.MaxBytes)
	case p.Update == active.Update:
		return "" // some of its steps are in use already
	case p.Version <= active.Version:
		return fmt.Sprintf("version %d is not above the active version %d", p.Version, active.Version)
	}
	return ""
}
