package main

import (
	"io"
	"net"
	"testing"

	"go.uber.org/goleak"
)

// TestRelay passes bytes through a relay in both directions and counts them.
func TestRelay(t *testing.T) {
	defer goleak.VerifyNone(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r, err := startRelay(t.Context(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.traffic(); err == nil {
		t.Error("a relay without a connection counts traffic")
	}
	near, err := net.Dial("tcp", r.address())
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	const there, back = 1000, 500
	exchange := func(from, to net.Conn, n int) {
		t.Helper()
		if _, err := from.Write(make([]byte, n)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(to, make([]byte, n)); err != nil {
			t.Fatal(err)
		}
	}
	// One byte first, so that the connection is sure to be known.
	exchange(near, far, 1)
	before, err := r.traffic()
	if err != nil {
		t.Fatal(err)
	}
	exchange(near, far, there)
	exchange(far, near, back)
	after, err := r.traffic()
	if err != nil {
		t.Fatal(err)
	}
	// Each way takes a segment at least; acknowledgements may be segments too, and
	// the last may be on its way.
	got := after - before
	if least, most := int64(there+back), int64(there+back+8*headerBytes); got < least || got > most {
		t.Errorf("counted %d bytes, want %d to %d", got, least, most)
	}
	if err := r.close(); err != nil {
		t.Error(err)
	}
}
