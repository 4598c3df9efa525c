package ltp

import "perigee/convergence"

// CancelReason says why a session was cancelled. RFC 5326 section 3.2.4 reserves
// the numbers above 5.
type CancelReason uint8

// Reasons for cancelling a session.
const (
	CancelByUser        CancelReason = 0 // the client service cancelled
	CancelUnreachable   CancelReason = 1 // no such client service
	CancelRetransmitted CancelReason = 2 // the limit of retransmissions was reached
	CancelMiscolored    CancelReason = 3 // red data behind green, or green before red
	CancelBySystem      CancelReason = 4
	CancelCycles        CancelReason = 5 // the limit of retransmission cycles was reached
)

// String names the reason.
func (r CancelReason) String() string {
	switch r {
	case CancelByUser:
		return "cancelled by its user"
	case CancelUnreachable:
		return "client service is unreachable"
	case CancelRetransmitted:
		return "too many retransmissions"
	case CancelMiscolored:
		return "red and green parts overlap"
	case CancelBySystem:
		return "cancelled by the system"
	case CancelCycles:
		return "too many cycles of retransmission"
	}
	return "unknown reason"
}

// cancelReason is the nearest to a refusal that RFC 5326 has.
func cancelReason(r convergence.RefuseReason) CancelReason {
	switch r {
	case convergence.RefuseNotAcceptable, convergence.RefuseCompleted, convergence.RefuseExtensionFailure:
		return CancelByUser
	}
	return CancelBySystem
}

// refuseReason is what a cancellation by a receiver that says no more means. None
// says that the bundle may not be sent again.
func refuseReason(r CancelReason) convergence.RefuseReason {
	switch r {
	case CancelBySystem:
		return convergence.RefuseNoResources
	case CancelRetransmitted, CancelCycles:
		return convergence.RefuseRetransmit
	}
	return convergence.RefuseUnknown
}

// A cancelSegment cancels a session, from either side (RFC 5326 section 3.2.4).
type cancelSegment struct {
	header
	reason CancelReason
}

func parseCancel(b []byte) (cancelSegment, int, error) {
	r := reader{in: b}
	var s cancelSegment
	s.header.parse(&r, typeCancelBySender, typeCancelByReceiver)
	if s.kind == typeCancelAckSender {
		r.fail()
	}
	s.reason = CancelReason(r.octet())
	n, err := s.end(&r)
	if err != nil {
		return cancelSegment{}, 0, err
	}
	return s, n, nil
}

func (s *cancelSegment) append(b []byte) []byte {
	return append(s.header.append(b), byte(s.reason))
}
