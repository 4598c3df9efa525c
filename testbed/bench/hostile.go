package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"perigee/bundle"
	"perigee/convergence"
	"perigee/convergence/tcpcl"
)

const (
	hostilePeers = 1000
	hostileTurns = 5
	hostileWarm  = time.Second // before counting begins
	hostileTime  = 3 * time.Second
	dialPause    = 200 * time.Millisecond
)

// hostile lets an honest neighbour send bundles to a listener, in turns with and
// without hostile connections to it. The listener stands in a process of its own and
// accepts what it has read; the honest neighbour opens a session anew in each turn.
// What counts is what has been acknowledged.
func hostile(ctx context.Context, b *bench) (figures []figure, err error) {
	target, err := b.startTarget(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, target.stop()) }()
	var values, refs []float64
	var sequence uint64
	for i := range hostileTurns + 1 {
		b.progress.note(fmt.Sprintf("turn %d of %d, alone", i, hostileTurns))
		r, err := honestRate(ctx, target.address, &sequence)
		if err != nil {
			return nil, err
		}
		b.progress.note(fmt.Sprintf("turn %d of %d, with hostile connections", i, hostileTurns))
		swarm := newSwarm(target.address, hostilePeers)
		v, err := honestRate(ctx, target.address, &sequence)
		seen := swarm.stop()
		if err != nil {
			return nil, fmt.Errorf("among hostile connections: %w", err)
		}
		if err := seen.plausible(); err != nil {
			return nil, err
		}
		if i > 0 { // the first warms up
			values, refs = append(values, v), append(refs, r)
		}
	}
	most, err := target.memory("VmHWM")
	if err != nil {
		return nil, err
	}
	return []figure{
		{name: "link.hostile", value: median(values), unit: "bundles/s", reference: median(refs)},
		{name: "link.hostile_rss", value: float64(most) / megabyte, unit: "MB"},
	}, nil
}

// target is the listener that is attacked.
type target struct {
	*process
	address string
}

func (b *bench) startTarget(ctx context.Context) (*target, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	dir, err := b.folder("hostile")
	if err != nil {
		return nil, err
	}
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	args := []string{targetCommand, address}
	if profile := b.profileFile("hostile-target"); profile != "" {
		args = append(args, profile)
	}
	p, err := launch(ctx, "target", dir, program, func(context.Context) error {
		_, err := os.Stat(filepath.Join(dir, targetReady))
		return err
	}, args...)
	if err != nil {
		return nil, err
	}
	return &target{p, address}, nil
}

// honestRate sends bundles of 1 kB for a while, as fast as they are taken,
// and returns how many a second were acknowledged.
func honestRate(ctx context.Context, address string, sequence *uint64) (rate float64, err error) {
	s, err := dialHonest(ctx, address)
	if err != nil {
		return 0, err
	}
	defer func() {
		closing, cancel := context.WithTimeout(ctx, linkPatience)
		defer cancel()
		err = errors.Join(err, s.Close(closing))
	}()
	var acknowledged atomic.Int64
	var ended atomic.Bool
	transfers := make(chan convergence.Transfer, 4096)
	group, sending := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(transfers)
		return sendHonest(sending, s, sequence, &ended, transfers)
	})
	group.Go(func() error { // what is sent to everybody
		return takeBundles(sending, s, 1, func([]byte) error { return nil })
	})
	group.Go(func() error {
		for t := range transfers {
			if err := t.Wait(sending); err != nil {
				return err
			}
			acknowledged.Add(1)
		}
		return nil
	})
	group.Go(func() error {
		defer ended.Store(true)
		if err := pause(sending, hostileWarm); err != nil {
			return err
		}
		before, begin := acknowledged.Load(), time.Now()
		if err := pause(sending, hostileTime); err != nil {
			return err
		}
		rate = float64(acknowledged.Load()-before) / time.Since(begin).Seconds()
		return nil
	})
	return rate, group.Wait()
}

// dialHonest opens the session, again and again as a node does.
func dialHonest(ctx context.Context, address string) (convergence.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, linkPatience)
	defer cancel()
	for {
		s, err := tcpcl.NewDialer(tcpcl.Config{NodeID: honestNode().String()}).Dial(ctx, address)
		if err == nil {
			return s, nil
		}
		if pause(ctx, dialPause) != nil {
			return nil, fmt.Errorf("the honest neighbour gets no session: %w", err)
		}
	}
}

func sendHonest(ctx context.Context, s convergence.Session, sequence *uint64, ended *atomic.Bool, sent chan<- convergence.Transfer) error {
	payload := bytes.Repeat([]byte("0123456789"), 100)
	b := fiveBlocks(payload)
	b.Primary.Source, b.Primary.Destination, b.Primary.ReportTo = honestNode().WithService(11), targetNode().WithService(11), bundle.EID{}
	var raw []byte
	var body bytes.Reader
	for !ended.Load() {
		*sequence++
		b.Primary.Created.Sequence = *sequence
		raw = b.Append(raw[:0], payload)
		body.Reset(raw)
		t, err := s.Send(ctx, int64(len(raw)), &body)
		if err != nil {
			return err
		}
		select {
		case sent <- t:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func honestNode() bundle.EID { return bundle.IPN(1, 0) }
func targetNode() bundle.EID { return bundle.IPN(2, 0) }
