package contact

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"perigee/bundle"
	"perigee/bundle/dtntime"
)

// ionRange is an ION range: the one-way light time between two nodes for a while.
type ionRange struct {
	from, to   uint64
	start, end dtntime.Time
	light      dtntime.Duration
}

type ionPlan struct {
	reference dtntime.Time // what +seconds count from
	contacts  []Contact
	ranges    []ionRange
}

// ParseION reads the contacts of an ION plan: the lines "a contact FROM UNTIL NODE
// NODE BYTES-PER-SECOND [CONFIDENCE]", "a range FROM UNTIL NODE NODE
// LIGHT-SECONDS" and "@ TIME" of ionadmin. Times are yyyy/mm/dd-hh:mm:ss in UTC, or
// +seconds from reference or the last "@". Other lines are passed over if blank or a
// comment and refused otherwise. A contact is cut where its light time changes, and
// parts without one are left out, as ION cannot use them. Errors wrap ErrPlan and
// name the line.
func ParseION(r io.Reader, reference dtntime.Time) (*Plan, error) {
	scanner := bufio.NewScanner(r)
	scanner.Buffer(make([]byte, 0, 1024), MaxLine)
	p := ionPlan{reference: reference}
	number := 0
	for scanner.Scan() && scanner.Err() == nil {
		number++
		text, _, _ := strings.Cut(scanner.Text(), "#")
		fields := strings.Fields(text)
		if len(fields) == 0 {
			continue
		}
		if len(p.contacts)+len(p.ranges) >= MaxContacts {
			return nil, fmt.Errorf("%w: line %d: more than %d contacts and ranges", ErrPlan, number, MaxContacts)
		}
		if err := p.command(fields); err != nil {
			return nil, fmt.Errorf("%w: line %d: %w", ErrPlan, number, err)
		}
	}
	if errors.Is(scanner.Err(), bufio.ErrTooLong) {
		return nil, fmt.Errorf("%w: line %d: longer than %d bytes", ErrPlan, number+1, MaxLine)
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("reading ION contact plan after line %d: %w", number, err)
	}
	return p.plan()
}

func (p *ionPlan) command(f []string) error {
	switch {
	case f[0] == "@" && len(f) == 2:
		at, err := p.time(f[1])
		p.reference = at
		return err
	case f[0] == "a" && len(f) >= 7 && len(f) <= 8 && f[1] == "contact":
		return p.addContact(f[2:])
	case f[0] == "a" && len(f) == 7 && f[1] == "range":
		return p.addRange(f[2:])
	}
	return errors.New(`not one of "a contact", "a range" and "@", or not with its number of words`)
}

// time reads an absolute or a relative time.
func (p *ionPlan) time(s string) (dtntime.Time, error) {
	if seconds, relative := strings.CutPrefix(s, "+"); relative {
		n, err := strconv.ParseUint(seconds, 10, 40)
		if err != nil {
			return 0, fmt.Errorf("time %q is not +seconds", s)
		}
		return p.reference.Add(dtntime.Duration(n) * dtntime.Second), nil
	}
	at, err := time.Parse("2006/01/02-15:04:05", s)
	if err != nil {
		return 0, fmt.Errorf("time %q is neither yyyy/mm/dd-hh:mm:ss nor +seconds", s)
	}
	t := dtntime.FromTime(at)
	if t == 0 {
		return 0, fmt.Errorf("time %q is not after the DTN epoch, 2000-01-01", s)
	}
	return t, nil
}

// span reads the start, end and nodes that contacts and ranges begin with.
func (p *ionPlan) span(f []string) (r ionRange, err error) {
	if r.start, err = p.time(f[0]); err != nil {
		return r, err
	}
	if r.end, err = p.time(f[1]); err != nil {
		return r, err
	}
	for i, node := range []*uint64{&r.from, &r.to} {
		if *node, err = strconv.ParseUint(f[2+i], 10, 64); err != nil || *node == 0 {
			return r, fmt.Errorf("%q is not the number of a node", f[2+i])
		}
	}
	return r, nil
}

func (p *ionPlan) addContact(f []string) error {
	r, err := p.span(f)
	if err != nil {
		return err
	}
	bytes, err := strconv.ParseUint(f[4], 10, 60)
	if err != nil {
		return fmt.Errorf("%q is not a rate in bytes per second", f[4])
	}
	c := Contact{From: bundle.IPN(r.from, 0), To: bundle.IPN(r.to, 0), Start: r.start, End: r.end, Rate: BitRate(bytes) * 8}
	if len(f) == 6 {
		if c.Confidence, err = strconv.ParseFloat(f[5], 64); err != nil || c.Confidence == 0 {
			return fmt.Errorf("%q is not a confidence above 0 and at most 1", f[5])
		}
	}
	p.contacts = append(p.contacts, c)
	return normalise(&c)
}

func (p *ionPlan) addRange(f []string) error {
	r, err := p.span(f)
	if err != nil {
		return err
	}
	seconds, err := strconv.ParseUint(f[4], 10, 40)
	if err != nil {
		return fmt.Errorf("%q is not a light time in whole seconds", f[4])
	}
	if r.start >= r.end {
		return errors.New("it does not end after its start")
	}
	r.light = dtntime.Duration(seconds) * dtntime.Second
	p.ranges = append(p.ranges, r)
	return nil
}

// plan gives contacts their light times. A range from the smaller node number holds
// both ways unless there is one from the larger.
func (p *ionPlan) plan() (*Plan, error) {
	type way struct{ from, to uint64 }
	ranges := make(map[way][]ionRange)
	for _, r := range p.ranges {
		ranges[way{r.from, r.to}] = append(ranges[way{r.from, r.to}], r)
	}
	for _, list := range ranges {
		slices.SortFunc(list, func(a, b ionRange) int { return cmp.Compare(a.start, b.start) })
	}
	var contacts []Contact
	for _, c := range p.contacts {
		from, to := c.From.NodeNumber(), c.To.NodeNumber()
		list, own := ranges[way{from, to}]
		if !own && from > to {
			list = ranges[way{to, from}]
		}
		at := c.Start
		for _, r := range list {
			part := c
			part.Start, part.End, part.Light = max(at, r.start), min(c.End, r.end), r.light
			if part.Start >= part.End {
				continue
			}
			if len(contacts) == MaxContacts {
				return nil, fmt.Errorf("%w: more than %d contacts once cut by light time", ErrPlan, MaxContacts)
			}
			contacts = append(contacts, part)
			at = part.End
		}
	}
	return New(contacts)
}
