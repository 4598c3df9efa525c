package ground

import (
	"errors"
	"fmt"
	"time"

	"perigee/bundle/dtntime"
	"perigee/models/gate"
)

// MetricNumOfSamples is the metric of TriggerConfig: labelled samples since the
// last round.
const MetricNumOfSamples = "num_of_samples"

// TriggerConfig says when a round of training begins, in Sedna's words: when
// Condition holds and the time of day is within Timer.
type TriggerConfig struct {
	Condition gate.Condition `toml:"condition"` // num_of_samples >= 40
	Timer     Timer          `toml:"timer"`     // always
}

// Timer is a window of the day in UTC, "02:00" to "20:00". The minutes of both
// ends are within it. It goes over midnight when End is before Start, and is open
// all day when both are empty.
type Timer struct {
	Start string `toml:"start"`
	End   string `toml:"end"`
}

const minutesADay = 24 * 60

// parse returns the ends in minutes since midnight.
func (t Timer) parse() (start, end int, err error) {
	if t == (Timer{}) {
		return 0, minutesADay, nil
	}
	if start, err = minuteOf(t.Start); err != nil {
		return 0, 0, fmt.Errorf("start: %w", err)
	}
	if end, err = minuteOf(t.End); err != nil {
		return 0, 0, fmt.Errorf("end: %w", err)
	}
	return start, end, nil
}

func minuteOf(clock string) (int, error) {
	if clock == "24:00" {
		return minutesADay, nil
	}
	at, err := time.Parse("15:04", clock)
	if err != nil || len(clock) != len("15:04") {
		return 0, fmt.Errorf("%.20q is no time of day, want one from 00:00 to 24:00", clock)
	}
	return 60*at.Hour() + at.Minute(), nil
}

// isOpen tells whether now is within the window. A window that does not parse is
// never open.
func (t Timer) isOpen(now dtntime.Time) bool {
	start, end, err := t.parse()
	if err != nil {
		return false
	}
	at := now.Time().UTC()
	minute := 60*at.Hour() + at.Minute()
	if start > end {
		return start <= minute || minute <= end
	}
	return start <= minute && minute <= end
}

func (t *TriggerConfig) validate(most int) error {
	if err := t.Condition.Validate([]string{MetricNumOfSamples}); err != nil {
		return fmt.Errorf("trigger.condition: %w", err)
	}
	if _, _, err := t.Timer.parse(); err != nil {
		return fmt.Errorf("trigger.timer: %w", err)
	}
	if t.Condition.Holds(0) || t.Condition.Holds(1) {
		return errors.New("trigger.condition holds with less than 2 samples, of which one must judge: raise the threshold")
	}
	for n := 2; n <= most; n++ {
		if t.Condition.Holds(float64(n)) {
			return nil
		}
	}
	return fmt.Errorf("trigger.condition asks for %s %s %v, but no more than samples.max = %d samples are kept",
		t.Condition.Metric, t.Condition.Operator, t.Condition.Threshold, most)
}

// awaited says what a round waits for, or "" when it may begin: fresh labelled
// samples have come since the last one, of which some are on either side.
func (g *Ground) awaited(fresh int, s *sides) string {
	c := &g.cfg.Trigger
	switch {
	case !c.Condition.Holds(float64(fresh)):
		return fmt.Sprintf("%s is %d, want %s %v", c.Condition.Metric, fresh, c.Condition.Operator, c.Condition.Threshold)
	case len(s.Learn) == 0:
		return "no sample is there to learn from"
	case len(s.Judge) < g.cfg.Deploy.Pictures:
		return fmt.Sprintf("%d held-out samples are there to judge the network, want %d", len(s.Judge), g.cfg.Deploy.Pictures)
	case !c.Timer.isOpen(g.clock.Now()):
		return fmt.Sprintf("it is not between %s and %s UTC", c.Timer.Start, c.Timer.End)
	}
	return ""
}
