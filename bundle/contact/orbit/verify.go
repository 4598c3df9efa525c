package orbit

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Verdict is how one satellite of the published test cases fares.
type Verdict struct {
	Satellite string
	States    int     // that were compared
	Position  float64 // the largest difference, in kilometres
	Velocity  float64 // the same, in kilometres a second
	// Failure is the code of the error at which propagation ends, 0 for none.
	Failure int
}

// Verify holds the propagator against the test cases that are published with AIAA
// 2006-6753: element sets with a span after column 69 (SGP4-VER.TLE), and the states
// that belong to them (tcppver.out). Checksums of the cases are left out, because
// some are wrong on purpose.
func Verify(cases, states io.Reader) ([]Verdict, error) {
	all, err := readCases(cases)
	if err != nil {
		return nil, fmt.Errorf("reading the test cases: %w", err)
	}
	var verdicts []Verdict
	var p *Propagator
	scanner := bufio.NewScanner(states)
	for scanner.Scan() {
		fields := strings.Fields(scanner.Text())
		switch {
		case len(fields) == 2 && fields[1] == "xx":
			if len(verdicts) == len(all) {
				return nil, errors.New("reading the states of the test cases: there are more satellites than cases")
			}
			c := all[len(verdicts)]
			if p, err = NewPropagator(c.elements); err != nil {
				return nil, err
			}
			verdicts = append(verdicts, Verdict{Satellite: fields[0], Failure: c.failure(p)})
		case p != nil && len(fields) >= 7:
			if err := verdicts[len(verdicts)-1].compare(p, fields); err != nil {
				return nil, err
			}
		default:
			return nil, fmt.Errorf("reading the states of the test cases: %q is neither a satellite nor a state", scanner.Text())
		}
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("reading the states of the test cases: %w", err)
	}
	if len(verdicts) != len(all) {
		return nil, fmt.Errorf("there are %d test cases, but states of %d; are the files of one edition?", len(all), len(verdicts))
	}
	return verdicts, nil
}

// testCase is an element set with the minutes to propagate it to.
type testCase struct {
	elements         Elements
	start, end, step float64
}

func readCases(r io.Reader) ([]testCase, error) {
	var cases []testCase
	var first string
	scanner := bufio.NewScanner(r)
	for scanner.Scan() {
		line := scanner.Text()
		switch {
		case strings.HasPrefix(line, "1 "):
			first = line
		case strings.HasPrefix(line, "2 ") && len(line) > tleLine:
			c, err := readCase(first, line)
			if err != nil {
				return nil, err
			}
			cases = append(cases, c)
		}
	}
	return cases, scanner.Err()
}

func readCase(line1, line2 string) (testCase, error) {
	var c testCase
	if len(line1) < tleLine {
		return c, fmt.Errorf("no first line before %q", line2)
	}
	summed := func(line string) string { return line[:tleLine-1] + strconv.Itoa(Checksum(line)) }
	var err error
	if c.elements, err = ParseTLE(summed(line1), summed(line2)); err != nil {
		return c, err
	}
	if _, err := fmt.Sscan(line2[tleLine:], &c.start, &c.end, &c.step); err != nil || !(c.step > 0) {
		return c, fmt.Errorf("no start, end and step behind %q: %w", line2[:tleLine], err)
	}
	return c, nil
}

// failure propagates over the span of c until there is an error, and returns its code.
func (c testCase) failure(p *Propagator) int {
	for t := 0.; ; t += c.step {
		at := t
		if t > 0 {
			at = min(c.start+t-c.step, c.end)
		}
		var failed *PropagationError
		if _, err := p.After(at); errors.As(err, &failed) {
			return failed.Code
		}
		if t > 0 && at >= c.end {
			return 0
		}
	}
}

// compare propagates to a published state: minutes, place and velocity.
func (v *Verdict) compare(p *Propagator, fields []string) error {
	var n [7]float64
	for i := range n {
		var err error
		if n[i], err = strconv.ParseFloat(fields[i], 64); err != nil {
			return fmt.Errorf("reading a state of satellite %s: %w", v.Satellite, err)
		}
	}
	s, err := p.After(n[0])
	if err != nil && v.States == 0 && v.Failure != 0 {
		return nil // fails at its epoch, where the published state is left over from the case before
	}
	if err != nil {
		return err
	}
	v.States++
	v.Position = max(v.Position, s.Position.Sub(Vector{n[1], n[2], n[3]}).Norm())
	v.Velocity = max(v.Velocity, s.Velocity.Sub(Vector{n[4], n[5], n[6]}).Norm())
	return nil
}
