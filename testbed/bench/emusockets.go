package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"perigee/testbed/link"
)

const (
	fullPacket = link.DefaultMTU
	ipHeaders  = 20 + 8 // of IPv4 and UDP
	// quiet is how long nothing has arrived when all has.
	quiet = 300 * time.Millisecond
)

// upTun makes a tun link. The caller takes it down.
func upTun(ctx context.Context, c link.Config) (link.NamespaceLink, error) {
	l, err := link.NewTun(nil).Up(ctx, c)
	if err != nil {
		return nil, err
	}
	return l.(link.NamespaceLink), nil
}

// down takes a link down that has been measured. What is left of it is swept up later.
func down(l link.Link) { _ = l.Down(context.Background()) }

// wait lets time pass.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// udpPair is a tun link with a socket at each end.
type udpPair struct {
	link             link.NamespaceLink
	sender, receiver *net.UDPConn
}

// newUDPPair makes a link and a socket at each of its ends.
func newUDPPair(ctx context.Context) (p *udpPair, err error) {
	p = &udpPair{}
	// The same packets are lost in every run.
	if p.link, err = upTun(ctx, link.Config{Seed: 1}); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	left, right := p.link.Left(), p.link.Right()
	err = right.Do(func() error {
		conn, err := new(net.ListenConfig).ListenPacket(ctx, "udp4", netip.AddrPortFrom(right.Addr, 0).String())
		if err == nil {
			p.receiver = conn.(*net.UDPConn)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := largeBuffer(p.receiver); err != nil {
		return nil, err
	}
	return p, left.Do(func() error {
		conn, err := new(net.Dialer).DialContext(ctx, "udp4", p.receiver.LocalAddr().String())
		if err == nil {
			p.sender = conn.(*net.UDPConn)
		}
		return err
	})
}

// largeBuffer lets a socket keep what arrives while the machine is busy, so that it is
// the link that loses packets and nothing else.
func largeBuffer(c *net.UDPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 32<<20)
	})
	if err := errors.Join(err, set); err != nil {
		return fmt.Errorf("enlarging the buffer of a socket: %w", err)
	}
	return nil
}

// exchange sends packets of the given payload, so many a second, each after fill has
// filled it, and hands over what arrives until nothing comes any more.
func (p *udpPair) exchange(ctx context.Context, packets int, perSecond float64, payload int, fill func([]byte), take func(at time.Time, data []byte)) error {
	var sent atomic.Bool
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer sent.Store(true)
		return p.send(ctx, packets, perSecond, payload, fill)
	})
	group.Go(func() error { return p.receive(&sent, take) })
	return group.Wait()
}

func (p *udpPair) send(ctx context.Context, packets int, perSecond float64, payload int, fill func([]byte)) error {
	data := make([]byte, payload)
	begun := time.Now()
	for i := range packets {
		// Late by a timer's whim, it makes up for it.
		due := begun.Add(time.Duration(float64(i) / perSecond * float64(time.Second)))
		if d := time.Until(due); d > time.Millisecond {
			if err := wait(ctx, d); err != nil {
				return err
			}
		}
		if fill != nil {
			fill(data)
		}
		if _, err := p.sender.Write(data); err != nil {
			return err
		}
	}
	return nil
}

// receive hands over packets until all have been sent and nothing comes any more.
func (p *udpPair) receive(sent *atomic.Bool, take func(at time.Time, data []byte)) error {
	buffer := make([]byte, fullPacket)
	for {
		all := sent.Load() // before the wait, which then lasts its full time
		p.receiver.SetReadDeadline(time.Now().Add(quiet))
		n, err := p.receiver.Read(buffer)
		var timeout net.Error
		switch {
		case err == nil:
			take(time.Now(), buffer[:n])
		case !errors.As(err, &timeout) || !timeout.Timeout():
			return err
		case all:
			return nil
		}
	}
}

func (p *udpPair) close() {
	for _, c := range []*net.UDPConn{p.sender, p.receiver} {
		if c != nil {
			c.Close()
		}
	}
	down(p.link)
}

// stream is a TCP connection that is written to without end at the left of a link.
type stream struct {
	left, right net.Conn
	work        sync.WaitGroup
	received    atomic.Int64
	news        chan time.Time // of a read, when there is room
	failure     chan error     // of either side, the first two
}

func newStream(ctx context.Context, l link.NamespaceLink) (*stream, error) {
	var listener net.Listener
	err := l.Right().Do(func() (err error) {
		listener, err = new(net.ListenConfig).Listen(ctx, "tcp4", netip.AddrPortFrom(l.Right().Addr, 0).String())
		return err
	})
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	s := &stream{news: make(chan time.Time), failure: make(chan error, 2)}
	err = l.Left().Do(func() (err error) {
		s.left, err = (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp4", listener.Addr().String())
		return err
	})
	if err != nil {
		return nil, err
	}
	if s.right, err = listener.Accept(); err != nil {
		return nil, errors.Join(err, s.left.Close())
	}
	return s, nil
}

// period is that of what streams carry: a prime, so that no shift goes unseen.
const period = 251

// pattern returns n bytes of what streams carry.
func pattern(n int) []byte {
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(i % period)
	}
	return data
}

// start begins to write and to read; closeStreams ends both.
func (s *stream) start() {
	s.work.Go(func() {
		data := pattern(64 * period)
		for {
			if _, err := s.left.Write(data); err != nil {
				s.failure <- err
				return
			}
		}
	})
	s.work.Go(func() { s.failure <- s.read() })
}

// read reads and checks until it fails.
func (s *stream) read() error {
	buffer := make([]byte, 256<<10)
	expected := pattern(len(buffer) + period)
	total := int64(0)
	for {
		n, err := s.right.Read(buffer)
		if !bytes.Equal(buffer[:n], expected[total%period:][:n]) {
			return fmt.Errorf("of the %d bytes after the first %d, some are others than were sent", n, total)
		}
		if err != nil {
			return err
		}
		total += int64(n)
		s.received.Store(total)
		select {
		case s.news <- time.Now():
		default:
		}
	}
}

// resumes waits until something arrives and returns when it did.
func (s *stream) resumes(ctx context.Context, deadline time.Time) (time.Time, error) {
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case at := <-s.news:
		return at, nil
	case err := <-s.failure:
		return time.Time{}, err
	case <-timer.C:
		return time.Time{}, errors.New("nothing arrives any more")
	case <-ctx.Done():
		return time.Time{}, ctx.Err()
	}
}

// closeStreams ends connections and takes their link down.
func closeStreams(streams []*stream, l link.Link) {
	for _, s := range streams {
		s.left.Close()
		s.right.Close()
		s.work.Wait()
	}
	down(l)
}
