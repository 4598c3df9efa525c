package stcp

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
		{0, "\x00\x00\x00\x00"},
		{1, "\x00\x00\x00\x01"},
		{0x01020304, "\x01\x02\x03\x04"},
		{math.MaxUint32, "\xff\xff\xff\xff"},
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

func TestTooLong(t *testing.T) {
	a, b := unackedtest.TCP(t)
	defer b.Close()
	s, err := Client(a, Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(t.Context())
	if _, err := s.Send(t.Context(), 1<<32, nil); err == nil || s.Err() != nil {
		t.Errorf("Send of a bundle that no head can announce: %v, and the session: %v", err, s.Err())
	}
}
