package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"perigee/bundle/contact"
	"perigee/testbed/link"
)

func emuMeasures() []measure {
	return []measure{{
		name: "emu.tun",
		what: "the tun emulator, held against its own settings by real sockets at its ends",
		bars: map[string]bar{
			"emu.tun_rate_error":  {value: limit{3, atMost}},
			"emu.tun_delay_error": {value: limit{1, atMost}},
			"emu.tun_loss_error":  {value: limit{10, atMost}},
			"emu.tun_cut":         {value: limit{1, atLeast}},
		},
		take: emuTun,
	}}
}

// emuTurns is how often each setting is tried; its error is the median.
const emuTurns = 3

// emuTun measures the tun backend. Of several settings the one counts that is kept
// worst.
func emuTun(ctx context.Context, b *bench) ([]figure, error) {
	if err := link.NewTun(nil).Probe(ctx); err != nil {
		return nil, fmt.Errorf("%w; run it as root on a machine with /dev/net/tun", err)
	}
	pair, err := newUDPPair(ctx)
	if err != nil {
		return nil, err
	}
	defer pair.close()
	var figures []figure
	for _, part := range []struct {
		note string
		take func(context.Context) ([]figure, error)
	}{
		{"rate", pair.rateError}, {"delay", pair.delayError}, {"loss", pair.lossError}, {"a cut", emuCut}, {"capacity", emuCapacity},
	} {
		b.progress.note(part.note)
		taken, err := part.take(ctx)
		if err != nil {
			return figures, fmt.Errorf("%s: %w", part.note, err)
		}
		figures = append(figures, taken...)
	}
	return figures, nil
}

// worst tries lanes several times each and returns the largest of the medians of their
// errors.
func (p *udpPair) worst(ctx context.Context, lanes []link.Lane, try func(context.Context, link.Lane) (float64, error)) (float64, error) {
	most := 0.0
	for _, lane := range lanes {
		if err := p.link.Set(ctx, link.Shape{Out: lane}); err != nil {
			return 0, err
		}
		var turns []float64
		for range emuTurns {
			e, err := try(ctx, lane)
			if err != nil {
				return 0, err
			}
			turns = append(turns, e)
		}
		most = max(most, median(turns))
	}
	return most, nil
}

// rateError floods lanes of several rates and compares what arrives.
func (p *udpPair) rateError(ctx context.Context) ([]figure, error) {
	var lanes []link.Lane
	for _, rate := range []contact.BitRate{100 * contact.KilobitPerSecond, 10 * contact.MegabitPerSecond, 100 * contact.MegabitPerSecond} {
		// A short queue, which is soon empty afterwards.
		lanes = append(lanes, link.Lane{Rate: rate, Queue: link.Queue{Bytes: max(4*fullPacket, int64(rate)/8/5)}})
	}
	e, err := p.worst(ctx, lanes, func(ctx context.Context, l link.Lane) (float64, error) {
		got, err := p.flood(ctx, l.Rate)
		return 100 * math.Abs(got/float64(l.Rate)-1), err
	})
	return []figure{{name: "emu.tun_rate_error", value: e, unit: "%"}}, err
}

// flood sends more than a lane carries and returns how much arrives in bit/s, as
// packets of IP.
func (p *udpPair) flood(ctx context.Context, rate contact.BitRate) (float64, error) {
	// A quarter more than there is room for, so that the queue is never empty.
	perSecond := float64(rate) / 8 / fullPacket * 1.25
	var first, last time.Time
	packets := 0
	err := p.exchange(ctx, max(20, int(perSecond)), perSecond, fullPacket-ipHeaders, nil, func(at time.Time, _ []byte) {
		if packets == 0 {
			first = at
		}
		last = at
		packets++
	})
	if err != nil {
		return 0, err
	}
	if packets < 10 {
		return 0, fmt.Errorf("only %d packets arrived at %d bit/s", packets, rate)
	}
	return float64(packets-1) * fullPacket * 8 / last.Sub(first).Seconds(), nil
}

// delayError sends a packet every other millisecond and compares when it arrives.
func (p *udpPair) delayError(ctx context.Context) ([]figure, error) {
	lanes := []link.Lane{{Delay: time.Millisecond}, {Delay: 8 * time.Millisecond}, {Delay: 250 * time.Millisecond}}
	var all []float64
	e, err := p.worst(ctx, lanes, func(ctx context.Context, l link.Lane) (float64, error) {
		differences, err := p.probe(ctx, l.Delay)
		if err != nil {
			return 0, err
		}
		all = append(all, differences...)
		return median(differences), nil
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(all)
	return []figure{
		{name: "emu.tun_delay_error", value: e, unit: "ms"},
		{name: "emu.tun_delay_p99", value: all[len(all)*99/100], unit: "ms"},
	}, nil
}

// probe returns by how many milliseconds the delays of packets differ from delay.
func (p *udpPair) probe(ctx context.Context, delay time.Duration) ([]float64, error) {
	const probes = 250
	begun := time.Now()
	var differences []float64
	stamp := func(data []byte) { binary.BigEndian.PutUint64(data, uint64(time.Since(begun))) }
	err := p.exchange(ctx, probes, 500, 64, stamp, func(at time.Time, data []byte) {
		took := at.Sub(begun) - time.Duration(binary.BigEndian.Uint64(data))
		differences = append(differences, math.Abs((took-delay).Seconds()*1000))
	})
	if err == nil && len(differences) != probes {
		err = fmt.Errorf("%d of %d packets arrived over a link without loss", len(differences), probes)
	}
	return differences, err
}

// lossError sends many packets and compares how many arrive.
func (p *udpPair) lossError(ctx context.Context) ([]figure, error) {
	const packets, perSecond = 200_000, 100_000
	lanes := []link.Lane{{Loss: link.Loss{Mean: 0.01}}, {Loss: link.Loss{Mean: 0.02, Burst: 5}}}
	e, err := p.worst(ctx, lanes, func(ctx context.Context, l link.Lane) (float64, error) {
		arrived := 0
		err := p.exchange(ctx, packets, perSecond, 64, nil, func(time.Time, []byte) { arrived++ })
		return 100 * math.Abs((1-float64(arrived)/packets)/l.Loss.Mean-1), err
	})
	return []figure{{name: "emu.tun_loss_error", value: e, unit: "%"}}, err
}

// emuCut sends over TCP connections while the link is cut for three seconds: they must
// go on afterwards, with every byte.
func emuCut(ctx context.Context) ([]figure, error) {
	const connections, before, cut, patience = 3, time.Second, 3 * time.Second, 20 * time.Second
	lane := link.Lane{Rate: 10 * contact.MegabitPerSecond, Delay: 8 * time.Millisecond}
	l, err := upTun(ctx, link.Config{Shape: link.Shape{Out: lane, Back: lane}})
	if err != nil {
		return nil, err
	}
	var streams []*stream
	defer func() { closeStreams(streams, l) }()
	for range connections {
		s, err := newStream(ctx, l)
		if err != nil {
			return nil, err
		}
		s.start()
		streams = append(streams, s)
	}
	if err := wait(ctx, before); err != nil {
		return nil, err
	}
	if err := link.Cut(ctx, l, cut); err != nil {
		return nil, err
	}
	end := time.Now()
	survived, resumed := 1.0, []float64{}
	for _, s := range streams {
		after, err := s.resumes(ctx, end.Add(patience))
		if err != nil {
			if ctx.Err() != nil {
				return nil, err
			}
			survived = 0
			continue
		}
		resumed = append(resumed, max(0, after.Sub(end).Seconds()))
	}
	figures := []figure{{name: "emu.tun_cut", value: survived, unit: "1 for yes"}}
	if len(resumed) > 0 {
		figures = append(figures, figure{name: "emu.tun_cut_resume", value: median(resumed), unit: "s"})
	}
	return figures, nil
}

// emuCapacity sends over TCP as fast as the machine can.
func emuCapacity(ctx context.Context) ([]figure, error) {
	const span = time.Second
	var turns []float64
	for range emuTurns {
		rate, err := fullSpeed(ctx, span)
		if err != nil {
			return nil, err
		}
		turns = append(turns, rate/1e9)
	}
	return []figure{{name: "emu.tun_capacity", value: median(turns), unit: "Gbit/s"}}, nil
}

// fullSpeed returns what one TCP connection carries over a link without a rate, in
// bit/s of its payload.
func fullSpeed(ctx context.Context, span time.Duration) (float64, error) {
	l, err := upTun(ctx, link.Config{})
	if err != nil {
		return 0, err
	}
	s, err := newStream(ctx, l)
	if err != nil {
		return 0, errors.Join(err, l.Down(context.WithoutCancel(ctx)))
	}
	defer closeStreams([]*stream{s}, l)
	s.start()
	// Past the start of TCP.
	if err := wait(ctx, span/3); err != nil {
		return 0, err
	}
	from, begun := s.received.Load(), time.Now()
	if err := wait(ctx, span); err != nil {
		return 0, err
	}
	return float64(s.received.Load()-from) * 8 / time.Since(begun).Seconds(), nil
}
