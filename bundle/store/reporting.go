package store

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"perigee/bundle"
)

// MaxReporting is the longest Reporting in bytes: three numbers and two EIDs.
const MaxReporting = 64 + 2*(bundle.MaxEIDText+8)

// Reporting is the compressed reports that a bundle asks for and that are owed from
// here, as text: the sequence number, its ID, the request flags, and who issued the
// number and where reports go, as far as these are not the bundle's own source and
// report-to EID ("dtn:none" stands for it in between). The zero Reporting is none.
type Reporting string

// MakeReporting returns the Reporting of the content of a block; none if it asks for
// nothing.
func MakeReporting(r bundle.Reporting) Reporting {
	if r.Requests == 0 {
		return ""
	}
	text := fmt.Sprintf("%d %d %d", r.SeqNum, r.SeqID, uint64(r.Requests))
	if !r.Source.IsNull() || !r.ReportTo.IsNull() {
		text += " " + r.Source.String()
	}
	if !r.ReportTo.IsNull() {
		text += " " + r.ReportTo.String()
	}
	return Reporting(text)
}

// Parse returns the content of the block again.
func (s Reporting) Parse() (r bundle.Reporting, err error) {
	words := strings.Split(string(s), " ")
	if len(words) < 3 || len(words) > 5 {
		return r, fmt.Errorf("reporting %q has %d items", string(s), len(words))
	}
	var errs []error
	for i, to := range []*uint64{&r.SeqNum, &r.SeqID, (*uint64)(&r.Requests)} {
		n, err := strconv.ParseUint(words[i], 10, 64)
		*to, errs = n, append(errs, err)
	}
	for i, to := range []*bundle.EID{&r.Source, &r.ReportTo} {
		if len(words) > 3+i {
			errs = append(errs, to.UnmarshalText([]byte(words[3+i])))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return bundle.Reporting{}, fmt.Errorf("reporting %q: %w", string(s), err)
	}
	return r, nil
}
