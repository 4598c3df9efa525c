package core_test

import (
	"testing"

	"perigee/bundle/bundletest"
	"perigee/bundle/dtntime"
	"perigee/bundle/store"
)

// Many bundles cross a link that loses 5 % of the transfers, signals among them.
// All arrive once, and the signals about them stay few and small. BUNDLES says how
// many; 100000 take one or two minutes.
func TestCustodyOfManyBundles(t *testing.T) {
	count := fromEnv("BUNDLES", 10_000)
	const burst, pause = 100, 500 * dtntime.Millisecond
	w, a, b := pairOf(t)
	w.faults.lose = 0.05
	b.deliver = func(rec store.Record) {
		b.ack(rec)
		b.listen()
	}
	for range count / burst {
		for range burst {
			a.send(2, true, 10, bundletest.Lifetime(dtntime.Day))
		}
		w.pass(pause)
	}
	sending := w.now.Sub(start)
	for range 60 {
		if a.core.Status(0).Custody.Held == 0 {
			break
		}
		w.pass(dtntime.Minute)
	}
	if held := a.core.Status(0).Custody.Held; held != 0 {
		t.Fatalf("%d bundles are still in custody", held)
	}
	for _, id := range w.order {
		if f := w.sent[id]; f.delivered != 1 {
			t.Fatalf("%s was delivered %d times", id, f.delivered)
		}
	}
	took := w.now.Sub(start)
	signals, bytes := b.core.Status(0).Counters.SignalsSent, b.saidBytes
	t.Logf("%d bundles in %s, sent in %s; %d transmissions again; %d signals of %d bytes together",
		count, took, sending, a.core.Status(0).Counters.Retransmissions, signals, bytes)
	// One every 5 s, and one for each kilobyte: a run for each gap, of which
	// there is one in 20 bundles, takes 2 to 4 bytes, when it opens and again
	// when it closes.
	if limit := uint64(took/(5*second)) + uint64(count)/2000 + 10; signals > limit {
		t.Errorf("%d signals, want at most %d", signals, limit)
	}
	if limit := int64(count)/2 + int64(signals)*40; bytes > limit {
		t.Errorf("signals of %d bytes, want at most %d", bytes, limit)
	}
	// A signal that is lost brings again all that it spoke of.
	if again := a.core.Status(0).Counters.Retransmissions; again > uint64(count) {
		t.Errorf("%d transmissions again of %d", again, count)
	}
}
