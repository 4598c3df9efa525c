package agent

import (
	"context"
	"math/rand/v2"
	"time"
)

// backoff waits longer each time, as RetryConfig says. It belongs to one
// goroutine.
type backoff struct {
	first, most time.Duration
	rand        *rand.Rand
	last        time.Duration
}

func (b *backoff) reset() { b.last = 0 }

func (b *backoff) next() time.Duration {
	b.last = min(max(2*b.last, b.first), b.most)
	return b.last - time.Duration(b.rand.Int64N(int64(b.last/2)+1))
}

func (b *backoff) wait(ctx context.Context) error { return pause(ctx, b.next()) }

// pause waits for d or until ctx ends, whose error it then returns.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
