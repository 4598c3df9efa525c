package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// measure is one thing that is measured. A measure may have several results, whose
// names begin with its own.
type measure struct {
	name string
	what string // in a few words, for people
	bars map[string]bar
	take func(ctx context.Context, b *bench) ([]figure, error)
	idle bool // it waits for a clock, so those that follow are taken meanwhile
}

// measures lists what is measured in a suite, in the order in which it is; nothing
// when there is no such suite.
func measures(suite string) []measure {
	switch suite {
	case suiteNode:
		return slices.Concat(codecMeasures(), storeMeasures(), nodeMeasures(), tcpclMeasures(), ltpMeasures(), emuMeasures(), spaceMeasures(), orbitMeasures(), routeMeasures(), schedMeasures(), simMeasures(), labMeasures(), growthMeasures())
	case suiteLearning:
		return slices.Concat(engineMeasures(), trainMeasures(), deltaMeasures(), labelMeasures(), activateMeasures())
	}
	return nil
}

// The suites: how bundles are carried, and how networks are run and taught.
const (
	suiteNode     = "node"
	suiteLearning = "learning"
)

// choose returns the measures that have a name with the given prefix.
func choose(all []measure, prefix string) []measure {
	var chosen []measure
	for _, m := range all {
		if strings.HasPrefix(m.name, prefix) {
			chosen = append(chosen, m)
		}
	}
	return chosen
}

// figure is what was measured. Reference is zero when there is none.
type figure struct {
	name      string
	value     float64
	unit      string
	reference float64
	note      string // what else there is to say
}

// errSkipped is the outcome of a measure that cannot be taken here. It is no failure.
var errSkipped = errors.New("skipped")

// ratio is the value in units of the reference, or 0 when there is none.
func (f figure) ratio() float64 {
	if f.reference == 0 {
		return 0
	}
	return f.value / f.reference
}

// bar is what a figure must reach: limits on its value and on its ratio. The zero
// bar is none.
type bar struct{ value, ratio limit }

// limit is a bound that a number may reach and not pass; the zero limit is none.
type limit struct {
	bound float64
	side  side
}

type side int

const (
	unbounded side = iota
	atLeast
	atMost
)

func (l limit) holds(x float64) bool {
	switch l.side {
	case atLeast:
		return x >= l.bound
	case atMost:
		return x <= l.bound
	}
	return true
}

func (l limit) describe(what string) string {
	sign := ">="
	if l.side == atMost {
		sign = "<="
	}
	return what + " " + sign + " " + strconv.FormatFloat(l.bound, 'g', -1, 64)
}

// String is the bar in words, such as "ratio >= 50, value >= 4000".
func (b bar) String() string {
	var parts []string
	if b.ratio.side != unbounded {
		parts = append(parts, b.ratio.describe("ratio"))
	}
	if b.value.side != unbounded {
		parts = append(parts, b.value.describe("value"))
	}
	return strings.Join(parts, ", ")
}

// judge tells whether f reaches the bar. A ratio without a reference reaches none.
func (b bar) judge(f figure) bool {
	if b.ratio.side != unbounded && f.reference == 0 {
		return false
	}
	return b.value.holds(f.value) && b.ratio.holds(f.ratio())
}

// bench is a run of the program.
type bench struct {
	dir      string // for whatever a measure leaves behind
	perigeed string
	profile  string // folder for CPU profiles of the daemons, or empty
	progress *progress

	day *simulation // the last run of scenario24x3
}

// folder returns a fresh folder for one part of a measure.
func (b *bench) folder(name string) (string, error) {
	dir, err := os.MkdirTemp(b.dir, strings.ReplaceAll(name, ".", "-")+"-")
	if err != nil {
		return "", fmt.Errorf("making a folder for %s: %w", name, err)
	}
	return dir, nil
}

// profileFile names the file for a profile of a daemon, or is empty when none is
// wanted.
func (b *bench) profileFile(name string) string {
	if b.profile == "" {
		return ""
	}
	return filepath.Join(b.profile, name+".pprof")
}

// outcome is what came of a measure.
type outcome struct {
	measure
	figures []figure
	err     error
}

// takeAll takes the measures one after the other, and idle ones beside those that
// follow. One that fails does not keep the others from being taken, unless ctx has
// ended.
func (b *bench) takeAll(ctx context.Context, chosen []measure) ([]result, error) {
	var results []result
	var failed error
	show := func(o outcome) {
		shown, err := b.show(o)
		results, failed = append(results, shown...), errors.Join(failed, err)
	}
	idle, waiting := make(chan outcome, len(chosen)), 0
	for _, m := range chosen {
		take := func() outcome {
			figures, err := m.take(ctx, b)
			return outcome{m, figures, err}
		}
		switch {
		case ctx.Err() != nil:
		case m.idle:
			waiting++
			go func() { idle <- take() }()
		default:
			b.progress.begin(m.name)
			show(take())
		}
	}
	for range waiting {
		b.progress.begin("waiting")
		show(<-idle)
	}
	b.progress.end()
	return results, failed
}

// show judges and prints what came of a measure. One that was skipped has not failed.
func (b *bench) show(o outcome) (results []result, failed error) {
	for _, f := range o.figures {
		r := judged(f, o.bars[f.name])
		results = append(results, r)
		b.progress.done(r)
	}
	switch {
	case errors.Is(o.err, errSkipped):
		b.progress.say(fmt.Sprintf("%s: %v", o.name, o.err))
	case o.err != nil:
		failed = fmt.Errorf("measuring %s: %w", o.name, o.err)
		b.progress.say(failed.Error())
	}
	return results, failed
}

// missed says which bars were missed.
func missed(results []result) error {
	var names []string
	for _, r := range results {
		if !r.Pass {
			names = append(names, r.Name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", errMissed, strings.Join(names, ", "))
}

// median of values, which are at least one.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}
