package main

import (
	"testing"
	"time"

	"perigee/bundle/dtntime"
	"perigee/bundle/node"
)

func TestClockSteps(t *testing.T) {
	var _ node.SteppingClock = new(watchedClock)
	at := time.Unix(1_800_000_000, 0)
	for _, tt := range []struct {
		read, passed time.Duration // between two readings: by the clock, and by the steady one
		stepped      bool
	}{
		{time.Hour, time.Hour, false},
		{time.Hour + 200*time.Millisecond, time.Hour, false},
		{time.Hour, time.Second, true},
		{-time.Hour, time.Second, true},
	} {
		was, stepped := stepBetween(at, at.Add(tt.read), tt.passed)
		if stepped != tt.stepped || stepped && was != dtntime.FromTime(at.Add(tt.passed)) {
			t.Errorf("%s read in %s: stepped %v from %s", tt.read, tt.passed, stepped, was)
		}
	}
	var c watchedClock
	for range 3 {
		if was, stepped := c.Step(); stepped {
			t.Errorf("the clock stepped from %s", was)
		}
	}
}
