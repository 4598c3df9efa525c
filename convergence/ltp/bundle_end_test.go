package ltp

import (
	"bytes"
	"errors"
	"testing"
)

// sampleBundle is shaped like a bundle: an array of indefinite length with a
// primary block and a payload block, all parts of which the scanner must pass over.
func sampleBundle(payload int) []byte {
	b := []byte{0x9f, 0x88, 7, 0x19, 0x01, 0x00, 1}               // version, flags, CRC type
	b = append(b, 0x82, 2, 0x82, 0x1a, 0, 1, 0, 0, 0)             // ipn EID
	b = append(b, 0x82, 1, 0x64, 'd', 't', 'n', '!')              // dtn EID
	b = append(b, 0x82, 1, 0)                                     // null EID
	b = append(b, 0x82, 0x1b, 0, 0, 0, 0, 0, 0, 0, 1, 0x18, 0xff) // time
	b = append(b, 0x18, 0x3c, 0x42, 0x9f, 0xff)                   // lifetime, CRC
	b = append(b, 0x85, 1, 1, 0, 0, 0x5a, byte(payload>>24), byte(payload>>16), byte(payload>>8), byte(payload))
	b = append(b, bytes.Repeat([]byte{0xff}, payload)...)
	return append(b, 0xff)
}

func TestBundleEnd(t *testing.T) {
	for _, payload := range []int{0, 1, 300} {
		b := sampleBundle(payload)
		if !beginsBundle(b) {
			t.Fatal("sample does not begin like a bundle")
		}
		in := append(bytes.Clone(b), b...)
		for _, step := range []int{1, 2, 7, len(in)} { // as it comes in pieces
			var s bundleScanner
			at := 0
			for end := false; !end; {
				n, isEnd, err := s.scan(in[at:min(at+step, len(in))])
				if err != nil || n == 0 {
					t.Fatalf("payload %d, step %d: at %d: %d, %v", payload, step, at, n, err)
				}
				at, end = at+n, isEnd
			}
			if at != len(b) {
				t.Errorf("payload %d, step %d: ends at %d, want %d", payload, step, at, len(b))
			}
		}
		for n := range b {
			var s bundleScanner
			if used, end, err := s.scan(b[:n]); end || err != nil || used != n {
				t.Errorf("%d of %d bytes: used %d, %t, %v", n, len(b), used, end, err)
			}
		}
	}
}

func TestBundleEndItems(t *testing.T) {
	tests := []struct {
		name string
		in   []byte
		end  int // 0 when it is not well-formed
	}{
		{"map", []byte{0x9f, 0xa1, 1, 0x80, 0xa0, 0xff, 1}, 6},
		{"map of indefinite length", []byte{0x9f, 0xbf, 1, 2, 0xff, 0xff}, 6},
		{"string of indefinite length", []byte{0x9f, 0x5f, 0x41, 0xff, 0x40, 0xff, 0xff}, 7},
		{"tag", []byte{0x9f, 0xc1, 0xd8, 0x20, 0x80, 0xff}, 6},
		{"simple values", []byte{0x9f, 0xf4, 0xf8, 0xff, 0xf9, 1, 2, 0xfb, 1, 2, 3, 4, 5, 6, 7, 8, 0xff}, 17},
		{"negative", []byte{0x9f, 0x39, 1, 0, 0xff}, 5},
		{"definite", []byte{0x82, 0x81, 1, 0x61, 'a', 9}, 5},
		{"break in a definite array", []byte{0x9f, 0x82, 1, 0xff}, 0},
		{"reserved", []byte{0x9f, 0x1c}, 0},
		{"integer of indefinite length", []byte{0x9f, 0x1f}, 0},
		{"too deep", bytes.Repeat([]byte{0x81}, maxNesting+1), 0},
		{"map too large", []byte{0x9f, 0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 0},
	}
	for _, tt := range tests {
		var s bundleScanner
		n, end, err := s.scan(tt.in)
		switch {
		case tt.end == 0 && !errors.Is(err, errNotBundle):
			t.Errorf("%s: got %d, %t, %v; want %v", tt.name, n, end, err, errNotBundle)
		case tt.end > 0 && (n != tt.end || !end || err != nil):
			t.Errorf("%s: got %d, %t, %v; want an end at %d", tt.name, n, end, err, tt.end)
		}
	}
}
