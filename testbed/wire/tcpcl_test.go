package wire

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"

	"perigee/bundle"
	"perigee/bundle/dtntime"
	"perigee/convergence"
	"perigee/convergence/tcpcl"
)

// testBundle is a bundle of five blocks with a payload of so many bytes.
func testBundle(sequence uint64, length int) []byte {
	payload := bytes.Repeat([]byte("0123456789"), length/10)
	b := bundle.Bundle{
		Primary: bundle.Primary{
			CRC: bundle.CRC32C, Destination: bundle.IPN(2, 11), Source: bundle.IPN(1, 11), ReportTo: bundle.IPN(1, 0),
			Created: bundle.Timestamp{Time: dtntime.FromTime(time.Now()), Sequence: sequence}, Lifetime: dtntime.Day,
		},
		Extensions: []bundle.Block{
			bundle.PreviousNodeBlock(2, bundle.IPN(1, 0)),
			bundle.BundleAgeBlock(3, 1234),
			bundle.HopCountBlock(4, bundle.HopCount{Limit: 30, Count: 2}),
		},
		Payload: bundle.PayloadHeader{CRC: bundle.CRC32C, Length: uint64(len(payload))},
	}
	return b.Append(nil, payload)
}

// A talk is two sessions that talk to each other while everything is captured.
type talk struct {
	t    *testing.T
	a, b convergence.Session
}

// captureTalk opens sessions over a captured connection, on a clock of their own, and
// ends them when say has returned.
func captureTalk(t *testing.T, name string, cfgA, cfgB tcpcl.Config, say func(*talk)) dissection {
	t.Helper()
	return capture(t, name, func(c *Capture) {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			wire := CaptureTCP(near, c, netip.MustParseAddrPort("192.0.2.1:50000"), netip.MustParseAddrPort("192.0.2.2:4556"), time.Now)
			cfgA.NodeID, cfgB.NodeID = "ipn:1.0", "ipn:2.0"
			talk := &talk{t: t}
			var opening errgroup.Group
			opening.Go(func() (err error) { talk.a, err = tcpcl.Client(t.Context(), wire, cfgA); return err })
			opening.Go(func() (err error) { talk.b, err = tcpcl.Server(t.Context(), far, cfgB); return err })
			if err := opening.Wait(); err != nil {
				t.Fatal(err)
			}
			say(talk)
			// One after the other: tshark takes ends that cross for a reply without its flag.
			if err := errors.Join(talk.a.Close(t.Context()), talk.b.Close(t.Context())); err != nil {
				t.Error(err)
			}
		})
	})
}

// carry takes a bundle from one session to the other and has decide say what becomes
// of it.
func (k *talk) carry(from, to convergence.Session, raw []byte, decide func(convergence.Incoming) error) error {
	k.t.Helper()
	var group errgroup.Group
	group.Go(func() error {
		in, err := to.Receive(k.t.Context())
		if err != nil {
			return err
		}
		return decide(in)
	})
	transfer, err := from.Send(k.t.Context(), int64(len(raw)), bytes.NewReader(raw))
	if err != nil {
		k.t.Fatal(err)
	}
	if err := group.Wait(); err != nil {
		k.t.Fatal(err)
	}
	return transfer.Wait(k.t.Context())
}

func accept(in convergence.Incoming) error {
	_, err := io.Copy(io.Discard, in)
	return errors.Join(err, in.Accept())
}

// Message types, RFC 9174 table 2, as tshark writes them.
const (
	segment   = "0x01"
	ack       = "0x02"
	refuse    = "0x03"
	keepalive = "0x04"
	term      = "0x05"
	sessInit  = "0x07"
)

// An independent dissector reads a whole session, and the bundles in it, as what they
// were meant to be.
func TestTCPCLSession(t *testing.T) {
	needTshark(t)
	const mru = 1000
	d := captureTalk(t, "session", tcpcl.Config{Keepalive: 30 * time.Second}, tcpcl.Config{SegmentMRU: mru}, func(k *talk) {
		for i, length := range []int{100, 4000, 0} { // one segment, several, an empty payload
			if err := k.carry(k.a, k.b, testBundle(uint64(i), length), accept); err != nil {
				t.Error(err)
			}
		}
		if err := k.carry(k.b, k.a, testBundle(9, 50_000), accept); err != nil {
			t.Error(err)
		}
		time.Sleep(45 * time.Second) // a keepalive each way
	})
	d.clean(t)
	all := d.fields(t, "tcpcl", "tcpcl.v4.mhdr.type", "tcpcl.v4.xfer_segment.data_len", "tcpcl.contact_hdr.version", "tcpcl.v4.sess_init.nodeid_data")
	types, lengths, versions, nodes := all[0], all[1], all[2], all[3]
	count := func(kind string) int {
		n := 0
		for _, got := range types {
			if got == kind {
				n++
			}
		}
		return n
	}
	// 1 + 5 + 1 segments of at most 1000 bytes go there, and some larger ones come back.
	if n := count(segment); n < 8 || n != count(ack) || n != len(lengths) {
		t.Errorf("tshark sees %d segments of %v bytes and %d acknowledgements", n, lengths, count(ack))
	}
	if !slices.Contains(lengths, "1000") {
		t.Errorf("no segment is as large as the Segment MRU: %v", lengths)
	}
	for kind, want := range map[string]int{sessInit: 2, keepalive: 2, term: 2, refuse: 0} {
		if n := count(kind); n != want {
			t.Errorf("tshark sees %d messages of type %s, want %d", n, kind, want)
		}
	}
	if !slices.Equal(versions, []string{"4", "4"}) || !slices.Equal(nodes, []string{"ipn:1.0", "ipn:2.0"}) {
		t.Errorf("tshark sees versions %v and nodes %v", versions, nodes)
	}
	bundles := d.fields(t, "bpv7", "bpv7.primary.src_uri", "bpv7.crc_status", "bpv7.canonical.type_code")
	if len(bundles[0]) != 4 || slices.ContainsFunc(bundles[0], func(uri string) bool { return uri != "ipn:1.11" }) {
		t.Errorf("tshark sees bundles of %v, want 4 of ipn:1.11", bundles[0])
	}
	if len(bundles[1]) != 8 || slices.ContainsFunc(bundles[1], func(status string) bool { return status != "1" && status != "Good" }) {
		t.Errorf("tshark judges the CRCs %v, want 8 good ones", bundles[1])
	}
	if len(bundles[2]) != 16 {
		t.Errorf("tshark sees blocks %v, want 4 in each bundle besides the primary one", bundles[2])
	}
}

// So it is with a bundle that is refused on the way.
func TestTCPCLRefusal(t *testing.T) {
	needTshark(t)
	d := captureTalk(t, "refusal", tcpcl.Config{}, tcpcl.Config{SegmentMRU: 1000}, func(k *talk) {
		err := k.carry(k.a, k.b, testBundle(1, 4_000_000), func(in convergence.Incoming) error {
			return in.Refuse(convergence.RefuseNoResources)
		})
		var refused *convergence.RefusedError
		if !errors.As(err, &refused) || refused.Reason != convergence.RefuseNoResources {
			t.Errorf("got %v, want a refusal", err)
		}
		synctest.Wait() // tshark finds no bundle in a packet that it shares with the rest of another
		if err := k.carry(k.a, k.b, testBundle(2, 100), accept); err != nil {
			t.Error(err)
		}
	})
	reasons := d.fields(t, "tcpcl.v4.xfer_refuse.reason", "tcpcl.v4.xfer_refuse.reason")[0]
	if len(reasons) == 0 || strings.TrimLeft(reasons[0], "0x") != "2" {
		t.Errorf("tshark sees refusals for %v, want no resources", reasons)
	}
	// What was on its way when the refusal came is not acknowledged, and has no end.
	d.clean(t, "XFER_SEGMENT has no related XFER_ACK", "Last XFER_SEGMENT is missing END flag")
	if n := len(d.fields(t, "bpv7", "bpv7.primary.src_uri")[0]); n != 1 {
		t.Errorf("tshark sees %d bundles, want the one that was taken", n)
	}
}
