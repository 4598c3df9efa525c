package node

import (
	"context"
	"errors"
	"sync"
	"time"

	"perigee/bundle/dtntime"
	"perigee/convergence"
)

// Pauses from one attempt to open a session to the next, which double. A session that
// lasted for maxPause begins them anew.
const (
	firstPause  = 200 * time.Millisecond
	maxPause    = 5 * time.Second
	dialTimeout = 10 * time.Second
)

// dialer opens sessions with one neighbour while the core wants one and there is none.
type dialer struct {
	node   *Node
	link   Link
	change signal // it is wanted, or not
	ended  signal // a session with the neighbour has ended

	mu     sync.Mutex // guards the rest
	wanted bool
	anew   bool // wanted once more: the next attempt does not wait
}

func newDialer(n *Node, l Link) *dialer {
	return &dialer{node: n, link: l, change: make(signal, 1), ended: make(signal, 1)}
}

// want starts or stops the dialer. It never blocks. One that runs tries at once.
func (d *dialer) want(on bool) {
	d.mu.Lock()
	d.wanted, d.anew = on, on
	d.mu.Unlock()
	d.change.notify()
}

func (d *dialer) isWanted() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.wanted
}

// isAnew tells whether the dialer was started once more since it was last asked.
func (d *dialer) isAnew() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	was := d.anew
	d.anew = false
	return was
}

// run keeps a session open while one is wanted, until ctx ends.
func (d *dialer) run(ctx context.Context) {
	pause := firstPause
	for ctx.Err() == nil {
		if !d.isWanted() || d.node.hasSession(d.link.Peer) {
			select {
			case <-d.change:
			case <-d.ended:
			case <-ctx.Done():
			}
			continue
		}
		if d.isAnew() {
			pause = firstPause
		}
		began := time.Now()
		if d.try(ctx) && time.Since(began) >= maxPause {
			pause = firstPause
			continue
		}
		d.rest(ctx, pause-time.Since(began))
		pause = min(2*pause, maxPause)
	}
}

// try opens a session and serves it to its end, and tells whether there was one.
func (d *dialer) try(ctx context.Context) bool {
	sess, err := d.dial(ctx)
	if err == nil {
		d.node.serve(ctx, sess, d.link.Layer, true)
		return true
	}
	d.node.log.Debug("could not open a session", "peer", d.link.Peer, "address", d.link.Address, "error", err)
	if d.isWanted() && ctx.Err() == nil && !errors.Is(err, convergence.ErrOpen) {
		d.node.failed(d.link.Peer, err)
	}
	return false
}

// rest waits before the next attempt, unless that is to be made at once.
func (d *dialer) rest(ctx context.Context, pause time.Duration) {
	d.node.retryAt(d.link.Peer, d.node.now().Add(dtntime.Of(max(pause, 0))))
	defer d.node.retryAt(d.link.Peer, 0)
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for d.mayRest() {
		select {
		case <-timer.C:
			return
		case <-d.change:
		case <-ctx.Done():
			return
		}
	}
}

// mayRest tells whether the next attempt need not be made at once.
func (d *dialer) mayRest() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.wanted && !d.anew
}

// dial tries once, for as long as the session is wanted.
func (d *dialer) dial(ctx context.Context) (convergence.Session, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	watched := make(chan struct{})
	defer func() { <-watched }()
	done := make(chan struct{})
	defer close(done)
	go func() {
		defer close(watched)
		for {
			select {
			case <-d.change:
				if !d.isWanted() {
					cancel()
					return
				}
			case <-done:
				return
			}
		}
	}()
	return d.link.Dialer.Dial(ctx, d.link.Address)
}
