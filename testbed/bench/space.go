package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"perigee/bundle"
	"perigee/bundle/contact"
	"perigee/bundle/dtntime"
	"perigee/testbed/link"
)

// The space link of the measures: what a satellite sends down, and what it hears.
const (
	spaceDown  = 100 * contact.MegabitPerSecond
	spaceUp    = 100 * contact.KilobitPerSecond
	spaceDelay = 8 * time.Millisecond
	spaceTurns = 3
	// spacePass is how long the contact of the plan is; a turn needs less.
	spacePass = 10 * dtntime.Minute
	spacePort = 4556
)

// What goes down in one turn, in some nine seconds; and by TCPCLv4, which is slower.
var (
	spaceFlow = flow{count: 110, size: megabyte, senders: 24, receivers: 24}
	slowFlow  = flow{count: 6, size: megabyte, senders: 6, receivers: 6}
)

func spaceMeasures() []measure {
	const what = "1 MB bundles under custody between two daemons, over an emulated link of 100 Mbit/s down, 0.1 Mbit/s up and 8 ms"
	return []measure{
		{
			name: "ltp.asym", what: what + ", by LTP",
			bars: map[string]bar{
				"ltp.asym": {value: limit{95, atLeast}}, "ltp.asym_return": {value: limit{1, atMost}},
				"ltp.asym_loss1": {value: limit{90, atLeast}}, "ltp.asym_loss1_return": {value: limit{1, atMost}},
				"ltp.asym_burst2": {value: limit{85, atLeast}}, "ltp.asym_burst2_return": {value: limit{1, atMost}},
			},
			take: ltpAsym,
		},
		{name: "tcpcl.asym", what: what + ", by TCPCLv4", take: tcpclAsym},
		{
			name: "link.recover_12s", what: "the same by LTP with a cut of 12 s: how long after it a bundle comes through",
			bars: map[string]bar{"link.recover_12s": {value: limit{1, atMost}}, "link.recover_12s_again": {value: limit{0, atMost}}},
			take: recover12s,
		},
	}
}

// spacePair is two daemons at the ends of an emulated space link. Bundles go down
// from a to b.
type spacePair struct {
	pair
	link link.NamespaceLink
}

// startSpace makes a link and starts a daemon at each end, with a plan that has one
// long contact.
func (b *bench) startSpace(ctx context.Context, name, layer string, loss link.Loss) (s *spacePair, err error) {
	dir, err := b.folder(name)
	if err != nil {
		return nil, err
	}
	s = &spacePair{}
	s.link, err = upTun(ctx, link.Config{Seed: 1, Shape: link.Shape{
		Out:  link.Lane{Rate: spaceDown, Delay: spaceDelay, Loss: loss},
		Back: link.Lane{Rate: spaceUp, Delay: spaceDelay, Loss: loss},
	}})
	if err != nil {
		return nil, fmt.Errorf("%w; run it as root on a machine with /dev/net/tun", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.stop())
		}
	}()
	plan, err := writePass(dir)
	if err != nil {
		return nil, err
	}
	ends := [2]link.Namespace{s.link.Left(), s.link.Right()}
	for i, d := range []**daemon{&s.b, &s.a} { // whoever listens first
		i = 1 - i
		config := table{
			"node":   table{"contact_plan": plan},
			"listen": []table{{"layer": layer, "address": fmt.Sprintf("%s:%d", ends[i].Addr, spacePort)}},
			"link": []table{{
				"peer": bundle.IPN(uint64(2-i), 0).String(), "layer": layer,
				"address": fmt.Sprintf("%s:%d", ends[1-i].Addr, spacePort),
			}},
			"ltp": table{"mtu": fullPacket - ipHeaders},
		}
		node := bundle.IPN(uint64(1+i), 0)
		part := fmt.Sprintf("%s-%d", name, 1+i)
		if *d, err = b.startDaemonBy(ctx, ends[i].Command, part, filepath.Join(dir, part), node, config); err != nil {
			return nil, err
		}
	}
	if err := s.a.await(ctx, linkPatience, s.a.linked); err != nil {
		return nil, fmt.Errorf("opening the session: %w", err)
	}
	return s, nil
}

// writePass writes a contact plan with a pass that has begun.
func writePass(dir string) (file string, err error) {
	now := dtntime.FromTime(time.Now())
	pass := func(from, to uint64, rate contact.BitRate) contact.Contact {
		return contact.Contact{
			From: bundle.IPN(from, 0), To: bundle.IPN(to, 0), Start: now, End: now.Add(spacePass), Rate: rate, Light: dtntime.Of(spaceDelay),
		}
	}
	plan, err := contact.New([]contact.Contact{pass(1, 2, spaceDown), pass(2, 1, spaceUp)})
	if err != nil {
		return "", err
	}
	file, err = filepath.Abs(filepath.Join(dir, "plan.jsonl"))
	if err != nil {
		return "", err
	}
	f, err := os.Create(file)
	if err != nil {
		return "", fmt.Errorf("writing the contact plan: %w", err)
	}
	_, err = plan.WriteTo(f)
	return file, errors.Join(err, f.Close())
}

// stop ends the daemons and takes the link down.
func (s *spacePair) stop() error {
	return errors.Join(s.pair.stop(), s.link.Down(context.Background()))
}

// share carries a flow and returns how much of the downlink was payload, in percent,
// from the first bundle that came out to the last. The start of the flow and its end
// are not the link's.
func (s *spacePair) share(ctx context.Context, f flow) (float64, error) {
	times, err := s.carry(ctx, f)
	if err != nil {
		return 0, err
	}
	span := times[len(times)-1].Sub(times[0])
	return 100 * float64(len(times)-1) * float64(f.size) * 8 / span.Seconds() / float64(spaceDown), nil
}

// asym measures a layer over a space link that loses so much.
func (b *bench) asym(ctx context.Context, name, layer string, loss link.Loss, f flow) (figures []figure, err error) {
	s, err := b.startSpace(ctx, name, layer, loss)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	var turns []float64
	for i := range spaceTurns {
		b.progress.note(fmt.Sprintf("%s: turn %d of %d", name, i+1, spaceTurns))
		share, err := s.share(ctx, f)
		if err != nil {
			return nil, err
		}
		turns = append(turns, share)
	}
	stats, err := s.link.Stats(ctx)
	if err != nil {
		return nil, err
	}
	return []figure{
		{name: name, value: median(turns), unit: "% of the link"},
		{name: name + "_return", value: 100 * float64(stats.Back.Bytes) / float64(stats.Out.Bytes), unit: "% of what went down"},
	}, nil
}

func ltpAsym(ctx context.Context, b *bench) ([]figure, error) {
	figures, err := b.asym(ctx, "ltp.asym", "ltp", link.Loss{}, spaceFlow)
	for _, lossy := range []struct {
		name string
		loss link.Loss
	}{{"ltp.asym_loss1", link.Loss{Mean: 0.01}}, {"ltp.asym_burst2", link.Loss{Mean: 0.02, Burst: 5}}} {
		if err != nil {
			return figures, err
		}
		var more []figure
		more, err = b.asym(ctx, lossy.name, "ltp", lossy.loss, spaceFlow)
		figures = append(figures, more...)
	}
	return figures, err
}

func tcpclAsym(ctx context.Context, b *bench) ([]figure, error) {
	return b.asym(ctx, "tcpcl.asym", "tcpcl", link.Loss{}, slowFlow)
}

// recover12s cuts the link in the middle of a flow.
func recover12s(ctx context.Context, b *bench) (figures []figure, err error) {
	const before, cut = 4 * time.Second, 12 * time.Second
	s, err := b.startSpace(ctx, "link.recover_12s", "ltp", link.Loss{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	var turns []float64
	for i := range spaceTurns {
		b.progress.note(fmt.Sprintf("turn %d of %d", i+1, spaceTurns))
		ended := make(chan time.Time, 1)
		go func() { // ends with ctx, or in time; carry takes longer
			defer close(ended)
			if wait(ctx, before) == nil && link.Cut(ctx, s.link, cut) == nil {
				ended <- time.Now()
			}
		}()
		times, err := s.carry(ctx, spaceFlow)
		end, ok := <-ended
		switch {
		case err != nil:
			return nil, err
		case !ok:
			return nil, errors.New("the link could not be cut")
		}
		resumed, ok := firstAfter(times, end)
		if !ok {
			return nil, errors.New("no bundle was left when the cut was over")
		}
		turns = append(turns, resumed.Sub(end).Seconds())
	}
	near, err := s.a.client.Status(ctx)
	if err != nil {
		return nil, err
	}
	far, err := s.b.client.Status(ctx)
	if err != nil {
		return nil, err
	}
	return []figure{
		{name: "link.recover_12s", value: median(turns), unit: "s"},
		{name: "link.recover_12s_again", value: float64(near.Counters.Retransmissions + far.Counters.Duplicates), unit: "bundles"},
	}, nil
}

// firstAfter is the first of sorted times that lies after t.
func firstAfter(times []time.Time, t time.Time) (time.Time, bool) {
	for _, at := range times {
		if at.After(t) {
			return at, true
		}
	}
	return time.Time{}, false
}
