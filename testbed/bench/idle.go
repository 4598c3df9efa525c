package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// idleTime is long enough for two keepalives (60 s by default).
const idleTime = 130 * time.Second

// idle leaves two daemons alone with an open session that runs through a relay. The
// memory is the largest resident size (VmRSS) of either that is seen, in units of
// 10^6 bytes. The traffic is everything on the session in both directions, with the
// headers of TCP and IP.
func idle(ctx context.Context, b *bench) (figures []figure, err error) {
	var r *relay
	p, err := b.startPair(ctx, "idle", func(address string) (string, error) {
		r, err = startRelay(ctx, address)
		if err != nil {
			return "", err
		}
		return r.address(), nil
	})
	if r != nil {
		defer func() { err = errors.Join(err, r.close()) }()
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	before, err := r.traffic()
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	var most int64
	for time.Since(begin) < idleTime {
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		for _, d := range []*daemon{p.a, p.b} {
			m, err := d.memory("VmRSS")
			if err != nil {
				return nil, err
			}
			most = max(most, m)
		}
	}
	after, err := r.traffic()
	if err != nil {
		return nil, err
	}
	if err := p.a.linked(ctx); err != nil {
		return nil, fmt.Errorf("the session did not last: %w", err)
	}
	return []figure{
		{name: "node.idle_rss", value: float64(most) / megabyte, unit: "MB"},
		{name: "node.idle_traffic", value: float64(after-before) / time.Since(begin).Seconds(), unit: "bytes/s"},
	}, nil
}
