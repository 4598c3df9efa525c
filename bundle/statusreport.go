package bundle

import (
	"fmt"

	"perigee/bundle/dtntime"
	"perigee/bundle/internal/cbor"
)

// Reason says why a status report was sent (RFC 9171 section 9.5, RFC 9172
// section 11.2).
type Reason uint64

// Reasons.
const (
	ReasonNone                   Reason = 0
	ReasonLifetimeExpired        Reason = 1
	ReasonUnidirectionalLink     Reason = 2
	ReasonCanceled               Reason = 3
	ReasonDepletedStorage        Reason = 4
	ReasonDestinationUnavailable Reason = 5
	ReasonNoRoute                Reason = 6
	ReasonNoTimelyContact        Reason = 7
	ReasonBlockUnintelligible    Reason = 8
	ReasonHopLimitExceeded       Reason = 9
	ReasonTrafficPared           Reason = 10
	ReasonBlockUnsupported       Reason = 11
	ReasonSecurityMissing        Reason = 12
	ReasonSecurityUnknown        Reason = 13
	ReasonSecurityUnexpected     Reason = 14
	ReasonSecurityFailed         Reason = 15
	ReasonSecurityConflicting    Reason = 16
)

// String names the reason.
func (r Reason) String() string {
	names := [...]string{
		"no additional information", "lifetime expired", "forwarded over unidirectional link",
		"transmission canceled", "depleted storage", "destination endpoint unavailable",
		"no known route to destination", "no timely contact with next node", "block unintelligible",
		"hop limit exceeded", "traffic pared", "block unsupported", "missing security operation",
		"unknown security operation", "unexpected security operation", "failed security operation",
		"conflicting security operation",
	}
	if uint64(r) < uint64(len(names)) {
		return names[r]
	}
	return fmt.Sprintf("reason(%d)", uint64(r))
}

// StatusItem is one assertion of a status report. Time is when it came true, 0
// when that was not asked for or is not known.
type StatusItem struct {
	Asserted bool
	Time     dtntime.Time
}

// StatusReport is a bundle status report (RFC 9171 section 6.1.1).
type StatusReport struct {
	Received, Forwarded, Delivered, Deleted StatusItem

	Reason Reason
	Bundle ID // the subject
}

// statusItems is how many assertions a status report has at least.
const statusItems = 4

// Append appends the status report as an administrative record.
func (s *StatusReport) Append(dst []byte) []byte {
	dst = append(dst, 0x82, RecordStatusReport)
	items := 4
	if s.Bundle.Fragment {
		items += 2
	}
	dst = cbor.AppendArray(dst, items)
	dst = cbor.AppendArray(dst, statusItems)
	for _, item := range [statusItems]StatusItem{s.Received, s.Forwarded, s.Delivered, s.Deleted} {
		dst = item.append(dst)
	}
	dst = cbor.AppendUint(dst, uint64(s.Reason))
	dst = s.Bundle.Source.AppendCBOR(dst)
	dst = s.Bundle.Created.appendCBOR(dst)
	if s.Bundle.Fragment {
		dst = cbor.AppendUint(dst, s.Bundle.Offset)
		dst = cbor.AppendUint(dst, s.Bundle.Length)
	}
	return dst
}

func (i StatusItem) append(dst []byte) []byte {
	if !i.Asserted || i.Time == 0 {
		return cbor.AppendBool(append(dst, 0x81), i.Asserted)
	}
	return cbor.AppendUint(cbor.AppendBool(append(dst, 0x82), true), uint64(i.Time))
}

func parseStatusReport(d *cbor.Decoder) (*StatusReport, error) {
	f := openFields(d, "6.1.1")
	var s StatusReport
	if f.next() {
		f.keep(s.parseItems(d))
	}
	s.Reason = Reason(f.uint())
	s.Bundle.Source = f.eid()
	s.Bundle.Created = f.timestamp()
	if f.err == nil {
		more, err := d.More(&f.items)
		f.keep(err)
		if more && err == nil {
			s.Bundle.Fragment = true
			offset, err := d.Uint()
			f.keep(err)
			s.Bundle.Offset = offset
			s.Bundle.Length = f.uint()
		} else if err == nil {
			return &s, nil
		}
	}
	if err := f.end(); err != nil {
		return nil, err
	}
	return &s, nil
}

// parseItems reads the assertions. Those behind the fourth are not known yet and
// skipped.
func (s *StatusReport) parseItems(d *cbor.Decoder) error {
	f := openFields(d, "6.1.1")
	for _, item := range [statusItems]*StatusItem{&s.Received, &s.Forwarded, &s.Delivered, &s.Deleted} {
		if f.next() {
			f.keep(item.parse(d))
		}
	}
	for f.err == nil {
		more, err := d.More(&f.items)
		f.keep(err)
		if err != nil || !more {
			break
		}
		f.keep(d.Skip())
	}
	return f.result()
}

func (i *StatusItem) parse(d *cbor.Decoder) error {
	f := openFields(d, "6.1.1")
	if f.next() {
		asserted, err := d.Bool()
		f.keep(err)
		i.Asserted = asserted
	}
	if f.err != nil {
		return f.result()
	}
	more, err := d.More(&f.items)
	f.keep(err)
	if err != nil || !more {
		return f.result()
	}
	at := d.Offset()
	v, err := d.Uint()
	f.keep(err)
	if !i.Asserted {
		f.fail(at, "6.1.1", "a status that is not asserted has a time")
	}
	i.Time = dtntime.Time(v)
	return f.end()
}
