// Package convtest is the conformance suite that every reliable link under the
// contract of package convergence passes, and the faulty transport it needs.
//
// A link's test opens a pair of sessions over transports it can cut and slow
// down, and calls [Run].
package convtest
