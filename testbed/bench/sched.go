package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"perigee/bundle"
	"perigee/bundle/app"
	"perigee/bundle/contact"
	"perigee/bundle/dtntime"
	"perigee/testbed/link"
)

// The pass of the measure: what the plan says, and a little less than the link carries.
const (
	schedRate     = 8 * contact.MegabitPerSecond
	schedLinkRate = 9 * contact.MegabitPerSecond
	schedBulk     = 500_000 // bytes: half a second
	schedUrgent   = 1000
	schedTurns    = 10
	schedPhase    = 730 * time.Millisecond // between turns, so that they begin anywhere in a bulk bundle
)

// urgentInbox and bulkInbox are where the two kinds of bundles go.
var urgentInbox, bulkInbox = bundle.IPN(2, 21), bundle.IPN(2, 22)

func schedMeasures() []measure {
	return []measure{{
		name: "sched.expedited",
		what: "how many bulk bundles later than on an empty link an expedited bundle comes while bulk fills the pass, at worst",
		bars: map[string]bar{"sched.expedited": {value: limit{1, atMost}}},
		take: schedExpedited,
	}}
}

// schedExpedited sends expedited bundles through two daemons and a link with a rate: on
// an empty link, and then while more bulk bundles wait than the time holds.
func schedExpedited(ctx context.Context, b *bench) (figures []figure, err error) {
	p, down, err := b.startPass(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.stop(), down()) }()
	empty, err := p.urgentTimes(ctx)
	if err != nil {
		return nil, fmt.Errorf("on an empty link: %w", err)
	}
	work, inner := errgroup.WithContext(ctx)
	inner, stop := context.WithCancel(inner)
	defer stop()
	work.Go(func() error { return p.fillBulk(inner) })
	work.Go(func() error { return p.takeBulk(inner) })
	busy, err := func() ([]float64, error) {
		if err := p.a.await(ctx, linkPatience, p.a.backlogged); err != nil {
			return nil, err
		}
		return p.urgentTimes(ctx)
	}()
	stop()
	if workErr := work.Wait(); workErr != nil && ctx.Err() == nil && !errors.Is(workErr, context.Canceled) {
		err = errors.Join(err, workErr)
	}
	if err != nil {
		return nil, fmt.Errorf("beside bulk: %w", err)
	}
	bulkTime := schedRate.Duration(schedBulk).Std().Seconds() * 1000
	return []figure{
		{name: "sched.expedited", value: (slices.Max(busy) - median(empty)) / bulkTime, unit: "bulk bundles"},
		{name: "sched.expedited_ms", value: median(busy), unit: "ms", reference: median(empty)},
	}, nil
}

// startPass starts two daemons that have a contact with each other for an hour, over a
// link that carries a little more than the contact says.
func (b *bench) startPass(ctx context.Context) (p *pair, down func() error, err error) {
	dir, err := b.folder("sched")
	if err != nil {
		return nil, nil, err
	}
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, nil, err
	}
	lane := link.Lane{Rate: schedLinkRate}
	up, err := link.ProxyBackend{}.Up(ctx, link.Config{Target: address, Shape: link.Shape{Out: lane, Back: lane}})
	if err != nil {
		return nil, nil, err
	}
	down = func() error { return up.Down(context.WithoutCancel(ctx)) }
	plan := filepath.Join(dir, "plan.jsonl")
	if err := writePassPlan(plan); err != nil {
		return nil, nil, errors.Join(err, down())
	}
	p = &pair{}
	far := table{
		"node": table{"contact_plan": plan}, "listen": []table{{"address": address}}, "link": []table{{"peer": "ipn:1.0", "mode": "scheduled"}},
	}
	if p.b, err = b.startDaemon(ctx, "sched-b", filepath.Join(dir, "b"), bundle.IPN(2, 0), far); err != nil {
		return nil, nil, errors.Join(err, down())
	}
	near := table{
		"node": table{"contact_plan": plan},
		"link": []table{{"peer": "ipn:2.0", "address": up.(*link.ProxyLink).Addr(), "mode": "scheduled"}},
	}
	if p.a, err = b.startDaemon(ctx, "sched-a", filepath.Join(dir, "a"), bundle.IPN(1, 0), near); err != nil {
		return nil, nil, errors.Join(err, p.stop(), down())
	}
	if err := p.a.await(ctx, linkPatience, p.a.linked); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("opening the session: %w", err), p.stop(), down())
	}
	return p, down, nil
}

// writePassPlan writes a plan of one contact each way, which is open.
func writePassPlan(file string) error {
	now := dtntime.FromTime(time.Now())
	var contacts []contact.Contact
	for _, ends := range [][2]uint64{{1, 2}, {2, 1}} {
		contacts = append(contacts, contact.Contact{
			From: bundle.IPN(ends[0], 0), To: bundle.IPN(ends[1], 0), Start: now - dtntime.Time(dtntime.Minute), End: now.Add(dtntime.Hour),
			Rate: schedRate, Confidence: 1,
		})
	}
	plan, err := contact.New(contacts)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if _, err := plan.WriteTo(&text); err != nil {
		return fmt.Errorf("writing the plan: %w", err)
	}
	if err := os.WriteFile(file, text.Bytes(), 0o644); err != nil {
		return fmt.Errorf("writing the plan: %w", err)
	}
	return nil
}

// urgentTimes sends expedited bundles one after the other and returns how long each took
// from the application that sends it to the one that has it, in milliseconds.
func (p *pair) urgentTimes(ctx context.Context) ([]float64, error) {
	var times []float64
	for range schedTurns {
		began := time.Now()
		_, err := p.a.client.Send(ctx, app.Outgoing{
			To: urgentInbox, Custody: true, Priority: bundle.PriorityExpedited,
			Payload: bytes.NewReader(make([]byte, schedUrgent)), Length: schedUrgent,
		})
		if err != nil {
			return nil, fmt.Errorf("sending an expedited bundle: %w", err)
		}
		d, err := p.b.client.Receive(ctx, urgentInbox)
		if err != nil {
			return nil, fmt.Errorf("receiving an expedited bundle: %w", err)
		}
		times = append(times, float64(time.Since(began))/float64(time.Millisecond))
		if err := errors.Join(d.Ack(ctx), d.Payload.Close()); err != nil {
			return nil, fmt.Errorf("receiving an expedited bundle: %w", err)
		}
		select {
		case <-time.After(schedPhase):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return times, nil
}

// fillBulk keeps more bulk bundles waiting than the link carries.
func (p *pair) fillBulk(ctx context.Context) error {
	payload := make([]byte, schedBulk)
	for ctx.Err() == nil {
		status, err := p.a.client.Status(ctx)
		if err != nil {
			return err
		}
		for range max(0, 8-status.Links[0].Queued) {
			_, err := p.a.client.Send(ctx, app.Outgoing{
				To: bulkInbox, Custody: true, Priority: bundle.PriorityBulk, Payload: bytes.NewReader(payload), Length: schedBulk,
			})
			if err != nil {
				return fmt.Errorf("sending a bulk bundle: %w", err)
			}
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	return nil
}

// takeBulk receives what fillBulk sends.
func (p *pair) takeBulk(ctx context.Context) error {
	for {
		d, err := p.b.client.Receive(ctx, bulkInbox)
		if err != nil {
			return fmt.Errorf("receiving a bulk bundle: %w", err)
		}
		if err := errors.Join(d.Ack(ctx), d.Payload.Close()); err != nil {
			return fmt.Errorf("receiving a bulk bundle: %w", err)
		}
	}
}

// backlogged fails while little waits for the link.
func (d *daemon) backlogged(ctx context.Context) error {
	status, err := d.client.Status(ctx)
	if err != nil {
		return err
	}
	if n := status.Links[0].Queued; n < 4 {
		return fmt.Errorf("%d bundles wait for the link", n)
	}
	return nil
}
