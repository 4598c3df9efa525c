package tcpcl

import (
	"context"
	"net"
	"testing"

	"golang.org/x/sync/errgroup"

	"perigee/convergence"
	"perigee/convergence/convtest"
)

// over opens a session between the ends of a transport, A the active one.
func over(t testing.TB, a, b net.Conn, cfgA, cfgB Config) (sa, sb convergence.Session) {
	t.Helper()
	cfgA.NodeID, cfgB.NodeID = "ipn:1.0", "dtn://gs/"
	var group errgroup.Group
	group.Go(func() (err error) {
		sa, err = Client(context.Background(), a, cfgA)
		return err
	})
	group.Go(func() (err error) {
		sb, err = Server(context.Background(), b, cfgB)
		return err
	})
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	return sa, sb
}

// tcpPipe is a TCP connection within this machine.
func tcpPipe(t testing.TB) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return a, b
}

func pair(t testing.TB, a, b net.Conn, cfgA, cfgB Config) convtest.Pair {
	t.Helper()
	faulty := convtest.WrapConn(a)
	sa, sb := over(t, faulty, b, cfgA, cfgB)
	return convtest.Pair{A: sa, B: sb, CutAfter: faulty.CutAfter, Throttle: faulty.Throttle}
}

func TestConformanceTCP(t *testing.T) {
	convtest.Run(t, func(t *testing.T) convtest.Pair {
		a, b := tcpPipe(t)
		return pair(t, a, b, Config{}, Config{})
	})
}

func TestConformancePipe(t *testing.T) {
	convtest.Run(t, func(t *testing.T) convtest.Pair {
		a, b := net.Pipe()
		return pair(t, a, b, Config{}, Config{})
	})
}

// Small MRUs and no keepalives: many segments, and a window that fills.
func TestConformanceSmallSegments(t *testing.T) {
	if testing.Short() {
		t.Skip("the same suite again")
	}
	convtest.Run(t, func(t *testing.T) convtest.Pair {
		a, b := tcpPipe(t)
		small := Config{SegmentMRU: 777, Keepalive: -1, MaxIncoming: 64, MaxUnackedTransfers: 64}
		return pair(t, a, b, small, small)
	})
}
