package contact

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"perigee/bundle"
	"perigee/bundle/dtntime"
)

// MaxLine is the longest line of a plan file in bytes.
const MaxLine = 8192

// line is one contact in a plan file.
type line struct {
	From       *bundle.EID `json:"from"`
	To         *bundle.EID `json:"to"`
	Start      *instant    `json:"start"`
	End        *instant    `json:"end"`
	Rate       BitRate     `json:"rate_bps"`
	Light      uint64      `json:"owlt_ms,omitempty"`
	Confidence *float64    `json:"confidence,omitempty"`
	Layer      string      `json:"cl,omitempty"`
}

// instant is a time in a plan file: RFC 3339, or DTN time as a whole number of
// milliseconds.
type instant dtntime.Time

func (t instant) MarshalJSON() ([]byte, error) {
	back, err := parseRFC3339(dtntime.Time(t).String())
	if err != nil || back != dtntime.Time(t) {
		return strconv.AppendUint(nil, uint64(t), 10), nil
	}
	return strconv.AppendQuote(nil, dtntime.Time(t).String()), nil
}

func (t *instant) UnmarshalJSON(text []byte) error {
	if len(text) > 0 && text[0] == '"' {
		var s string
		if err := json.Unmarshal(text, &s); err != nil {
			return err
		}
		at, err := parseRFC3339(s)
		*t = instant(at)
		return err
	}
	ms, err := strconv.ParseUint(string(text), 10, 64)
	if err != nil {
		return fmt.Errorf("time %s is neither RFC 3339, such as \"2026-03-01T12:00:00Z\", nor milliseconds of DTN time", text)
	}
	*t = instant(ms)
	return nil
}

func parseRFC3339(s string) (dtntime.Time, error) {
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return 0, fmt.Errorf("time %q is not RFC 3339, such as \"2026-03-01T12:00:00Z\"", s)
	}
	t := dtntime.FromTime(at)
	if t == 0 {
		return 0, fmt.Errorf("time %q is not after the DTN epoch, 2000-01-01T00:00:00Z", s)
	}
	return t, nil
}

// Parse reads a plan: one JSON object a line, such as
//
//	{"from":"ipn:1.0","to":"ipn:2.0","start":"2026-03-01T12:00:00Z","end":"2026-03-01T12:08:00Z",
//	 "rate_bps":100000,"owlt_ms":4,"confidence":0.9,"cl":"ltp"}
//
// on a single line. Times may also be DTN times in milliseconds. "owlt_ms" (0),
// "confidence" (1) and "cl" may be left out. Blank lines and lines that begin with
// # are passed over. Errors wrap ErrPlan and name the line; those of r are
// returned as they are.
func Parse(r io.Reader) (*Plan, error) {
	scanner := bufio.NewScanner(r)
	scanner.Buffer(make([]byte, 0, 1024), MaxLine)
	var contacts []Contact
	number := 0
	// A reader that fails amid a line leaves the beginning of it, which must not
	// be taken for a line.
	for scanner.Scan() && scanner.Err() == nil {
		number++
		text := bytes.TrimSpace(scanner.Bytes())
		if len(text) == 0 || text[0] == '#' {
			continue
		}
		if len(contacts) == MaxContacts {
			return nil, fmt.Errorf("%w: line %d: more than %d contacts", ErrPlan, number, MaxContacts)
		}
		c, err := parseLine(text)
		if err != nil {
			return nil, fmt.Errorf("%w: line %d: %w", ErrPlan, number, err)
		}
		contacts = append(contacts, c)
	}
	if errors.Is(scanner.Err(), bufio.ErrTooLong) {
		return nil, fmt.Errorf("%w: line %d: longer than %d bytes", ErrPlan, number+1, MaxLine)
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("reading contact plan after line %d: %w", number, err)
	}
	return New(contacts)
}

func parseLine(text []byte) (Contact, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	var l line
	if err := decoder.Decode(&l); err != nil {
		return Contact{}, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return Contact{}, errors.New("something follows the contact; give each a line of its own")
	}
	if l.From == nil || l.To == nil || l.Start == nil || l.End == nil {
		return Contact{}, errors.New(`"from", "to", "start" and "end" are needed`)
	}
	c := Contact{
		From: *l.From, To: *l.To,
		Start: dtntime.Time(*l.Start), End: dtntime.Time(*l.End),
		Rate: l.Rate, Light: dtntime.Duration(l.Light), Confidence: 1, Layer: l.Layer,
	}
	if l.Confidence != nil {
		c.Confidence = *l.Confidence
		if c.Confidence == 0 {
			return Contact{}, errors.New("confidence 0: such a contact never comes; leave it out")
		}
	}
	return c, normalise(&c)
}

// Append appends c as a line that Parse reads, with its newline, to dst.
func Append(dst []byte, c Contact) []byte {
	start, end := instant(c.Start), instant(c.End)
	l := line{
		From: &c.From, To: &c.To, Start: &start, End: &end,
		Rate: c.Rate, Light: uint64(c.Light), Layer: c.Layer,
	}
	if c.Confidence != 1 && c.Confidence != 0 {
		l.Confidence = &c.Confidence
	}
	text, err := json.Marshal(l)
	if err != nil {
		// Only a confidence that is no number has no JSON, and New lets
		// none into a plan.
		return append(dst, "# "+describe(c)+": "+err.Error()+"\n"...)
	}
	return append(append(dst, text...), '\n')
}

// WriteTo writes the plan in the form that Parse reads. It implements
// io.WriterTo.
func (p *Plan) WriteTo(w io.Writer) (int64, error) {
	var total int64
	var text []byte
	for c := range p.All() {
		text = Append(text[:0], c)
		n, err := w.Write(text)
		total += int64(n)
		if err != nil {
			return total, fmt.Errorf("writing contact plan: %w", err)
		}
	}
	return total, nil
}
