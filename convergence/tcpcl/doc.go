// Package tcpcl is the TCP convergence layer of RFC 9174 (TCPCLv4).
//
// [Machine] is the protocol: bytes and times go in, events and bytes come out. It
// holds no goroutine, socket or clock, keeps no bundle in memory and allocates
// nothing by a length that the peer announced. Around it stands a thin connection
// that implements the contract of package convergence over any net.Conn.
//
// The package carries bundles as opaque bytes; it never parses one. It does not
// offer TLS, so a peer's node ID is only a claim.
package tcpcl
