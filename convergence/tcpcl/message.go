package tcpcl

import "errors"

// Limits on what a peer may announce. Together they bound the largest message
// without its data, and so the buffer that a reader needs.
const (
	maxNodeIDLength     = 1024 // bytes of a node ID in SESS_INIT
	maxExtensionsLength = 8192 // bytes of one extension item list
	maxMessageHeader    = sessInitFixed + maxNodeIDLength + 4 + maxExtensionsLength
)

// Message types, RFC 9174 table 2.
const (
	typeXferSegment = 0x01
	typeXferAck     = 0x02
	typeXferRefuse  = 0x03
	typeKeepalive   = 0x04
	typeSessTerm    = 0x05
	typeMsgReject   = 0x06
	typeSessInit    = 0x07
)

// errShort says that the bytes end before the message does: more are needed.
var errShort = errors.New("message is incomplete")

// errTooLong says that a peer announced a field beyond the limits above.
var errTooLong = errors.New("announced length is beyond the limit")
