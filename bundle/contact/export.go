package contact

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"

	"perigee/bundle"
	"perigee/bundle/dtntime"
)

// foreign is a contact in the units of ION and HDTN: numbers of nodes, and whole
// seconds in Unix time.
type foreign struct {
	from, to   uint64
	start, end uint64
	light      uint64
}

// unixTo2000 is the DTN epoch in seconds of Unix time.
const unixTo2000 = 946684800

// toForeign converts a contact. The start is rounded up and the end down, so that
// nobody sends outside of the contact; the light time is rounded up, so that nothing is
// expected sooner than it can come. What ends after 2^31-1 seconds ends there, as times
// do in both programs.
func toForeign(c Contact) (foreign, error) {
	if c.From.Scheme() != bundle.SchemeIPN || c.To.Scheme() != bundle.SchemeIPN {
		return foreign{}, errors.New("nodes have numbers there; only ipn nodes can be written")
	}
	ceil := func(ms uint64) uint64 { return ms/1000 + min(ms%1000, 1) }
	f := foreign{
		from: c.From.NodeNumber(), to: c.To.NodeNumber(),
		start: unixTo2000 + ceil(uint64(c.Start)), end: min(unixTo2000+uint64(c.End)/1000, math.MaxInt32),
		light: ceil(uint64(c.Light)),
	}
	switch {
	case f.start >= f.end:
		return foreign{}, errors.New("it holds no whole second before the year 2038, the unit and the end of times there")
	case f.light > math.MaxInt32:
		return foreign{}, errors.New("its light time is longer than can be written")
	}
	return f, nil
}

// WriteION writes p as commands of ionadmin: for each contact one "a contact" and one
// "a range", with absolute times. Rates become bytes a second, rounded down, and times
// whole seconds. The convergence layer is lost. It refuses, with an error that wraps
// ErrPlan, what ION cannot hold.
func (p *Plan) WriteION(w io.Writer) error {
	var out bytes.Buffer // whole or not at all
	for c := range p.All() {
		f, err := toForeign(c)
		if err == nil && c.Rate < 8 {
			err = errors.New("its rate is less than a byte a second, the unit there")
		}
		if err != nil {
			return fmt.Errorf("%w: writing it for ION: contact %s: %w", ErrPlan, describe(c), err)
		}
		start, end := fromUnix(f.start).Time().Format(ionTime), fromUnix(f.end).Time().Format(ionTime)
		fmt.Fprintf(&out, "a contact %s %s %d %d %d", start, end, f.from, f.to, uint64(c.Rate/8))
		if c.Confidence != 1 {
			fmt.Fprintf(&out, " %v", c.Confidence)
		}
		fmt.Fprintf(&out, "\na range %s %s %d %d %d\n", start, end, f.from, f.to, f.light)
	}
	if _, err := out.WriteTo(w); err != nil {
		return fmt.Errorf("writing contact plan for ION: %w", err)
	}
	return nil
}

func fromUnix(seconds uint64) dtntime.Time {
	return dtntime.Time((seconds - unixTo2000) * 1000)
}

// hdtnContact is a contact in an HDTN plan.
type hdtnContact struct {
	Contact        int     `json:"contact"`
	Source         uint64  `json:"source"`
	Dest           uint64  `json:"dest"`
	StartTime      uint64  `json:"startTime"`
	EndTime        uint64  `json:"endTime"`
	RateBitsPerSec BitRate `json:"rateBitsPerSec"`
	OWLT           uint64  `json:"owlt"`
}

// WriteHDTN writes p as an HDTN contact plan, with times in seconds from start, or in
// Unix time for HDTNUnix. Times and light times become whole seconds; convergence
// layers and confidences are lost. It refuses, with an error that wraps ErrPlan, what
// HDTN cannot hold.
func (p *Plan) WriteHDTN(w io.Writer, start dtntime.Time) error {
	origin := uint64(0)
	if start != HDTNUnix {
		origin = unixTo2000 + uint64(start)/1000
	}
	plan := struct {
		Contacts []hdtnContact `json:"contacts"`
	}{Contacts: []hdtnContact{}}
	for c := range p.All() {
		f, err := toForeign(c)
		if err == nil && f.start < origin {
			err = fmt.Errorf("it starts before %s, from which times count", start)
		}
		if err != nil {
			return fmt.Errorf("%w: writing it for HDTN: contact %s: %w", ErrPlan, describe(c), err)
		}
		plan.Contacts = append(plan.Contacts, hdtnContact{
			Contact: len(plan.Contacts), Source: f.from, Dest: f.to,
			StartTime: f.start - origin, EndTime: f.end - origin, RateBitsPerSec: c.Rate, OWLT: f.light,
		})
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(plan); err != nil {
		return fmt.Errorf("writing contact plan for HDTN: %w", err)
	}
	return nil
}
