package main

import (
	"time"

	"perigee/bundle/dtntime"
)

// leastStep is what the clock must be off the steady one to count as set. Below it,
// it was merely disciplined.
const leastStep = 250 * time.Millisecond

// clock is the clock of the machine.
type clock struct{}

func (clock) Now() dtntime.Time { return dtntime.FromTime(time.Now()) }

// watchedClock is the clock of the machine, watched by the steady one that nobody
// sets. It implements node.SteppingClock, for one goroutine at a time.
type watchedClock struct {
	clock
	since time.Time
}

// Step implements node.SteppingClock.
func (c *watchedClock) Step() (was dtntime.Time, stepped bool) {
	now := time.Now()
	if c.since.IsZero() {
		c.since = now
		return 0, false
	}
	was, stepped = stepBetween(c.since, now, now.Sub(c.since))
	if stepped {
		c.since = now
	}
	return was, stepped
}

// stepBetween tells whether the clock was set between two of its readings when so
// much time has passed, and what the second would have been otherwise.
func stepBetween(before, after time.Time, passed time.Duration) (was dtntime.Time, stepped bool) {
	expected := before.Round(0).Add(passed)
	if after.Round(0).Sub(expected).Abs() < leastStep {
		return 0, false
	}
	return dtntime.FromTime(expected), true
}
