// Package convtest is the conformance suite that every reliable link under the
// contract of package convergence passes, and the faulty transport it needs.
//
// A link's test opens a pair of sessions over transports it can cut and slow
// down, and calls [Run].
//
// In every run the transport is broken at every byte of an exchange of small bundles,
// in each direction, and in some places of one of large bundles. A link that says
// Pair.SlowToEnd, as LTP does, whose sessions have no connection that would break with
// the transport, has it broken at every 16th byte. With LINK_TESTS=full in the
// environment ("make test-links") that is every byte, too, and each link carries a
// million bundles and one of a gigabyte within a bounded heap.
package convtest
