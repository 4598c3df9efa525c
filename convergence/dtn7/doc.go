// Package dtn7 runs code of dtn7-go (github.com/dtn7/dtn7-go, v0.9.1) as links of a
// node: its MTCP, and the announcements by which its daemons find each other.
//
// Its MTCP ([NewDialer], [Listen]) writes the same bytes as package mtcp, which a node
// should use instead wherever it can choose; this one is for whoever wants the very
// code of a dtn7 daemon on a link. What it cannot do:
//
//   - It works on bundles, not on bytes: each is held in memory whole, several times,
//     is parsed and written again. What its codec refuses (the services ipn:N.0, two
//     blocks of one type, bundles that have expired by the machine's clock) or would
//     change does not go over such a link: Send refuses it as not acceptable.
//   - A transfer counts as sent once it was written. What sat in a buffer when the
//     connection broke is lost, unless it is under custody.
//   - Its server takes up to 2 GiB for one block from whoever connects, holds any number
//     of connections, ends none of them when it closes, and drops what came behind a
//     bundle that it refuses. So it is for peers that are trusted.
//   - The client gives a peer 1 s to answer and 2 s to acknowledge, so that slow or
//     distant links break.
//
// Its discovery ([Discover]) is used for the form of its messages alone: its manager
// makes room for as many announcements as a datagram says it has, so that one datagram
// from anybody ends the process, and starts goroutines that nothing ends. Sockets,
// limits and dialing are this package's own.
//
// dtn7-go logs to one global logger, which [LogTo] redirects.
package dtn7
