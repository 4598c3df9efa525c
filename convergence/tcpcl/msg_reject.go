package tcpcl

const msgRejectLength = 1 + 1 + 1

// Reasons for rejecting a message, RFC 9174 table 4.
const (
	rejectTypeUnknown = 0x01
	rejectUnsupported = 0x02
	rejectUnexpected  = 0x03
)

// A msgReject answers a message that makes no sense where it came (RFC 9174
// section 5.1.2).
type msgReject struct {
	reason uint8
	header uint8 // type octet of the rejected message
}

func parseMsgReject(b []byte) (msgReject, int, error) {
	if len(b) < msgRejectLength {
		return msgReject{}, 0, errShort
	}
	return msgReject{reason: b[1], header: b[2]}, msgRejectLength, nil
}

func (m msgReject) append(b []byte) []byte {
	return append(b, typeMsgReject, m.reason, m.header)
}
