// Package unacked holds sessions of convergence layers that write one bundle after
// the other to a byte stream and acknowledge nothing, such as MTCP and STCP. A
// [Framing] says how such a layer marks where bundles begin and end.
//
// What these layers lack shows in three places of the contract of package
// convergence:
//
//   - Nobody says who he is. A session that Dial opens has the name of the peer that
//     the dialer was made for; one that a listener accepted has none. By custom
//     bundles go only from the node that opened the connection to the one that took
//     it, but the framing is the same both ways, and what comes is taken.
//   - The fate of a transfer is that of its bytes: Wait returns nil once the peer's
//     TCP has acknowledged the last of them (over a transport that cannot say so,
//     once they were written). Whether the peer keeps the bundle is not known, so
//     only custody tells that it need not be kept here.
//   - A bundle that is refused is read to its end and dropped, and the peer does not
//     learn of it.
//
// The package carries bundles as opaque bytes and allocates nothing by a length that
// the peer announced.
package unacked
