// Package wire writes what went over a link as a capture file, so that dissectors
// which were not written here can judge it. "make test-wire" has tshark do so.
//
// Packets are made from the bytes that the ends exchanged, with the headers that they
// would have had on a network. So a capture needs no privileges, and one of simulated
// time has its times.
package wire
