package tcpcl

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"
)

// A peer that takes everything and acknowledges nothing gets the window, then
// nothing more.
func TestWindow(t *testing.T) {
	for _, tt := range []struct {
		name   string
		cfg    Config
		length int64
		want   int // transfers whose Send returns
	}{
		{"transfers", Config{MaxUnackedTransfers: 5}, 1000, 5},
		{"bytes", Config{MaxUnackedBytes: 10_000}, 4000, 3}, // the third crosses the limit
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tt.cfg.Keepalive = -1
				s, raw := withRawPeer(t, tt.cfg, "0")
				go io.Copy(io.Discard, raw)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				for sent := 0; ; sent++ {
					_, err := s.Send(ctx, tt.length, zeros{})
					if err == nil {
						continue
					}
					if !errors.Is(err, context.DeadlineExceeded) || sent != tt.want {
						t.Errorf("Send %d: %v; want %d and then to wait", sent, err, tt.want)
					}
					break
				}
				raw.say(t, "ack/3/0/1000000") // more than was sent: rejected, opens nothing
				if s.Err() != nil {
					t.Errorf("a full window ended the session: %v", s.Err())
				}
				if err := s.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("Close with unacknowledged bundles: got %v, want %v", err, context.DeadlineExceeded)
				}
			})
		})
	}
}
