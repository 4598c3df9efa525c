package main

import (
	"net"
	"testing"
	"time"

	"perigee/bundle/contact"
	"perigee/testbed/link"
)

// TestEmuPair takes the parts of the emu measure once, with bars far enough off for a
// machine that does other things too.
func TestEmuPair(t *testing.T) {
	if err := link.NewTun(nil).Probe(t.Context()); err != nil {
		t.Skipf("needs root and /dev/net/tun: %v", err)
	}
	p, err := newUDPPair(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	const rate, delay = 2 * contact.MegabitPerSecond, 20 * time.Millisecond
	if err := p.link.Set(t.Context(), link.Shape{Out: link.Lane{Rate: rate, Delay: delay}}); err != nil {
		t.Fatal(err)
	}
	if got, err := p.flood(t.Context(), rate); err != nil || got < 0.8*float64(rate) || got > 1.2*float64(rate) {
		t.Errorf("%.0f bit/s at %d, %v", got, rate, err)
	}
	differences, err := p.probe(t.Context(), delay)
	if err != nil || median(differences) > 10 {
		t.Errorf("the delay differs by %.3g ms, %v", median(differences), err)
	}
	s, err := newStream(t.Context(), p.link)
	if err != nil {
		t.Fatal(err)
	}
	s.start()
	if _, err := s.resumes(t.Context(), time.Now().Add(10*time.Second)); err != nil {
		t.Errorf("nothing came over TCP: %v", err)
	}
	s.left.Close()
	s.right.Close()
	s.work.Wait()
}

func TestStreamSeesWhatIsMissing(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	s := &stream{right: far, news: make(chan time.Time)}
	data := pattern(1000)
	go func() {
		near.Write(data[:400])
		near.Write(data[401:])
		near.Close()
	}()
	if err := s.read(); err == nil || s.received.Load() != 400 {
		t.Errorf("%d bytes, %v", s.received.Load(), err)
	}
}
