package wire

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"perigee/convergence"
	"perigee/convergence/ltp"
)

// Segment types, RFC 5326 section 3.1.2, as tshark writes them.
const (
	redData          = 0
	redCheckpoint    = 1
	redBlockEnd      = 3
	greenBlockEnd    = 7
	report           = 8
	reportAck        = 9
	cancelBySender   = 12
	cancelAck        = 13
	cancelByReceiver = 14
)

// captureLTP opens a session between two engines, whose datagrams are captured, and
// ends it when say has returned. Some data are lost on the way.
func captureLTP(t *testing.T, say func(*talk)) dissection {
	t.Helper()
	return capture(t, "ltp", func(c *Capture) {
		near, far := netip.MustParseAddrPort("192.0.2.1:1113"), netip.MustParseAddrPort("192.0.2.2:1113")
		number := 0
		lose := func(b []byte) bool { // of one engine, which sends from one goroutine
			number++
			return b[0] == redData && number%7 == 3
		}
		connA, connB := bind(t), bind(t)
		a := engine(t, CaptureUDP(connA, c, near, far, time.Now, lose), 1, connB)
		b := engine(t, CaptureUDP(connB, c, far, near, time.Now, nil), 2, connA)
		talk := &talk{t: t}
		listener := b.Listener()
		var opening errgroup.Group
		opening.Go(func() (err error) { talk.a, err = a.Dialer(2, nil).Dial(t.Context(), ""); return err })
		opening.Go(func() (err error) { talk.b, err = listener.Accept(t.Context()); return err })
		if err := opening.Wait(); err != nil {
			t.Fatal(err)
		}
		say(talk)
		var closing errgroup.Group
		closing.Go(func() error { return talk.a.Close(t.Context()) })
		closing.Go(func() error { return talk.b.Close(t.Context()) })
		if err := errors.Join(closing.Wait(), a.Close(), b.Close()); err != nil {
			t.Error(err)
		}
	})
}

func bind(t *testing.T) net.PacketConn {
	t.Helper()
	conn, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// engine starts an engine, 1 or 2, whose peer is the other one.
func engine(t *testing.T, conn net.PacketConn, id uint64, peer net.PacketConn) *ltp.Engine {
	t.Helper()
	e, err := ltp.Serve(conn, ltp.Config{EngineID: id, Peers: []ltp.Peer{{
		EngineID: 3 - id, Address: peer.LocalAddr().String(), Rate: 20_000_000, Aggregate: 8000,
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// An independent dissector reads a whole session of LTP, with all kinds of segments,
// and the bundles in it.
func TestLTPSession(t *testing.T) {
	needTshark(t)
	d := captureLTP(t, func(k *talk) {
		for i, length := range []int{100, 40_000, 0} { // one segment, several with losses, an empty payload
			if err := k.carry(k.a, k.b, testBundle(uint64(i), length), accept); err != nil {
				t.Error(err)
			}
		}
		if err := k.carry(k.b, k.a, testBundle(9, 100_000), accept); err != nil {
			t.Error(err)
		}
		err := k.carry(k.a, k.b, testBundle(10, 5000), func(in convergence.Incoming) error {
			return in.Refuse(convergence.RefuseNoResources)
		})
		var refused *convergence.RefusedError
		if !errors.As(err, &refused) || refused.Reason != convergence.RefuseNoResources {
			t.Errorf("got %v, want a refusal", err)
		}
		k.together(5)
		k.green(testBundle(20, 300))
	})
	d.clean(t)
	all := d.fields(t, "ltp", "ltp.type", "ltp.rpt.clm.cnt")
	count := func(kinds ...int) int {
		n := 0
		for _, got := range all[0] {
			kind, err := strconv.ParseInt(got, 0, 64)
			if err != nil {
				t.Fatalf("tshark sees a segment of type %q", got)
			}
			if slices.Contains(kinds, int(kind)) {
				n++
			}
		}
		return n
	}
	for kind, least := range map[int]int{
		redData: 100, redCheckpoint: 1, redBlockEnd: 6, greenBlockEnd: 1, report: 6, reportAck: 6,
		cancelBySender: 2, cancelAck: 2, cancelByReceiver: 1,
	} {
		if n := count(kind); n < least {
			t.Errorf("tshark sees %d segments of type %d, want at least %d", n, kind, least)
		}
	}
	if !slices.ContainsFunc(all[1], func(n string) bool { return n != "1" }) {
		t.Errorf("tshark sees reports with %v claims, none with several although data were lost", all[1])
	}
	// Of bundles that share a block tshark shows the first one.
	sources := d.fields(t, "bpv7", "bpv7.primary.src_uri", "bpv7.crc_status")
	if len(sources[0]) < 7 || slices.ContainsFunc(sources[0], func(uri string) bool { return uri != "ipn:1.11" }) {
		t.Errorf("tshark sees bundles of %v, want at least 7 of ipn:1.11", sources[0])
	}
	if slices.ContainsFunc(sources[1], func(status string) bool { return status != "1" && status != "Good" }) {
		t.Errorf("tshark judges the CRCs %v, want good ones", sources[1])
	}
}

// together sends small bundles at once, so that some share a block.
func (k *talk) together(n int) {
	k.t.Helper()
	var transfers []convergence.Transfer
	for i := range n {
		raw := testBundle(uint64(30+i), 200)
		transfer, err := k.a.Send(k.t.Context(), int64(len(raw)), bytes.NewReader(raw))
		if err != nil {
			k.t.Fatal(err)
		}
		transfers = append(transfers, transfer)
	}
	for range n {
		k.take(k.b)
	}
	for _, transfer := range transfers {
		if err := transfer.Wait(k.t.Context()); err != nil {
			k.t.Error(err)
		}
	}
}

// green sends a bundle that may be lost.
func (k *talk) green(raw []byte) {
	k.t.Helper()
	if err := k.a.(ltp.GreenSender).SendGreen(k.t.Context(), int64(len(raw)), bytes.NewReader(raw)); err != nil {
		k.t.Fatal(err)
	}
	k.take(k.b)
}

func (k *talk) take(s convergence.Session) {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(k.t.Context(), 10*time.Second)
	defer cancel()
	in, err := s.Receive(ctx)
	if err == nil {
		err = accept(in)
	}
	if err != nil {
		k.t.Fatal(err)
	}
}
