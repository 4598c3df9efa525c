package link

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"perigee/bundle/contact"
)

// broken is a backend that does not work here.
type broken struct{ Backend }

func (broken) Probe(context.Context) error { return fmt.Errorf("%w: no such thing", ErrUnavailable) }

func TestChoose(t *testing.T) {
	run := (&script{}).run
	backends := []Backend{broken{NewNetem(run)}, NewNetns(run), ProxyBackend{}}
	plain := Config{Target: "127.0.0.1:1"}
	delayed := Config{Target: "127.0.0.1:1", Shape: Shape{Out: Lane{Delay: time.Second}}}
	lossy := Config{Target: "127.0.0.1:1", Shape: Shape{Back: Lane{Loss: Loss{Mean: 0.1}}}}
	for _, test := range []struct {
		backends []Backend
		name     string
		config   Config
		want     string // the name of the backend or part of the error
	}{
		{backends, Auto, plain, netns},
		{backends, Auto, delayed, proxy},
		{backends, Auto, lossy, "netns has no loss"},
		{backends, netem, lossy, "no such thing"},
		{backends, netns, delayed, "netns has no delay"},
		{backends, netns, plain, netns},
		{backends, proxy, Config{}, "relay connections to"},
		{backends, "magic", plain, `no link backend "magic"`},
		{backends, Auto, Config{MTU: 1}, "MTU of 1 bytes"},
		{[]Backend{NewNetem(run), NewNetns(run)}, Auto, plain, netem},
	} {
		got := ""
		b, err := choose(t.Context(), test.backends, test.name, test.config)
		if err != nil {
			got = err.Error()
		} else {
			got = b.Name()
		}
		if !strings.Contains(got, test.want) || err == nil && got != test.want {
			t.Errorf("%s for %+v: %q, want %q", test.name, test.config, got, test.want)
		}
	}
}

func TestChecks(t *testing.T) {
	nan := math.NaN()
	good := Lane{
		Rate: contact.MegabitPerSecond, Delay: time.Second, Jitter: time.Second, Loss: Loss{Mean: 0.5, Burst: 1}, Duplicate: 1,
		Queue: Queue{Bytes: 1, Packets: 1},
	}
	if err := NewTun(nil).Check(Config{Shape: Shape{Out: good, Back: good}, MTU: MinMTU, Left: "a", Right: "b", KeepQueue: true, KeepFlight: true}); err != nil {
		t.Error(err)
	}
	for _, bad := range []Lane{
		{Rate: MaxRate + 1},
		{Delay: -1},
		{Delay: MaxDelay + 1},
		{Jitter: 1},
		{Delay: 1, Jitter: -1},
		{Loss: Loss{Mean: -0.1}},
		{Loss: Loss{Mean: 1.1}},
		{Loss: Loss{Mean: nan}},
		{Loss: Loss{Mean: 0.1, Burst: 0.5}},
		{Loss: Loss{Mean: 0.1, Burst: nan}},
		{Loss: Loss{Mean: 0.6, Burst: 1}},
		{Duplicate: 2},
		{Duplicate: nan},
		{Queue: Queue{Bytes: -1}},
		{Queue: Queue{Packets: -1}},
	} {
		for _, b := range []Backend{NewTun(nil), NewNetem(nil), NewNetns(nil), ProxyBackend{}} {
			for _, s := range []Shape{{Out: bad}, {Back: bad}} {
				if err := b.Check(Config{Shape: s, Target: "x:1"}); err == nil || errors.Is(err, ErrUnsupported) {
					t.Errorf("%s takes %+v: %v", b.Name(), s, err)
				}
			}
		}
	}
	for _, bad := range []Config{
		{MTU: MinMTU - 1},
		{MTU: MaxMTU + 1},
		{Left: "-x"},
		{Left: "a/b"},
		{Right: strings.Repeat("x", 65)},
		{Left: "a", Right: "a"},
	} {
		if err := NewTun(nil).Check(bad); err == nil || errors.Is(err, ErrUnsupported) {
			t.Errorf("takes %+v: %v", bad, err)
		}
	}
	if err := NewTun(nil).Check(Config{Shape: Shape{Out: Lane{Rate: contact.GigabitPerSecond, Delay: time.Minute}}}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("more in flight than memory: %v", err)
	}
}

// TestBackendsRefuse asks each backend for what it lacks.
func TestBackendsRefuse(t *testing.T) {
	lane := func(l Lane) Config { return Config{Target: "x:1", Shape: Shape{Back: l}} }
	for f, c := range map[feature]Config{
		hasDelay:       lane(Lane{Delay: 1}),
		hasJitter:      lane(Lane{Delay: 1, Jitter: 1}),
		hasLoss:        lane(Lane{Loss: Loss{Mean: 1}}),
		hasDuplication: lane(Lane{Duplicate: 1}),
		hasQueueLimit:  lane(Lane{Queue: Queue{Packets: 1}}),
		hasTwoLimits:   lane(Lane{Queue: Queue{Packets: 1, Bytes: 1}}),
		hasKeptQueue:   {Target: "x:1", KeepQueue: true},
		hasKeptFlight:  {Target: "x:1", KeepFlight: true},
		hasMTU:         {Target: "x:1", MTU: 9000},
		hasNames:       {Target: "x:1", Right: "ground"},
	} {
		for _, test := range []struct {
			backend Backend
			has     []feature
		}{
			{NewTun(nil), []feature{hasDelay, hasJitter, hasLoss, hasDuplication, hasQueueLimit, hasTwoLimits, hasKeptQueue, hasKeptFlight, hasMTU, hasNames}},
			{NewNetem(nil), []feature{hasDelay, hasJitter, hasLoss, hasDuplication, hasQueueLimit, hasMTU, hasNames}},
			{NewNetns(nil), []feature{hasQueueLimit, hasMTU, hasNames}},
			{ProxyBackend{}, []feature{hasDelay}},
		} {
			can := slices.Contains(test.has, f)
			if err := test.backend.Check(c); can != (err == nil) || !can && !errors.Is(err, ErrUnsupported) {
				t.Errorf("%s, %s: %v", test.backend.Name(), f, err)
			}
		}
	}
}
