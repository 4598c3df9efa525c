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
		m.appendContactHeader()
	}
	switch canTLS := h.flags&flagCanTLS != 0; {
	case h.version != protocolVersion:
		// The active side closes silently when the answer is older than what
		// it offered.
		if !m.params.Active || h.version > protocolVersion {
			m.term(TermVersionMismatch)
		}
		return n, Event{}, fmt.Errorf("%w: peer speaks TCPCL version %d, here it is %d",
			errContact, h.version, protocolVersion)
	case m.params.Busy:
		m.term(TermBusy)
		return n, Event{}, fmt.Errorf("%w: there are too many sessions already", errContact)
	case canTLS && m.params.TLS != TLSOff:
		m.state = stateSecure
		return n, Event{Kind: EventSecure}, nil
	case m.params.TLS == TLSRequire:
		m.term(TermContactFailure)
		return n, Event{}, fmt.Errorf("%w: peer does not offer TLS, which is required here", errContact)
	}
	m.beginInit()
	return n, Event{}, nil
}

// Secured says that the transport is secured, as EventSecure asked: input and
// output go through TLS from here on.
func (m *Machine) Secured() {
	if m.state == stateSecure {
		m.beginInit()
	}
}

func (m *Machine) beginInit() {
	m.state = stateInit
	if m.params.Active {
		m.appendSessInit()
	}
}

// InContact says that nothing but contact headers has been exchanged.
func (m *Machine) InContact() bool { return m.state == stateContact }

func (m *Machine) appendContactHeader() {
	h := contactHeader{version: protocolVersion}
	if m.params.TLS != TLSOff {
		h.flags |= flagCanTLS
	}
	m.out = h.append(m.out)
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
		if _, err := m.onTerm(msg); err != nil {
			return n, Event{}, err
		}
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
	m.appendReject(reason, b[0])
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
	if least := max(m.params.MinSegmentMTU, 1); msg.segmentMRU < least {
		return fmt.Errorf("peer takes segments of %d bytes, which is less than %d", msg.segmentMRU, least)
	}
	m.peerNode = string(msg.nodeID)
	if m.params.Authenticate != nil {
		proven, err := m.params.Authenticate(m.peerNode)
		if err != nil {
			return fmt.Errorf("peer may not be %q: %w", m.peerNode, err)
		}
		m.proven = proven
	}
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
