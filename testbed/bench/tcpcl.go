package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"perigee/bundle"
	"perigee/convergence"
	"perigee/convergence/tcpcl"
)

const (
	loopbackRounds   = 11
	loopbackBulk     = 400     // bundles of 1 MB in one round
	loopbackSmall    = 100_000 // bundles of 1 kB in one round
	stockTurns       = 3       // of dtn7-go's sessions
	stockSessionTime = time.Second * 2
)

func tcpclMeasures() []measure {
	return []measure{
		{
			name: "tcpcl.loopback_1m",
			what: "1 MB bundles over a TCPCLv4 session on loopback, taken at once; reference: the same bytes over plain TCP",
			bars: map[string]bar{"tcpcl.loopback_1m": {ratio: limit{0.5, atLeast}}},
			take: loopback1m,
		},
		{
			name: "tcpcl.loopback_1k",
			what: "1 kB bundles the same way, encoded and decoded at the ends; reference: dtn7-go's own TCPCLv4",
			bars: map[string]bar{"tcpcl.loopback_1k": {value: limit{60_000, atLeast}, ratio: limit{100, atLeast}}},
			take: loopback1k,
		},
		{
			name: "link.hostile",
			what: "1 kB bundles from an honest neighbour among 1,000 hostile connections; reference: the same without them",
			bars: map[string]bar{
				"link.hostile":     {ratio: limit{0.9, atLeast}},
				"link.hostile_rss": {value: limit{100, atMost}},
			},
			take: hostile,
		},
	}
}

// sessionPair is two ends of a session on loopback.
type sessionPair struct {
	listener io.Closer
	from, to convergence.Session
}

func openSessions(ctx context.Context) (*sessionPair, error) {
	l, err := tcpcl.Listen(ctx, "127.0.0.1:0", tcpcl.Config{NodeID: "ipn:2.0"})
	if err != nil {
		return nil, err
	}
	p := &sessionPair{listener: l}
	if p.from, err = tcpcl.NewDialer(tcpcl.Config{NodeID: "ipn:1.0"}).Dial(ctx, l.Addr()); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	if p.to, err = l.Accept(ctx); err != nil {
		return nil, errors.Join(err, p.from.Close(ctx), l.Close())
	}
	return p, nil
}

func (p *sessionPair) close(ctx context.Context) error {
	var group errgroup.Group
	group.Go(func() error { return p.from.Close(ctx) })
	group.Go(func() error { return p.to.Close(ctx) })
	return errors.Join(group.Wait(), p.listener.Close())
}

// carry sends so many bundles, each as next makes it, and takes them by take. It
// returns the seconds from the first byte to the last acknowledgement.
func (p *sessionPair) carry(ctx context.Context, count int, next func() []byte, take func([]byte) error) (float64, error) {
	group, ctx := errgroup.WithContext(ctx)
	begin := time.Now()
	group.Go(func() error { return takeBundles(ctx, p.to, count, take) })
	group.Go(func() error {
		var last convergence.Transfer
		var body bytes.Reader
		for range count {
			raw := next()
			body.Reset(raw)
			var err error
			if last, err = p.from.Send(ctx, int64(len(raw)), &body); err != nil {
				return err
			}
		}
		return last.Wait(ctx) // the others were acknowledged before
	})
	err := group.Wait()
	return time.Since(begin).Seconds(), err
}

// takeBundles reads bundles into memory and accepts each at once.
func takeBundles(ctx context.Context, s convergence.Session, count int, take func([]byte) error) error {
	var raw []byte
	for range count {
		in, err := s.Receive(ctx)
		if err != nil {
			return err
		}
		if raw, err = readInto(raw[:0], in); err != nil {
			return err
		}
		if err := take(raw); err != nil {
			return err
		}
		if err := in.Accept(); err != nil {
			return err
		}
	}
	return nil
}

// readInto reads r to its end behind b.
func readInto(b []byte, r io.Reader) ([]byte, error) {
	for {
		if len(b) == cap(b) {
			b = append(b, make([]byte, max(len(b), 4<<10))...)[:len(b)]
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if errors.Is(err, io.EOF) {
			return b, nil
		}
		if err != nil {
			return b, err
		}
	}
}

// loopback1m moves bundles of 1 MB that are there in memory. The reference writes the
// same bytes to a TCP connection, a bundle at a time, and reads each into memory.
func loopback1m(ctx context.Context, b *bench) (figures []figure, err error) {
	raw := bytes.Repeat([]byte("0123456789"), megabyte/10)
	p, err := openSessions(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.close(ctx)) }()
	var values, refs []float64
	for i := range loopbackRounds + 1 {
		b.progress.note(fmt.Sprintf("round %d of %d", i, loopbackRounds))
		runtime.GC()
		v, err := p.carry(ctx, loopbackBulk, func() []byte { return raw }, func(got []byte) error {
			if len(got) != len(raw) {
				return fmt.Errorf("%d bytes arrived of %d", len(got), len(raw))
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		runtime.GC()
		r, err := plainTCP(ctx, raw, loopbackBulk)
		if err != nil {
			return nil, fmt.Errorf("the reference: %w", err)
		}
		if i > 0 { // the first warms up
			values, refs = append(values, loopbackBulk*float64(len(raw))/megabyte/v), append(refs, loopbackBulk*float64(len(raw))/megabyte/r)
		}
	}
	return []figure{{name: "tcpcl.loopback_1m", value: median(values), unit: "MB/s", reference: median(refs)}}, nil
}

// plainTCP moves raw so many times over a TCP connection and returns the seconds that
// it takes until the other end has said that it has all.
func plainTCP(ctx context.Context, raw []byte, count int) (float64, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	var dialer net.Dialer
	from, err := dialer.DialContext(ctx, "tcp", l.Addr().String())
	if err != nil {
		return 0, err
	}
	defer from.Close()
	to, err := l.Accept()
	if err != nil {
		return 0, err
	}
	defer to.Close()
	var group errgroup.Group
	begin := time.Now()
	group.Go(func() error {
		got := make([]byte, len(raw))
		for range count {
			if _, err := io.ReadFull(to, got); err != nil {
				return err
			}
		}
		_, err := to.Write(got[:1])
		return err
	})
	group.Go(func() error {
		for range count {
			if _, err := from.Write(raw); err != nil {
				return err
			}
		}
		_, err := io.ReadFull(from, make([]byte, 1))
		return err
	})
	err = group.Wait()
	return time.Since(begin).Seconds(), err
}

// loopback1k moves bundles that are encoded for it and decoded and checked after it,
// which is what the sessions of dtn7-go do for theirs.
func loopback1k(ctx context.Context, b *bench) (figures []figure, err error) {
	payload := bytes.Repeat([]byte("0123456789"), 100)
	sample := fiveBlocks(payload)
	p, err := openSessions(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.close(ctx)) }()
	var raw []byte
	next := func() []byte {
		sample.Primary.Created.Sequence++
		raw = sample.Append(raw[:0], payload)
		return raw
	}
	var got bundle.Bundle
	take := func(raw []byte) error {
		if _, err := got.Decode(raw, bundle.DefaultLimits()); err != nil {
			return err
		}
		return got.Check()
	}
	var values, refs []float64
	for i := range loopbackRounds + 1 {
		b.progress.note(fmt.Sprintf("round %d of %d", i, loopbackRounds))
		runtime.GC()
		v, err := p.carry(ctx, loopbackSmall, next, take)
		if err != nil {
			return nil, err
		}
		if i > 0 { // the first warms up
			values = append(values, loopbackSmall/v)
		}
		if i%(loopbackRounds/stockTurns) == 0 && len(refs) < stockTurns {
			r, err := b.stockTCPCL(ctx)
			if err != nil {
				return nil, fmt.Errorf("the reference: %w", err)
			}
			refs = append(refs, r)
		}
	}
	return []figure{{name: "tcpcl.loopback_1k", value: median(values), unit: "bundles/s", reference: median(refs)}}, nil
}
