package node

import (
	"context"
	"errors"
	"testing"

	"perigee/bundle/app"
)

// A watcher that falls behind is told how much it missed. One of links misses nothing
// because of bundles.
func TestHubTellsWhatIsLost(t *testing.T) {
	h := newHub()
	behind := make(chan struct{}) // closed when the watchers may go on
	enough := errors.New("enough")
	type outcome struct {
		seen, lost int64
		err        error
	}
	watch := func(wanted func(app.EventKind) bool, until app.EventKind) chan outcome {
		result := make(chan outcome, 1)
		go func() {
			var o outcome
			o.err = h.watch(context.Background(), wanted, func(e app.Event) error {
				<-behind
				switch e.Kind {
				case app.EventLost:
					o.lost += e.Count
				case until:
					return enough
				default:
					o.seen++
				}
				return nil
			})
			result <- o
		}()
		return result
	}
	all := watch(nil, app.EventDeleted)
	links := watch(app.EventKind.IsOfLink, app.EventLinkDown)
	eventually(t, "both watch", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.watchers) == 2
	})
	const flood = 5 * watcherQueue
	for range flood {
		h.publish(app.Event{Kind: app.EventReceived})
	}
	h.publish(app.Event{Kind: app.EventLinkUp})
	h.publish(app.Event{Kind: app.EventLinkDown})
	close(behind)
	if got := <-links; got.seen != 1 || got.lost != 0 || !errors.Is(got.err, enough) {
		t.Errorf("the watcher of links has %+v, want 1 seen and nothing lost", got)
	}
	var got outcome
	for done := false; !done; { // until there is room again
		h.publish(app.Event{Kind: app.EventDeleted})
		select {
		case got = <-all:
			done = true
		default:
		}
	}
	if total := got.seen + got.lost; got.lost == 0 || total < flood+2 || !errors.Is(got.err, enough) {
		t.Errorf("the watcher of all has %+v, want %d seen or lost", got, flood+2)
	}
}
