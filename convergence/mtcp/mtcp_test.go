package mtcp

import (
	"errors"
	"math"
	"net"
	"testing"
	"time"

	"perigee/convergence"
	"perigee/convergence/unacked"
	"perigee/convergence/unacked/unackedtest"
)

func TestConformance(t *testing.T) {
	unackedtest.Run(t, unackedtest.Layer{
		Client: func(c net.Conn) (convergence.Session, error) {
			return Client(c, Config{Peer: unackedtest.Peer, Keepalive: time.Millisecond})
		},
		Server: func(c net.Conn) (convergence.Session, error) { return Server(c, Config{}) },
	})
}

func TestHeads(t *testing.T) {
	tests := []struct {
		length uint64
		head   string
	}{
		{0, "\x40"},
		{1, "\x41"},
		{23, "\x57"},
		{24, "\x58\x18"},
		{255, "\x58\xff"},
		{256, "\x59\x01\x00"},
		{65535, "\x59\xff\xff"},
		{65536, "\x5a\x00\x01\x00\x00"},
		{math.MaxUint32, "\x5a\xff\xff\xff\xff"},
		{1 << 32, "\x5b\x00\x00\x00\x01\x00\x00\x00\x00"},
		{math.MaxUint64, "\x5b\xff\xff\xff\xff\xff\xff\xff\xff"},
	}
	for _, tt := range tests {
		if got := string(framing{}.AppendHead(nil, tt.length)); got != tt.head {
			t.Errorf("head of %d bytes is %x, want %x", tt.length, got, tt.head)
		}
		for cut := range tt.head {
			if _, _, err := (framing{}).ParseHead([]byte(tt.head[:cut])); !errors.Is(err, unacked.ErrShort) {
				t.Errorf("%x cut to %d bytes: %v, want %v", tt.head, cut, err, unacked.ErrShort)
			}
		}
		length, n, err := framing{}.ParseHead([]byte(tt.head + "rest"))
		if length != tt.length || n != len(tt.head) || err != nil {
			t.Errorf("%x reads as %d bytes in %d, %v", tt.head, length, n, err)
		}
	}
}

// Heads that are longer than they need be are read; what is no head is not.
func TestOddHeads(t *testing.T) {
	if length, n, err := (framing{}).ParseHead([]byte("\x5b\x00\x00\x00\x00\x00\x00\x00\x05")); length != 5 || n != 9 || err != nil {
		t.Errorf("a long head reads as %d bytes in %d, %v", length, n, err)
	}
	for _, head := range []string{"\x5f", "\x5c", "\x5e", "\x9f", "\x00", "\x65", "\xff", "\x16\x03\x01"} {
		if _, _, err := (framing{}).ParseHead([]byte(head)); err == nil || errors.Is(err, unacked.ErrShort) {
			t.Errorf("%q is no head, yet: %v", head, err)
		}
	}
}

// FuzzHead reads heads: what is used must be a head of that length, and the shortest
// form of it must read the same.
func FuzzHead(f *testing.F) {
	for _, n := range []uint64{0, 23, 24, 1000, 1 << 20, 1 << 40, math.MaxUint64} {
		f.Add(framing{}.AppendHead(nil, n))
	}
	f.Add([]byte("\x5f\x41a\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		length, n, err := framing{}.ParseHead(b)
		if err != nil {
			if errors.Is(err, unacked.ErrShort) && len(b) >= unacked.MaxHead {
				t.Errorf("%x is short, with %d bytes", b, len(b))
			}
			return
		}
		if n < 1 || n > len(b) || n > unacked.MaxHead {
			t.Fatalf("%d of %d bytes used", n, len(b))
		}
		short := framing{}.AppendHead(nil, length)
		again, m, err := framing{}.ParseHead(short)
		if again != length || m != len(short) || m > n || err != nil {
			t.Errorf("%x is %d bytes; its short form %x reads as %d in %d, %v", b[:n], length, short, again, m, err)
		}
	})
}
