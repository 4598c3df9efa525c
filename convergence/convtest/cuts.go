package convtest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sync/errgroup"

	"perigee/convergence"
)

// Exchanges that are under way when the transport is cut: the lengths of the
// bundles that one side sends.
func largeExchange() []int64 { return []int64{10, 0, 5000, 150_000, 1} }
func smallExchange() []int64 { return []int64{10, 0, 25} }

// Every so many bytes the transport of the small exchange is cut.
const (
	everyByte = 1
	sometimes = 16 // where sessions are slow to end
)

// testCuts breaks the transport of an exchange: of a large one in some places, of a
// small one at every byte that the sender or the receiver writes.
func testCuts(t *testing.T, open func(t *testing.T) Pair) {
	for _, n := range []int64{5100, 20_000, 70_000, 131_000, 150_000, 154_000, 155_000, 155_100, 155_200, 155_300, 400_000} {
		runCut(t, open, cutting{lengths: largeExchange(), after: n})
	}
	sent, received, slow := measure(t, open)
	step := int64(everyByte)
	if slow && !full() {
		step = sometimes
	}
	for n := int64(0); n <= sent; n += step {
		runCut(t, open, cutting{lengths: smallExchange(), after: n})
	}
	for n := int64(0); n <= received; n += step {
		runCut(t, open, cutting{lengths: smallExchange(), after: n, answers: true})
	}
}

// measure says how many bytes the two sides write in the small exchange.
func measure(t *testing.T, open func(t *testing.T) Pair) (sent, received int64, slow bool) {
	t.Run("uncut", func(t *testing.T) {
		withPair(t, open, patience, func(t *testing.T, ctx context.Context, p Pair) {
			a, b := p.A.Counters(), p.B.Counters()
			for i, length := range smallExchange() {
				tr := mustSend(t, ctx, p.A, i, length)
				if err := accept(ctx, p.B, i, length); err != nil {
					t.Fatal(err)
				}
				wantWait(t, ctx, tr)
			}
			sent = int64(p.A.Counters().BytesSent - a.BytesSent)
			received = int64(p.B.Counters().BytesSent - b.BytesSent)
			slow = p.SlowToEnd
			if sent == 0 || received == 0 {
				t.Errorf("an exchange of bundles took %d bytes one way and %d the other", sent, received)
			}
		})
	})
	return sent, received, slow
}

// A cutting is an exchange and where its transport breaks.
type cutting struct {
	lengths []int64
	after   int64 // bytes from A to B
	answers bool  // A receives: what breaks is the way of the answers
}

func runCut(t *testing.T, open func(t *testing.T) Pair, c cutting) {
	what := "bytes"
	if c.answers {
		what = "bytes of answers"
	}
	t.Run(fmt.Sprintf("after %d %s", c.after, what), func(t *testing.T) {
		withPair(t, open, patience, c.run)
	})
}

// run sends bundles into a transport that breaks: no fate may be better than what
// the receiver did, and none stays open.
func (c cutting) run(t *testing.T, ctx context.Context, p Pair) {
	from, to := p.A, p.B
	if c.answers {
		from, to = p.B, p.A
	}
	p.CutAfter(c.after)
	accepted := make([]bool, len(c.lengths))
	var group errgroup.Group
	group.Go(func() error { return c.receive(ctx, to, accepted) })
	var transfers []convergence.Transfer
	for i, length := range c.lengths {
		tr, err := send(ctx, from, i, length)
		if err != nil {
			break
		}
		transfers = append(transfers, tr)
	}
	fates := make([]error, len(transfers))
	for i, tr := range transfers {
		fates[i] = tr.Wait(ctx)
	}
	p.CutAfter(0)
	cut(from)
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	var carried int64
	for i, fate := range fates {
		carried += c.lengths[i]
		impossible := carried > c.after
		if c.answers {
			impossible = c.after == 0
		}
		if fate == nil && (!accepted[i] || impossible) {
			t.Errorf("bundle %d was not accepted, yet Wait claims success", i)
		}
		if fate != nil && ctx.Err() != nil {
			t.Errorf("bundle %d: its fate stayed open: %v", i, fate)
		}
	}
}

// receive takes what comes before the cut. What was cut must not look whole.
func (c cutting) receive(ctx context.Context, to convergence.Session, accepted []bool) error {
	for i, length := range c.lengths {
		in, err := to.Receive(ctx)
		if err != nil {
			return nil // it was cut
		}
		if err := same(in, newBody(i, length)); err != nil {
			if errors.Is(err, errContent) || in.Accept() == nil {
				return fmt.Errorf("bundle %d looks whole, or could be accepted, after the cut: %w", i, err)
			}
			return nil
		}
		accepted[i] = true // decided before anyone can know
		if in.Accept() != nil {
			return nil
		}
	}
	return nil
}
