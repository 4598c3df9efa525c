package tcpcl

const (
	sessTermLength = 1 + 1 + 1
	flagReply      = 0x01
)

// A TermReason says why a session ends, RFC 9174 table 9.
type TermReason uint8

// Reasons for ending a session.
const (
	TermUnknown            TermReason = 0
	TermIdleTimeout        TermReason = 1
	TermVersionMismatch    TermReason = 2
	TermBusy               TermReason = 3
	TermContactFailure     TermReason = 4
	TermResourceExhaustion TermReason = 5
)

// String names the reason.
func (r TermReason) String() string {
	switch r {
	case TermIdleTimeout:
		return "idle timeout"
	case TermVersionMismatch:
		return "version mismatch"
	case TermBusy:
		return "busy"
	case TermContactFailure:
		return "contact failure"
	case TermResourceExhaustion:
		return "resource exhaustion"
	}
	return "no reason given"
}

// A sessTerm ends a session, or answers one that does (RFC 9174 section 6.1).
type sessTerm struct {
	flags  uint8
	reason TermReason
}

func parseSessTerm(b []byte) (sessTerm, int, error) {
	if len(b) < sessTermLength {
		return sessTerm{}, 0, errShort
	}
	return sessTerm{flags: b[1], reason: TermReason(b[2])}, sessTermLength, nil
}

func (m sessTerm) append(b []byte) []byte {
	return append(b, typeSessTerm, m.flags, uint8(m.reason))
}
