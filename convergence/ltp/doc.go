// Package ltp is the Licklider Transmission Protocol of RFC 5326 over UDP, as a
// reliable link.
//
// [Machine] is the protocol between two engines: datagrams and times go in, events
// and datagrams come out. It holds no goroutine, socket or clock, and a bounded
// part of the blocks that are under way. Around it stands an [Engine] that serves
// many peers over one socket, paces what it sends to the rate of each, and
// implements the contract of package convergence.
//
// A bundle is the red part of a block of client service 1. The last report about a
// block leaves only after the upper layer has accepted its bundle, so that complete
// reception means that the bundle is durable at the other side. The package carries
// bundles as opaque bytes, except that it finds where one ends in a block that
// holds several.
//
// LTP has no handshake and no end of a link. Two engines of this package tell each
// other of both, in a private extension of segments that every engine answers; see
// the section on LTP in docs/interop.md.
package ltp
