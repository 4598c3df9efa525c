package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"

	"perigee/bundle"
	"perigee/bundle/bpsec"
	"perigee/bundle/core"
)

// Ways in which custody travels with a neighbour.
const (
	custodyCT    = "ct"          // CCSDS 734.6-O-1
	custodyBplib = "bplib-draft" // numbers and form of bplib's draft
	custodyION   = "ion"         // as ct, with ION's way of keeping numbers
	custodyOff   = "off"
)

func custodyProfiles() []string { return []string{custodyCT, custodyBplib, custodyION, custodyOff} }

// custodyPeers returns what is said of other nodes, of neighbours and by keys.
func (c *config) custodyPeers() (map[bundle.EID]core.CustodyPeer, error) {
	peers := make(map[bundle.EID]core.CustodyPeer)
	for _, l := range c.Link {
		p := core.CustodyPeer{Points: l.codePoints(), ION: l.Custody == custodyION, Off: l.Custody == custodyOff}
		if p != (core.CustodyPeer{Points: bundle.StandardCodePoints()}) {
			peers[l.Peer] = p
		}
	}
	for _, k := range c.Custody.Key {
		key, err := readKey(k.File)
		if err != nil {
			return nil, fmt.Errorf("reading the key for %s: %w", k.Peer, err)
		}
		p := peers[k.Peer]
		p.Key = &key
		peers[k.Peer] = p
	}
	return peers, nil
}

// codePoints are the numbers of the link's profile, but for those that are replaced.
func (l *linkConfig) codePoints() bundle.CodePoints {
	points := bundle.StandardCodePoints()
	if l.Custody == custodyBplib {
		points = bundle.BplibDraftCodePoints()
	}
	for _, r := range []struct {
		to   *uint64
		with uint64
	}{
		{(*uint64)(&points.Custody), l.CodePoints.CTEB},
		{(*uint64)(&points.Reporting), l.CodePoints.CREB},
		{&points.CustodySignal, l.CodePoints.CCS},
		{&points.ReportingSignal, l.CodePoints.CRS},
	} {
		if r.with != 0 {
			*r.to = r.with
		}
	}
	return points
}

// maxKeyFile is more than a key in hex has, with some white space.
const maxKeyFile = 1024

// readKey reads a key in hex from a file that nobody but its owner may read.
func readKey(path string) (bpsec.Key, error) {
	info, err := os.Stat(path)
	if err != nil {
		return bpsec.Key{}, err
	}
	if mode := info.Mode(); !mode.IsRegular() || mode.Perm()&0o077 != 0 || info.Size() > maxKeyFile {
		return bpsec.Key{}, fmt.Errorf("%s has mode %04o and %d bytes; make it a small file for its owner alone, as by chmod 600", path, mode.Perm(), info.Size())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return bpsec.Key{}, err
	}
	secret, err := hex.DecodeString(string(bytes.TrimSpace(text)))
	if err != nil {
		return bpsec.Key{}, fmt.Errorf("%s is not in hexadecimal digits", path) // without the digits themselves
	}
	key, err := bpsec.NewKey(secret)
	if err != nil {
		return bpsec.Key{}, fmt.Errorf("%s: %w; write 64, 96 or 128 hexadecimal digits", path, err)
	}
	return key, nil
}
