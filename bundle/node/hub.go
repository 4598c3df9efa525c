package node

import (
	"context"
	"sync"

	"perigee/bundle"
	"perigee/bundle/app"
)

// Limits on events.
const (
	eventMemory  = 4096 // events remembered for traces
	watcherQueue = 1024 // events that wait for one watcher
)

// hub spreads events and remembers the newest.
type hub struct {
	mu       sync.Mutex // guards the rest
	memory   []app.Event
	next     int // where the oldest event is, once memory is full
	watchers map[*watcher]bool
	closed   bool
}

type watcher struct {
	events chan app.Event
	wanted func(app.EventKind) bool // nil: all
	lost   int64
}

func newHub() *hub { return &hub{watchers: make(map[*watcher]bool)} }

// publish never blocks: a watcher that is behind loses the event and is told so.
func (h *hub) publish(e app.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.memory) < eventMemory {
		h.memory = append(h.memory, e)
	} else {
		h.memory[h.next] = e
		h.next = (h.next + 1) % eventMemory
	}
	for w := range h.watchers {
		if w.wanted != nil && !w.wanted(e.Kind) {
			continue
		}
		if w.lost > 0 {
			select {
			case w.events <- app.Event{At: e.At, Kind: app.EventLost, Count: w.lost}:
				w.lost = 0
			default:
				w.lost++
				continue
			}
		}
		select {
		case w.events <- e:
		default:
			w.lost++
		}
	}
}

// about returns the remembered events of a bundle, oldest first.
func (h *hub) about(id bundle.ID) []app.Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	events := []app.Event{}
	for i := range h.memory {
		e := h.memory[(h.next+i)%len(h.memory)]
		if e.Bundle != nil && *e.Bundle == id {
			events = append(events, e)
		}
	}
	return events
}

// watch calls see for every event of the wanted kinds until ctx ends, see fails or the
// hub closes. With nil, all kinds are wanted.
func (h *hub) watch(ctx context.Context, wanted func(app.EventKind) bool, see func(app.Event) error) error {
	w := &watcher{events: make(chan app.Event, watcherQueue), wanted: wanted}
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return app.ErrClosed
	}
	h.watchers[w] = true
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		delete(h.watchers, w)
		h.mu.Unlock()
	}()
	for {
		select {
		case e, ok := <-w.events:
			if !ok {
				return app.ErrClosed
			}
			if err := see(e); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for w := range h.watchers {
		close(w.events)
		delete(h.watchers, w)
	}
}
