package tcpcl

const keepaliveLength = 1

// A keepalive says that its sender is there (RFC 9174 section 5.1.1).
type keepalive struct{}

func parseKeepalive(b []byte) (keepalive, int, error) {
	if len(b) < keepaliveLength {
		return keepalive{}, 0, errShort
	}
	return keepalive{}, keepaliveLength, nil
}

func (keepalive) append(b []byte) []byte { return append(b, typeKeepalive) }
