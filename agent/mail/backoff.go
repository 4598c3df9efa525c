package mail

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff waits longer each time: First, then twice as long as before, up to
// Most. It belongs to one goroutine.
type Backoff struct {
	First, Most time.Duration
	// Rand takes a random share of half off each wait, so that many do not come
	// back at once. Nil takes nothing off.
	Rand *rand.Rand

	last time.Duration
}

// Reset makes the next wait the first one again.
func (b *Backoff) Reset() { b.last = 0 }

// Wait waits, or returns the error of ctx when that ends.
func (b *Backoff) Wait(ctx context.Context) error { return Pause(ctx, b.next()) }

func (b *Backoff) next() time.Duration {
	b.last = min(max(2*b.last, b.First), b.Most)
	if b.Rand == nil {
		return b.last
	}
	return b.last - time.Duration(b.Rand.Int64N(int64(b.last/2)+1))
}

// Pause waits for d, or returns the error of ctx when that ends.
func Pause(ctx context.Context, d time.Duration) error {
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
