package ltp

import (
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"perigee/convergence"
	"perigee/convergence/convtest"
)

// A faultyTransport is a transport that can be cut and slowed down, for what is
// written and, once it is cut, for what is read.
type faultyTransport struct {
	transport
	onCut func() // called once something is to be cut

	mu    sync.Mutex // guards all below
	cut   bool
	left  int64 // bytes until the cut
	pause time.Duration
}

// cutAfter drops whatever is written once n more bytes have been, and all that comes.
func (f *faultyTransport) cutAfter(n int64) {
	f.mu.Lock()
	f.cut, f.left = true, n
	f.mu.Unlock()
	if f.onCut != nil {
		f.onCut()
	}
}

// throttle limits writes to about so many bytes per second.
func (f *faultyTransport) throttle(bytesPerSecond int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pause = time.Second / time.Duration(bytesPerSecond)
}

func (f *faultyTransport) isFaulty() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cut || f.pause > 0
}

// take asks to move n bytes.
func (f *faultyTransport) take(n int) (down bool, pause time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cut && f.left < int64(n) {
		f.left = -1
	}
	if f.cut {
		f.left -= int64(n)
	}
	return f.cut && f.left < 0, f.pause * time.Duration(n)
}

func (f *faultyTransport) write(b []byte, size int, to netip.AddrPort) error {
	for len(b) > 0 {
		n := len(b)
		if f.isFaulty() { // one by one
			n = min(n, size)
		}
		down, pause := f.take(n)
		time.Sleep(pause)
		if !down {
			if err := f.transport.write(b[:n], size, to); err != nil {
				return err
			}
		}
		b = b[n:]
	}
	return nil
}

func (f *faultyTransport) read(b []byte) (n, size int, from netip.AddrPort, err error) {
	for {
		n, size, from, err = f.transport.read(b)
		if down, _ := f.take(0); err != nil || !down {
			return n, size, from, err
		}
	}
}

func bind(t testing.TB) transport {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	return newTransport(conn)
}

// engines starts two engines that know each other.
func engines(t testing.TB, a, b transport, cfgA, cfgB Config) (ea, eb *Engine) {
	t.Helper()
	cfgA.EngineID, cfgB.EngineID = 1, 2
	if cfgA.Peers == nil {
		cfgA.Peers = []Peer{{}}
	}
	if cfgB.Peers == nil {
		cfgB.Peers = []Peer{{}}
	}
	cfgA.Peers[0].EngineID, cfgA.Peers[0].Address = 2, b.localAddr().String()
	cfgB.Peers[0].EngineID, cfgB.Peers[0].Address = 1, a.localAddr().String()
	return startEngine(t, a, cfgA), startEngine(t, b, cfgB)
}

func startEngine(t testing.TB, conn transport, cfg Config) *Engine {
	t.Helper()
	cfg, err := cfg.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	e, err := start(conn, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// connect opens a session between two engines, dialed by a.
func connect(t testing.TB, a, b *Engine) (sa, sb convergence.Session) {
	t.Helper()
	l := b.Listener()
	var group errgroup.Group
	group.Go(func() (err error) {
		sa, err = a.Dialer(b.cfg.EngineID, nil).Dial(t.Context(), "")
		return err
	})
	group.Go(func() (err error) {
		sb, err = l.Accept(t.Context())
		return err
	})
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	return sa, sb
}

// hasten makes the machines of an engine find out sooner that a peer is gone.
func hasten(e *Engine) {
	for _, p := range e.peers {
		p.mu.Lock()
		p.machine.params.Margin, p.machine.params.DeadAfter, p.machine.params.Probe = 5*time.Millisecond, 50*time.Millisecond, 10*time.Millisecond
		p.machine.startLinkTimer(p.machine.now)
		p.wakeAt = 0
		p.ready.notify()
		p.mu.Unlock()
	}
}

// faultyPair opens a session over a transport that can be cut.
func faultyPair(t *testing.T, cfgA, cfgB Config) convtest.Pair {
	t.Helper()
	faulty := &faultyTransport{transport: bind(t)}
	ea, eb := engines(t, faulty, bind(t), cfgA, cfgB)
	sa, sb := connect(t, ea, eb)
	if strings.Contains(t.Name(), "cut_of_the_transport") {
		faulty.onCut = func() { hasten(ea); hasten(eb) }
	}
	return convtest.Pair{A: sa, B: sb, CutAfter: faulty.cutAfter, Throttle: faulty.throttle, SlowToEnd: true}
}

func TestConformance(t *testing.T) {
	convtest.Run(t, func(t *testing.T) convtest.Pair { return faultyPair(t, Config{}, Config{}) })
}
