package ltp

// A cancelAck acknowledges a cancellation. It has no content.
type cancelAck struct {
	header
}

func parseCancelAck(b []byte) (cancelAck, int, error) {
	r := reader{in: b}
	var s cancelAck
	s.header.parse(&r, typeCancelAckSender, typeCancelAckReceiver)
	if s.kind == typeCancelByReceiver {
		r.fail()
	}
	n, err := s.end(&r)
	if err != nil {
		return cancelAck{}, 0, err
	}
	return s, n, nil
}

func (s *cancelAck) append(b []byte) []byte { return s.header.append(b) }
