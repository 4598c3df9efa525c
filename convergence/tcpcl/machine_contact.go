package tcpcl

import (
	"errors"
	"fmt"
	"time"
	"unicode"
	"unicode/utf8"
)

// errContact is what a machine fails with before the session is established.
var errContact = errors.New("session could not be negotiated")

// stepContact handles the contact header (RFC 9174 section 4.3). A connection
// that does not begin with the magic is closed without a word.
func (m *Machine) stepContact(b []byte) (int, Event, error) {
	h, n, err := parseContactHeader(b)
	if errors.Is(err, errShort) {
		return 0, Event{}, err
	}
	if err != nil {
		m.out = m.out[:0]
		return 0, Event{}, fmt.Errorf("%w: %w", errContact, err)
	}
	if !m.params.Active {
		m.out = contactHeader{version: protocolVersion}.append(m.out)
	}
	if h.version != protocolVersion {
		// The active side closes silently when the answer is older than what
		// it offered.
		if !m.params.Active || h.version > protocolVersion {
			m.term(TermVersionMismatch)
		}
		return n, Event{}, fmt.Errorf("%w: peer speaks TCPCL version %d, here it is %d",
			errContact, h.version, protocolVersion)
	}
	// CAN_TLS is never offered here, so the AND of both flags is false.
	m.state = stateInit
	if m.params.Active {
		m.appendSessInit()
	}
	return n, Event{}, nil
}

func (m *Machine) appendSessInit() {
	m.out = sessInit{
		keepalive:   m.params.Keepalive,
		segmentMRU:  m.params.SegmentMRU,
		transferMRU: m.params.TransferMRU,
		nodeID:      []byte(m.params.NodeID),
	}.append(m.out)
}

// stepInit handles what may come between the contact header and SESS_INIT.
func (m *Machine) stepInit(b []byte) (int, Event, error) {
	switch b[0] {
	case typeSessInit:
		msg, n, err := parseSessInit(b)
		if errors.Is(err, errShort) {
			return 0, Event{}, err
		}
		if err == nil {
			err = m.negotiate(msg)
		}
		if err != nil {
			m.term(TermContactFailure)
			return n, Event{}, fmt.Errorf("%w: %w", errContact, err)
		}
		m.state = stateEstablished
		return n, Event{Kind: EventEstablished}, nil
	case typeSessTerm:
		msg, n, err := parseSessTerm(b)
		if err != nil {
			return 0, Event{}, err
		}
		m.onTerm(msg)
		return n, Event{}, fmt.Errorf("%w: peer ended it: %s", errContact, msg.reason)
	case typeMsgReject:
		msg, n, err := parseMsgReject(b)
		if err != nil {
			return 0, Event{}, err
		}
		m.term(TermContactFailure)
		return n, Event{}, fmt.Errorf("%w: peer rejected message type %#02x with reason %d",
			errContact, msg.header, msg.reason)
	}
	reason := uint8(rejectUnexpected)
	if b[0] < typeXferSegment || b[0] > typeSessInit {
		reason = rejectTypeUnknown
	}
	m.reject(reason, b[0])
	m.term(TermContactFailure)
	return 0, Event{}, fmt.Errorf("%w: message type %#02x came before SESS_INIT", errContact, b[0])
}

// negotiate takes the peer's parameters (RFC 9174 section 4.7).
func (m *Machine) negotiate(msg sessInit) error {
	if err := checkSessionExtensions(msg.extensions); err != nil {
		return err
	}
	if !validNodeID(msg.nodeID) {
		return fmt.Errorf("peer's node ID %q is not printable UTF-8", msg.nodeID)
	}
	if msg.segmentMRU == 0 {
		return errors.New("peer's Segment MRU is zero")
	}
	m.peerNode = string(msg.nodeID)
	m.segmentMTU = msg.segmentMRU
	m.transferMTU = msg.transferMRU
	m.keepalive = time.Duration(min(m.params.Keepalive, msg.keepalive)) * time.Second
	if !m.params.Active {
		m.appendSessInit()
	}
	return nil
}

// validNodeID looks at the form of the text only: what a node ID means is
// nothing that this layer knows.
func validNodeID(id []byte) bool {
	if !utf8.Valid(id) {
		return false
	}
	for _, r := range string(id) {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}
