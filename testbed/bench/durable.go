package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"perigee/bundle"
	"perigee/bundle/app"
)

// flow is a stream of bundles through a pair: so many of one size, sent and received
// by so many at a time.
type flow struct {
	count, size        int
	senders, receivers int
}

// The flows of the measures. A round of either takes a few seconds.
var (
	smallFlow = flow{count: 20_000, size: 1000, senders: 120, receivers: 120}
	largeFlow = flow{count: 3000, size: megabyte, senders: 32, receivers: 32}
)

// Rounds of each measure, after one that warms up.
const (
	durableRounds = 5
	stockTime     = 5 * time.Second
)

// durable1k measures bundles of 1 kB from application to application: the clock runs
// from the first Send to the last acknowledgement. A Send returns when the bundle is
// synced in a's store; b takes custody when it is synced in b's; the receiver's
// acknowledgement returns when b has synced that too. In turns with it, two stock
// daemons are driven by their REST agents as fast as they go. They are new each time:
// what they have once carried keeps them busy for ever.
func durable1k(ctx context.Context, b *bench) (figures []figure, err error) {
	p, err := b.startPair(ctx, "durable1k", nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	values, refs, err := b.rounds(ctx,
		func(ctx context.Context) (float64, error) { return p.rate(ctx, smallFlow) },
		func(ctx context.Context) (float64, error) { return b.stockRate(ctx, smallFlow.size) })
	if err != nil {
		return nil, err
	}
	return []figure{{name: "node.durable_1k", value: median(values), unit: "bundles/s", reference: median(refs)}}, nil
}

// stockRate measures two new stock daemons.
func (b *bench) stockRate(ctx context.Context, size int) (rate float64, err error) {
	stock, err := b.startStock(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, stock.stop()) }()
	return stock.rate(ctx, size, stockTime)
}

// durable1m measures bundles of 1 MB in the same way. In turns with it, the same
// bytes go once to a file on the disk of the stores, which is synced after each
// megabyte, as the stores sync each bundle before they accept it.
func durable1m(ctx context.Context, b *bench) (figures []figure, err error) {
	p, err := b.startPair(ctx, "durable1m", nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	values, refs, err := b.rounds(ctx,
		func(ctx context.Context) (float64, error) {
			rate, err := p.rate(ctx, largeFlow)
			return rate * float64(largeFlow.size) / megabyte, err
		},
		func(ctx context.Context) (float64, error) { return b.plainWrite(ctx, largeFlow) })
	if err != nil {
		return nil, err
	}
	return []figure{{name: "node.durable_1m", value: median(values), unit: "MB/s", reference: median(refs)}}, nil
}

// rounds measures ours and the reference in turns.
func (b *bench) rounds(ctx context.Context, ours, reference func(context.Context) (float64, error)) (values, refs []float64, err error) {
	for i := range durableRounds + 1 {
		b.progress.note(fmt.Sprintf("round %d of %d", i, durableRounds))
		value, err := ours(ctx)
		if err != nil {
			return nil, nil, err
		}
		b.progress.note(fmt.Sprintf("round %d of %d: %.0f; the reference", i, durableRounds, value))
		ref, err := reference(ctx)
		if err != nil {
			return nil, nil, fmt.Errorf("the reference: %w", err)
		}
		if i > 0 { // the first warms up
			values, refs = append(values, value), append(refs, ref)
		}
	}
	return values, refs, nil
}

// inbox is where the bundles of a flow go.
var inbox = bundle.IPN(2, 11)

// rate carries a flow and returns how many bundles a second came through.
func (p *pair) rate(ctx context.Context, f flow) (float64, error) {
	begin := time.Now()
	times, err := p.carry(ctx, f)
	if err != nil {
		return 0, err
	}
	return float64(f.count) / times[len(times)-1].Sub(begin).Seconds(), nil
}

// carry carries a flow and returns when each bundle had come, in order. Every bundle
// must come once and whole, and all custody be released afterwards.
func (p *pair) carry(ctx context.Context, f flow) ([]time.Time, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	seen := make([]atomic.Bool, f.count)
	var sent, taken atomic.Int64
	var workers sync.WaitGroup
	times := make(chan time.Time, f.count)
	for range f.receivers {
		workers.Go(func() {
			payload := make([]byte, f.size)
			for taken.Add(1) <= int64(f.count) {
				if err := p.takeOne(ctx, payload, seen); err != nil {
					cancel(err)
					return
				}
				times <- time.Now()
			}
		})
	}
	for range f.senders {
		workers.Go(func() {
			payload := make([]byte, f.size)
			for n := sent.Add(1); n <= int64(f.count); n = sent.Add(1) {
				binary.BigEndian.PutUint64(payload, uint64(n-1))
				if err := p.sendOne(ctx, payload); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	workers.Wait()
	close(times)
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	var all []time.Time
	for at := range times {
		all = append(all, at)
	}
	slices.SortFunc(all, time.Time.Compare)
	return all, p.settle(ctx)
}

func (p *pair) sendOne(ctx context.Context, payload []byte) error {
	_, err := p.a.client.Send(ctx, app.Outgoing{
		To: inbox, Custody: true, Payload: bytes.NewReader(payload), Length: int64(len(payload)),
	})
	if err != nil {
		return fmt.Errorf("sending: %w", err)
	}
	return nil
}

// takeOne receives a bundle, which bears its number and fills payload, and
// acknowledges it.
func (p *pair) takeOne(ctx context.Context, payload []byte, seen []atomic.Bool) error {
	d, err := p.b.client.Receive(ctx, inbox)
	if err != nil {
		return fmt.Errorf("receiving: %w", err)
	}
	defer d.Payload.Close() // only read from
	if d.Size != int64(len(payload)) {
		return fmt.Errorf("bundle %s came with %d bytes of %d", d.ID, d.Size, len(payload))
	}
	if _, err := io.ReadFull(d.Payload, payload); err != nil {
		return fmt.Errorf("receiving %s: %w", d.ID, err)
	}
	number := binary.BigEndian.Uint64(payload)
	switch {
	case number >= uint64(len(seen)):
		return fmt.Errorf("bundle %s came with the number %d of %d", d.ID, number, len(seen))
	case seen[number].Swap(true):
		return fmt.Errorf("bundle number %d came twice, now as %s", number, d.ID)
	}
	if err := d.Ack(ctx); err != nil {
		return fmt.Errorf("acknowledging %s: %w", d.ID, err)
	}
	return nil
}

// plainWrite writes the bytes of a flow to one file, syncs after each bundle's worth
// and returns the rate in MB/s.
func (b *bench) plainWrite(ctx context.Context, f flow) (rate float64, err error) {
	file, err := os.Create(filepath.Join(b.dir, "plain"))
	if err != nil {
		return 0, fmt.Errorf("making a plain file: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(file.Name())) }()
	payload := make([]byte, f.size)
	begin := time.Now()
	for range f.count {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if _, err := file.Write(payload); err != nil {
			return 0, fmt.Errorf("writing a plain file: %w", err)
		}
		if err := file.Sync(); err != nil {
			return 0, fmt.Errorf("syncing a plain file: %w", err)
		}
	}
	return float64(f.count*f.size) / megabyte / time.Since(begin).Seconds(), nil
}
