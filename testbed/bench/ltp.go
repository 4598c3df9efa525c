package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"perigee/convergence/ltp"
)

func ltpMeasures() []measure {
	return []measure{
		{
			name: "ltp.loopback_1m",
			what: "1 MB bundles over an LTP session on loopback without a rate, taken at once",
			bars: map[string]bar{"ltp.loopback_1m": {value: limit{1500, atLeast}}},
			take: ltpLoopback,
		},
		{
			name: "ltp.deep_20min",
			what: "a block of 1 MB over 20 minutes of light time, on a simulated clock, without loss and with 1 %",
			bars: map[string]bar{
				"ltp.deep_20min":       {value: limit{1.01, atMost}},
				"ltp.deep_20min_loss1": {value: limit{2.01, atMost}},
			},
			take: ltpDeep,
		},
	}
}

// enginePair closes two LTP engines.
type enginePair struct{ a, b *ltp.Engine }

func (p enginePair) Close() error { return errors.Join(p.a.Close(), p.b.Close()) }

// openLTP opens a session between two engines on loopback.
func openLTP(ctx context.Context) (*sessionPair, error) {
	far, err := ltp.Listen(ctx, "127.0.0.1:0", ltp.Config{EngineID: 2, Peers: []ltp.Peer{{EngineID: 1}}})
	if err != nil {
		return nil, err
	}
	near, err := ltp.Listen(ctx, "127.0.0.1:0", ltp.Config{EngineID: 1, Peers: []ltp.Peer{{EngineID: 2, Address: far.Addr()}}})
	if err != nil {
		return nil, errors.Join(err, far.Close())
	}
	p := &sessionPair{listener: enginePair{near, far}}
	var group errgroup.Group
	group.Go(func() (err error) {
		p.to, err = far.Listener().Accept(ctx)
		return err
	})
	group.Go(func() (err error) {
		p.from, err = near.Dialer(2, nil).Dial(ctx, "")
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, errors.Join(err, p.listener.Close())
	}
	return p, nil
}

// ltpLoopback moves bundles of 1 MB that are there in memory, as tcpcl.loopback_1m.
func ltpLoopback(ctx context.Context, b *bench) (figures []figure, err error) {
	raw := bytes.Repeat([]byte("0123456789"), megabyte/10)
	p, err := openLTP(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.close(ctx)) }()
	var values []float64
	for i := range loopbackRounds + 1 {
		b.progress.note(fmt.Sprintf("round %d of %d", i, loopbackRounds))
		runtime.GC()
		v, err := p.carry(ctx, loopbackBulk, func() []byte { return raw }, func(got []byte) error {
			if !bytes.Equal(got, raw) {
				return fmt.Errorf("%d bytes arrived that are not the %d that were sent", len(got), len(raw))
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		if i > 0 { // the first warms up
			values = append(values, loopbackBulk*float64(len(raw))*8/1e6/v)
		}
	}
	return []figure{{name: "ltp.loopback_1m", value: median(values), unit: "Mbit/s"}}, nil
}

// A deep link: what the measure sets, and how often it loses something else.
const (
	deepLight = 20 * time.Minute
	deepRate  = 1_000_000 // bit/s
	deepBlock = megabyte
	deepTurns = 21
	udpHeader = 28 // with that of IPv4
	deepLimit = 24 * time.Hour
)

// ltpDeep counts the round trips until the sender knows that a block has arrived.
func ltpDeep(_ context.Context, b *bench) ([]figure, error) {
	clean, err := deepTrips(0, 1)
	if err != nil {
		return nil, err
	}
	var lossy []float64
	for seed := range uint64(deepTurns) {
		b.progress.note(fmt.Sprintf("turn %d of %d with loss", seed+1, deepTurns))
		trips, err := deepTrips(0.01, seed)
		if err != nil {
			return nil, err
		}
		lossy = append(lossy, trips)
	}
	return []figure{
		{name: "ltp.deep_20min", value: clean, unit: "round trips"},
		{name: "ltp.deep_20min_loss1", value: median(lossy), unit: "round trips"},
	}, nil
}

// deepLink is two machines far from each other, on one simulated clock.
type deepLink struct {
	now    time.Duration
	random *rand.Rand
	loss   float64
	ends   [2]*deepEnd
}

// deepEnd is a machine and what flies towards it, in order.
type deepEnd struct {
	*ltp.Machine
	free   time.Duration // when its sender is free
	coming []deepPacket
}

type deepPacket struct {
	at   time.Duration
	data []byte
}

// deepTrips sends one block and returns how many round trips pass until it is known to
// have arrived.
func deepTrips(loss float64, seed uint64) (float64, error) {
	l := &deepLink{random: rand.New(rand.NewPCG(seed, 20)), loss: loss}
	for i := range l.ends {
		l.ends[i] = &deepEnd{Machine: ltp.NewMachine(ltp.Params{
			Local: uint64(i), Remote: uint64(1 - i), MTU: ltp.DefaultMTU, LightTime: deepLight, Margin: ltp.DefaultMargin, Rate: deepRate,
			MaxUnclaimed: ltp.DefaultMaxUnclaimed, MaxHeld: ltp.DefaultMaxHeld, MaxBlocks: 16, StreamFrom: ltp.DefaultStreamFrom,
			Probe: ltp.DefaultProbe, DeadAfter: ltp.DefaultDeadAfter, Random: l.random,
		}, 0)}
	}
	if err := l.begin(); err != nil {
		return 0, err
	}
	for l.now < deepLimit {
		delivered, err := l.step()
		if delivered || err != nil {
			return float64(l.now) / float64(2*deepLight), err
		}
	}
	return 0, fmt.Errorf("the block was not delivered within %s", deepLimit)
}

// begin hands the block over.
func (l *deepLink) begin() error {
	from := l.ends[0]
	from.Open(0)
	var block uint64
	for at := 0; at < deepBlock; {
		page := from.Page(min(64<<10, deepBlock-at))
		var err error
		if at += len(page); block == 0 {
			var u ltp.Unit
			u, err = from.Begin(deepBlock, page, false)
			block = u.Block
		} else {
			err = from.Continue(block, page)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// step does all that is to be done now, and then lets time pass.
func (l *deepLink) step() (delivered bool, err error) {
	next := deepLimit
	for i, end := range l.ends {
		for len(end.coming) > 0 && end.coming[0].at <= l.now {
			end.Feed(end.coming[0].data, l.now)
			end.coming = end.coming[1:]
		}
		end.Tick(l.now)
		if err := end.read(); err != nil {
			return false, err
		}
		for ev, ok := end.Next(); ok; ev, ok = end.Next() {
			if ev.Kind == ltp.EventDelivered {
				return true, nil
			}
			if ev.Err != nil {
				return false, ev.Err
			}
		}
		l.send(end, l.ends[1-i])
		if end.free > l.now {
			next = min(next, end.free)
		}
		if at, ok := end.NextTick(); ok {
			next = min(next, max(at, l.now+1))
		}
	}
	for _, end := range l.ends {
		if len(end.coming) > 0 {
			next = min(next, max(end.coming[0].at, l.now+1))
		}
	}
	l.now = next
	return false, nil
}

// read takes what has come.
func (e *deepEnd) read() error {
	var buf [16 << 10]byte
	for {
		u, _, ok := e.Arrival()
		if !ok {
			return nil
		}
		var err error
		for err == nil {
			_, err = e.Read(u, buf[:])
		}
		if !errors.Is(err, io.EOF) {
			return fmt.Errorf("reading the block: %w", err)
		}
		if err := e.Accept(u); err != nil {
			return err
		}
	}
}

// send lets an end send one packet after the other at the rate of the link.
func (l *deepLink) send(from, to *deepEnd) {
	for from.free <= l.now {
		data := from.Output(nil, l.now)
		if len(data) == 0 {
			return
		}
		from.free = l.now + time.Duration(len(data)+udpHeader)*8*time.Second/deepRate
		if l.random.Float64() >= l.loss {
			to.coming = append(to.coming, deepPacket{from.free + deepLight, data})
		}
	}
}
