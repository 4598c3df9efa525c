package main

import (
	"bytes"
	"encoding/hex"
	"io"
	"strings"
	"testing"
)

// FuzzDecodeText reads bundles as bytes or as hexadecimal. What is spelled out is what
// comes.
func FuzzDecodeText(f *testing.F) {
	f.Add([]byte("9f 88 07\n"))
	f.Add([]byte{0x9f, 0x88, 0x07})
	f.Fuzz(func(t *testing.T, text []byte) {
		if r, err := decodeText(bytes.NewReader(text)); err == nil {
			_, _ = io.Copy(io.Discard, r) // it may say what is wrong
		}
		if len(text) == 0 {
			return
		}
		r, err := decodeText(bytes.NewReader([]byte(hex.EncodeToString(text))))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, text) {
			t.Errorf("%x came as %x, %v", text, got, err)
		}
	})
}

// FuzzReadNetwork reads networks. A station that is taken has a place on the Earth.
func FuzzReadNetwork(f *testing.F) {
	f.Add("[[satellite]]\nnode = \"ipn:2.0\"\ncatalog = 25544\ndown = \"100 Mbit/s\"\n[[station]]\nnode = \"ipn:1.0\"\nlat = 78.2\nlon = 15\nmask = 5\n")
	f.Add("[[station]]\nlat = 1\nlon = 2\nmask = [[0, 5], [90.5, 7]]\n[crosslink]\nrange = 5000\n")
	f.Fuzz(func(t *testing.T, text string) {
		n, err := readNetwork(strings.NewReader(text))
		if err != nil {
			return
		}
		for _, s := range n.Station {
			station, err := s.ground()
			if err != nil {
				continue
			}
			for _, azimuth := range []float64{0, 90.25, 359.9, 360} {
				if m := station.Ground.MaskAt(azimuth); !(m >= -5 && m < 90) {
					t.Errorf("mask of %+v at %v is %v", s, azimuth, m)
				}
			}
		}
	})
}
