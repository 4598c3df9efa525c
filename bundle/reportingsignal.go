package bundle

import "perigee/bundle/internal/cbor"

const crsSection = "CCSDS 734.6-O-1 section 5.2"

// ReportedStatus is what became of bundles that asked for compressed reports.
type ReportedStatus uint8

// Statuses of a reporting signal.
const (
	StatusReceived        ReportedStatus = 0
	StatusForwarded       ReportedStatus = 1
	StatusDelivered       ReportedStatus = 2
	StatusDeleted         ReportedStatus = 3
	StatusCustodyAccepted ReportedStatus = 4
	StatusCustodyRefused  ReportedStatus = 5

	reportedStatuses = 6
)

// String names the status.
func (s ReportedStatus) String() string {
	names := [...]string{"received", "forwarded", "delivered", "deleted", "custody accepted", "custody refused"}
	if int(s) < len(names) {
		return names[s]
	}
	return "unknown"
}

// ReportingSignal is a compressed reporting signal (CCSDS 734.6-O-1 section 5.2):
// what became of bundles at the node that sends it.
type ReportingSignal struct {
	// Sequences holds the bundles of each status, by ReportedStatus. A sequence
	// names the Source of the numbers when the signal does not go there.
	Sequences [reportedStatuses][]Sequence
	// Ignored counts entries with reserved statuses. They are read over and
	// not encoded again.
	Ignored int
}

// ReportingRecords returns administrative records that together say what s
// says, each in the form of cp and within the limits of one record. Ranges may
// come in any order, overlap and touch. Without any range, or when cp has no such
// record, there are none.
func (cp CodePoints) ReportingRecords(s *ReportingSignal) [][]byte {
	if cp.ReportingSignal == 0 {
		return nil
	}
	var entries []signalEntry
	for status, list := range s.Sequences {
		entries = append(entries, signalEntry{int64(status), list})
	}
	return cp.appendSignals(cp.ReportingSignal, entries)
}

// parseReportingSignal reads the content of the record, with or without a tag in
// front of it.
func (cp CodePoints) parseReportingSignal(d *cbor.Decoder) (*ReportingSignal, error) {
	var s ReportingSignal
	p := signalParser{
		name: "reporting signal", section: crsSection, record: cp.ReportingSignal, unwrapped: cp.Unwrapped, sources: true,
		take: func(key int64, list []Sequence) bool {
			known := key >= 0 && key < reportedStatuses
			if known {
				s.Sequences[key] = list
			}
			return known
		},
	}
	var err error
	if s.Ignored, err = p.parse(d); err != nil {
		return nil, err
	}
	return &s, nil
}
