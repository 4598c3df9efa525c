package ltp

import "time"

// A timerKind says what a timer is about.
type timerKind uint8

const (
	timerCheckpoint timerKind = iota // of one of our blocks: serial number
	timerReport                      // of one of the peer's blocks: serial number
	timerCancelOut                   // of one of our blocks
	timerCancelIn                    // of one of the peer's blocks
	timerIdle                        // nothing came of one of the peer's blocks
	timerLink                        // something to say about the link
	timerTrim                        // memory to give back
)

// A timer is a deadline of something that is named, not pointed to: when it is due
// and the thing is gone, or has another deadline, the timer means nothing.
type timer struct {
	at      time.Duration
	kind    timerKind
	session uint64
	serial  uint64
}

// timers is a heap, the next one first.
type timers []timer

func (t *timers) push(v timer) {
	*t = append(*t, v)
	h := *t
	for i := len(h) - 1; i > 0; {
		up := (i - 1) / 2
		if h[up].at <= h[i].at {
			break
		}
		h[up], h[i] = h[i], h[up]
		i = up
	}
}

func (t *timers) pop() timer {
	h := *t
	first := h[0]
	n := len(h) - 1
	h[0] = h[n]
	*t = h[:n]
	for i := 0; ; {
		next := 2*i + 1
		if next >= n {
			return first
		}
		if next+1 < n && h[next+1].at < h[next].at {
			next++
		}
		if h[i].at <= h[next].at {
			return first
		}
		h[i], h[next] = h[next], h[i]
		i = next
	}
}

// An attempt is something that was sent and must be answered.
type attempt struct {
	tries    int
	again    bool // a copy follows if no answer comes, see copyAfter
	queued   bool // waits to be sent
	sent     time.Duration
	deadline time.Duration
}
