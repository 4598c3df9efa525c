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

// ionTime is how ION writes a time, in UTC.
const ionTime = "2006/01/02-15:04:05"

// ionRange is an ION range: the one-way light time between two nodes for a while.
type ionRange struct {
	from, to   uint64
	start, end dtntime.Time
	light      dtntime.Duration
}

type ionPlan struct {
	reference  dtntime.Time // what +seconds count from
	clockError dtntime.Duration
	contacts   []Contact
	ranges     []ionRange
}

// ParseION reads the commands of ionadmin (ionrc) that make a contact plan: "a", "c"
// and "d" of "contact", "a" and "d" of "range", "@ TIME" and "m clockerr SECONDS",
// which narrows every contact. Rates are in bytes a second and ranges in light seconds.
// Times are yyyy/mm/dd-hh:mm:ss in UTC, or +seconds from reference or the last "@".
//
// Registrations (from -1) and hypothetical contacts (until 0) plan nothing and are
// passed over, like blank lines, comments and commands about other things. What is no
// command is refused. A contact is cut where its light time changes, and parts without
// one are left out, as ION cannot use them. Errors wrap ErrPlan and name the line.
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

// command is the switch over commands.
func (p *ionPlan) command(f []string) error {
	what := strings.Join(f[:min(len(f), 2)], " ")
	switch n := len(f) - 2; {
	case what == "a contact" && n >= 5 && n <= 6:
		return p.addContact(f[2:])
	case what == "c contact" && n >= 4 && n <= 5:
		return p.changeContact(f[2:])
	case what == "d contact" && n == 3:
		return p.deleteContacts(f[2:])
	case what == "a range" && n == 5:
		return p.addRange(f[2:])
	case what == "d range" && n == 3:
		return p.deleteRanges(f[2:])
	case what == "m clockerr" && n == 1:
		seconds, err := strconv.ParseUint(f[2], 10, 32)
		if err != nil {
			return fmt.Errorf("clock error %q is not in whole seconds", f[2])
		}
		p.clockError = dtntime.Duration(seconds) * dtntime.Second
		return nil
	case f[0] == "@" && n == 0:
		at, err := p.time(f[1])
		p.reference = at
		return err
	case f[0] == "m" && n >= 0 && f[1] != "clockerr", slices.Contains([]string{"?", "h", "e", "v", "1", "^", "i", "l", "s", "x", "r", "q"}, f[0]):
		return nil // about other things
	}
	return errors.New(`not a command of ionadmin about contacts, ranges or the clock, or not with its number of words`)
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
	at, err := time.Parse(ionTime, s)
	if err != nil {
		return 0, fmt.Errorf("time %q is neither yyyy/mm/dd-hh:mm:ss nor +seconds", s)
	}
	t := dtntime.FromTime(at)
	if t == 0 {
		return 0, fmt.Errorf("time %q is not after the DTN epoch, 2000-01-01", s)
	}
	return t, nil
}

// nodes reads the numbers of two nodes.
func nodes(f []string) (from, to uint64, err error) {
	for i, node := range []*uint64{&from, &to} {
		if *node, err = strconv.ParseUint(f[i], 10, 64); err != nil || *node == 0 {
			return 0, 0, fmt.Errorf("%q is not the number of a node", f[i])
		}
	}
	return from, to, nil
}

// span reads the start, end and nodes that contacts and ranges begin with.
func (p *ionPlan) span(f []string) (r ionRange, err error) {
	if r.start, err = p.time(f[0]); err != nil {
		return r, err
	}
	if r.end, err = p.time(f[1]); err != nil {
		return r, err
	}
	r.from, r.to, err = nodes(f[2:])
	return r, err
}

func (p *ionPlan) addContact(f []string) error {
	registers := f[0] == "-1" && f[2] == f[3]
	if registers || f[1] == "0" {
		_, _, err := nodes(f[2:])
		return err
	}
	r, err := p.span(f)
	if err != nil {
		return err
	}
	c := Contact{From: bundle.IPN(r.from, 0), To: bundle.IPN(r.to, 0), Start: r.start, End: r.end}
	if err := c.setION(f[4:]); err != nil {
		return err
	}
	p.contacts = append(p.contacts, c)
	return normalise(&c)
}

// setION sets the rate in bytes a second and the confidence, if there is one.
func (c *Contact) setION(f []string) error {
	bytes, err := strconv.ParseUint(f[0], 10, 60)
	if err != nil {
		return fmt.Errorf("%q is not a rate in bytes per second", f[0])
	}
	c.Rate, c.Confidence = BitRate(bytes)*8, 1
	if len(f) == 2 {
		if c.Confidence, err = strconv.ParseFloat(f[1], 64); err != nil || c.Confidence == 0 {
			return fmt.Errorf("%q is not a confidence above 0 and at most 1", f[1])
		}
	}
	return nil
}

// chosen reads a start, or * for any, and two nodes.
func (p *ionPlan) chosen(f []string) (chosen func(from, to uint64, start dtntime.Time) bool, err error) {
	var at dtntime.Time
	if f[0] != "*" {
		if at, err = p.time(f[0]); err != nil {
			return nil, err
		}
	}
	a, b, err := nodes(f[1:])
	return func(from, to uint64, start dtntime.Time) bool {
		return from == a && to == b && (f[0] == "*" || start == at)
	}, err
}

func (p *ionPlan) changeContact(f []string) error {
	chosen, err := p.chosen(f)
	if err != nil {
		return err
	}
	for i := range p.contacts {
		c := &p.contacts[i]
		if !chosen(c.From.NodeNumber(), c.To.NodeNumber(), c.Start) {
			continue
		}
		if err := c.setION(f[3:]); err != nil {
			return err
		}
		changed := *c
		return normalise(&changed)
	}
	return errors.New("no contact before this line starts then between these nodes")
}

func (p *ionPlan) deleteContacts(f []string) error {
	if (f[0] == "-1" || f[0] == "0") && len(f) == 3 {
		_, _, err := nodes(f[1:])
		return err // such contacts were passed over
	}
	chosen, err := p.chosen(f)
	if err != nil {
		return err
	}
	p.contacts = slices.DeleteFunc(p.contacts, func(c Contact) bool {
		return chosen(c.From.NodeNumber(), c.To.NodeNumber(), c.Start)
	})
	return nil
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

func (p *ionPlan) deleteRanges(f []string) error {
	chosen, err := p.chosen(f)
	if err != nil {
		return err
	}
	p.ranges = slices.DeleteFunc(p.ranges, func(r ionRange) bool { return chosen(r.from, r.to, r.start) })
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
		c.Start, c.End = c.Start.Add(p.clockError), dtntime.Time(c.End.Sub(dtntime.Time(p.clockError)))
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
