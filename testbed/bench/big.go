package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"

	"golang.org/x/sync/errgroup"

	"perigee/bundle/app"
)

// bigSize is the payload of the big bundle: 1 GiB.
const bigSize = 1 << 30

// big1g sends one big bundle of random bytes under custody, compares digests at both
// ends, and reads the peak of resident memory (VmHWM) of both daemons since their
// start. The figure is the larger one, in units of 10^6 bytes.
func big1g(ctx context.Context, b *bench) (figures []figure, err error) {
	p, err := b.startPair(ctx, "big1g", nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	b.progress.note("1 GiB in one bundle")
	sent, came := sha256.New(), sha256.New()
	work, inner := errgroup.WithContext(ctx)
	work.Go(func() error { return p.sendBig(inner, sent) })
	work.Go(func() error { return p.takeBig(inner, came) })
	if err := work.Wait(); err != nil {
		return nil, err
	}
	if string(sent.Sum(nil)) != string(came.Sum(nil)) {
		return nil, errors.New("the bundle came with other bytes than were sent")
	}
	if err := p.settle(ctx); err != nil {
		return nil, err
	}
	var peak int64
	for _, d := range []*daemon{p.a, p.b} {
		m, err := d.memory("VmHWM")
		if err != nil {
			return nil, err
		}
		peak = max(peak, m)
	}
	return []figure{{name: "node.big_1g_rss", value: float64(peak) / megabyte, unit: "MB"}}, nil
}

func (p *pair) sendBig(ctx context.Context, digest hash.Hash) error {
	random := io.LimitReader(rand.NewChaCha8([32]byte{1}), bigSize)
	_, err := p.a.client.Send(ctx, app.Outgoing{
		To: inbox, Custody: true, Payload: io.TeeReader(random, digest), Length: bigSize,
	})
	if err != nil {
		return fmt.Errorf("sending 1 GiB: %w", err)
	}
	return nil
}

func (p *pair) takeBig(ctx context.Context, digest hash.Hash) error {
	d, err := p.b.client.Receive(ctx, inbox)
	if err != nil {
		return fmt.Errorf("receiving 1 GiB: %w", err)
	}
	defer d.Payload.Close() // only read from
	if _, err := io.Copy(digest, d.Payload); err != nil {
		return fmt.Errorf("receiving 1 GiB: %w", err)
	}
	return d.Ack(ctx)
}
