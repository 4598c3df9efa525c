package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"perigee/bundle"
)

// kind is what a hostile peer does.
type kind int

const (
	silent  kind = iota // connects and says nothing
	dribble             // sends a byte a second from the contact header on
	liar                // begins a bundle of 4 GB in a segment of 1 MB, and sends a byte a second
	boaster             // announces what nobody may announce: item lists of 4 GB, segments of 2^63 bytes
	mute                // takes bundles and acknowledges nothing
	kinds
)

func kindOf(i int) kind { return kind(i % int(kinds)) }

// hostileNode is who a hostile peer says it is.
func hostileNode(i int) bundle.EID { return bundle.IPN(uint64(10_000+i), 0) }

// swarm is many hostile peers. Whoever is thrown out comes back after a second.
type swarm struct {
	address string
	cancel  context.CancelFunc
	peers   sync.WaitGroup
	seen    sightings
}

// sightings say that the swarm did what it was made for.
type sightings struct {
	connections, sessions, bait atomic.Int64 // bait in bytes
}

func (s *sightings) plausible() error {
	c, n, b := s.connections.Load(), s.sessions.Load(), s.bait.Load()
	if c < hostilePeers || n < hostilePeers/3 || b < baitLength {
		return fmt.Errorf("the hostile connections were none: %d opened, %d became sessions, %d bytes of baits came", c, n, b)
	}
	return nil
}

func newSwarm(address string, count int) *swarm {
	ctx, cancel := context.WithCancel(context.Background())
	s := &swarm{address: address, cancel: cancel}
	for i := range count {
		s.peers.Go(func() {
			for ctx.Err() == nil {
				_ = s.attack(ctx, i) // it ends when the listener hangs up
				_ = pause(ctx, time.Second)
			}
		})
	}
	return s
}

func (s *swarm) stop() *sightings {
	s.cancel()
	s.peers.Wait()
	return &s.seen
}

// attack holds one connection, from an address that it shares with three others, until
// the listener has had enough.
func (s *swarm) attack(ctx context.Context, i int) error {
	from := &net.TCPAddr{IP: net.IPv4(127, 1, byte(i/4/250), byte(1+i/4%250))}
	dialer := net.Dialer{LocalAddr: from, Timeout: 10 * time.Second}
	nc, err := dialer.DialContext(ctx, "tcp", s.address)
	if err != nil {
		return err
	}
	s.seen.connections.Add(1)
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	defer stop()
	defer nc.Close()
	switch kindOf(i) {
	case silent:
		_, err = io.Copy(io.Discard, nc)
		return err
	case dribble:
		go func() { _, _ = io.Copy(io.Discard, nc) }() // ends with the connection
		return dribbleTo(ctx, nc, append([]byte("dtn!\x04\x00"), sessInit(i)...))
	}
	if err := s.open(nc, i); err != nil {
		return err
	}
	switch kindOf(i) {
	case liar:
		go func() { _, _ = io.Copy(io.Discard, nc) }()
		segment := []byte{1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 13, 1, 0, 1, 0, 8}
		segment = binary.BigEndian.AppendUint64(segment, 4<<30-1)
		segment = binary.BigEndian.AppendUint64(segment, 1<<20)
		if _, err := nc.Write(segment); err != nil {
			return err
		}
		return dribbleTo(ctx, nc, make([]byte, 1<<20))
	case boaster:
		boasts := [][]byte{
			{1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff},
			binary.BigEndian.AppendUint64([]byte{1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 1<<63),
		}
		if _, err := nc.Write(boasts[i/int(kinds)%2]); err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, nc)
		return err
	}
	n, err := io.Copy(io.Discard, nc) // mute
	s.seen.bait.Add(n)
	return err
}

// open opens a session.
func (s *swarm) open(nc net.Conn, i int) error {
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := nc.Write([]byte("dtn!\x04\x00")); err != nil {
		return err
	}
	if _, err := io.ReadFull(nc, make([]byte, 6)); err != nil {
		return err
	}
	if _, err := nc.Write(sessInit(i)); err != nil {
		return err
	}
	answer := make([]byte, 25+len(targetNode().String()))
	if _, err := io.ReadFull(nc, answer); err != nil {
		return err
	}
	if answer[0] != 7 {
		return errors.New("no SESS_INIT came")
	}
	s.seen.sessions.Add(1)
	return nc.SetDeadline(time.Time{})
}

// sessInit is the SESS_INIT message of a hostile peer: keepalives of 60 s, large MRUs.
func sessInit(i int) []byte {
	id := hostileNode(i).String()
	b := []byte{7, 0, 60}
	b = binary.BigEndian.AppendUint64(b, 1<<20)
	b = binary.BigEndian.AppendUint64(b, 1<<30)
	b = binary.BigEndian.AppendUint16(b, uint16(len(id)))
	b = append(b, id...)
	return append(b, 0, 0, 0, 0)
}

// dribbleTo sends a byte a second.
func dribbleTo(ctx context.Context, nc net.Conn, b []byte) error {
	for i := range b {
		if _, err := nc.Write(b[i : i+1]); err != nil {
			return err
		}
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
	}
	return nil
}
