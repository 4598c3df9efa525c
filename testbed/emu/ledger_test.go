package emu

import (
	"strings"
	"testing"

	"perigee/bundle"
	"perigee/testbed/sim"
)

func TestLedgerTellsWhatWasNotKept(t *testing.T) {
	traffic := &sim.Traffic{Kind: sim.Samples, From: id(1), To: id(2)}
	k := keyOf(bundle.IPN(1, 11), bundle.IPN(2, 11), []byte("picture"))
	b := bundle.ID{Source: bundle.IPN(1, 11)}
	l := newLedger()
	m, err := l.asked(traffic, k, 7, 0, start.Add(1000))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.asked(traffic, k, 7, 0, start); err == nil {
		t.Error("the same message twice was taken")
	}
	if !l.isDrained(start) {
		t.Error("what was not accepted is waited for")
	}
	l.taken(m, b)
	if l.isDrained(start) || !l.isDrained(start.Add(1000)) {
		t.Error("what was accepted is waited for until it expires")
	}
	// Handed over twice before the acknowledgement is kept: the application is told again.
	l.handed(k, b, 10)
	if l.isDrained(start) {
		t.Error("what was not acknowledged is not waited for")
	}
	if l.handed(k, b, 20) != m || m.arrived != 10 || len(l.failures) != 0 {
		t.Errorf("%+v, %v", m, l.failures)
	}
	l.settled(m)
	if !l.isDrained(start) {
		t.Error("what was acknowledged is waited for")
	}
	l.handed(k, b, 30)
	if l.twice != 1 || len(l.failures) != 1 || !strings.Contains(l.failures[0], "again") {
		t.Errorf("delivered twice: %d, %v", l.twice, l.failures)
	}
	if l.handed(keyOf(bundle.IPN(1, 11), bundle.IPN(2, 11), []byte("another")), b, 30) != nil || len(l.failures) != 2 {
		t.Errorf("a payload of nobody: %v", l.failures)
	}
}
