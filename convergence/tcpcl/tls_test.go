package tcpcl

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"perigee/convergence"
	"perigee/convergence/convtest"
	"perigee/convergence/nodecert"
)

// A lab is an authority and what it signs.
type lab struct {
	ca *nodecert.Identity
}

func newLab(t testing.TB) *lab {
	t.Helper()
	ca, err := nodecert.NewCA("lab", time.Now(), time.Now().AddDate(1, 0, 0))
	if err != nil {
		t.Fatal(err)
	}
	return &lab{ca}
}

// credentials are those of a node, which believes the lab.
func (l *lab) credentials(t testing.TB, n nodecert.Names) func() *nodecert.Credentials {
	t.Helper()
	id, err := nodecert.NewNode(l.ca, n, time.Now(), time.Now().AddDate(1, 0, 0))
	if err != nil {
		t.Fatal(err)
	}
	c := &nodecert.Credentials{
		Certificate: tls.Certificate{Certificate: [][]byte{id.Cert.Raw}, PrivateKey: id.Key},
		Roots:       x509.NewCertPool(),
	}
	c.Roots.AddCert(l.ca.Cert)
	return func() *nodecert.Credentials { return c }
}

func (l *lab) require(t testing.TB, node string) Security {
	t.Helper()
	return Security{TLS: TLSRequire, Credentials: l.credentials(t, nodecert.Names{Node: node})}
}

// meet opens a session between the ends of a transport as two configs have it, and
// returns why each could not.
func meet(t testing.TB, a, b net.Conn, cfgA, cfgB Config) (sa, sb convergence.Session, errA, errB error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var group errgroup.Group
	group.Go(func() error { sa, errA = Client(ctx, a, cfgA); return nil })
	group.Go(func() error { sb, errB = Server(ctx, b, cfgB); return nil })
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	return sa, sb, errA, errB
}

func proven(s convergence.Session) bool { return s.(convergence.Prover).PeerProven() }

func TestConformanceTLS(t *testing.T) {
	l := newLab(t)
	one, two := l.require(t, "ipn:1.0"), l.require(t, "dtn://gs/")
	convtest.Run(t, func(t *testing.T) convtest.Pair {
		a, b := tcpPipe(t)
		return pair(t, a, b, Config{Security: one}, Config{Security: two})
	})
}

func TestTLSProvesNodes(t *testing.T) {
	l := newLab(t)
	a, b := tcpPipe(t)
	tap := &tappedConn{Conn: a}
	sa, sb := over(t, tap, b, Config{Security: l.require(t, "ipn:1.0")}, Config{Security: l.require(t, "dtn://gs/")})
	if !proven(sa) || !proven(sb) || sa.PeerNode() != "dtn://gs/" || sb.PeerNode() != "ipn:1.0" {
		t.Errorf("peers are %q, proven %t, and %q, proven %t", sa.PeerNode(), proven(sa), sb.PeerNode(), proven(sb))
	}
	var group errgroup.Group
	group.Go(func() error {
		in, err := sb.Receive(t.Context())
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, in)
		return errors.Join(err, in.Accept())
	})
	const secret = "nobody on the way may read this"
	tr, err := sa.Send(t.Context(), int64(len(secret)), strings.NewReader(secret))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(group.Wait(), tr.Wait(t.Context())); err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{secret, "ipn:1.0"} {
		if strings.Contains(tap.written.String(), s) {
			t.Errorf("%q went over the wire in clear", s)
		}
	}
	closeNow(t, sa, sb)
}

// A tappedConn keeps what is written to it.
type tappedConn struct {
	net.Conn
	written strings.Builder
}

func (c *tappedConn) Write(b []byte) (int, error) {
	c.written.Write(b)
	return c.Conn.Write(b)
}

func (c *tappedConn) CloseWrite() error { return c.Conn.(*net.TCPConn).CloseWrite() }

// Sessions that security forbids, and what each side is told.
func TestTLSRefusals(t *testing.T) {
	l, other := newLab(t), newLab(t)
	good, peer := l.require(t, "ipn:1.0"), l.require(t, "ipn:2.0")
	off := Security{}
	nobody := func(Peer) error { return errors.New("nobody is wanted") }
	for _, tt := range []struct {
		name         string
		a, b         Security
		wantA, wantB string
	}{
		{"active alone requires it", good, off, "does not offer TLS", "contact failure"},
		{"passive alone requires it", off, peer, "contact failure", "does not offer TLS"},
		{
			"active is another node", l.require(t, "ipn:3.0"), peer,
			"contact failure", `peer may not be "ipn:1.0": its certificate names ipn:3.0`,
		},
		{
			"passive is another node", good, l.require(t, "ipn:3.0"),
			`peer may not be "ipn:2.0": its certificate names ipn:3.0`, "contact failure",
		},
		{"active has a stranger's authority", other.require(t, "ipn:1.0"), peer, "unknown authority", "bad certificate"},
		{"passive has a stranger's authority", good, other.require(t, "ipn:2.0"), "unknown authority", "bad certificate"},
		{"passive admits nobody", good, withAdmit(peer, nobody), "contact failure", "nobody is wanted"},
		{"nobody is admitted without TLS", off, withAdmit(off, nobody), "contact failure", "nobody is wanted"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, b := tcpPipe(t)
			sa, sb, errA, errB := meet(t, a, b, Config{NodeID: "ipn:1.0", Security: tt.a}, Config{NodeID: "ipn:2.0", Security: tt.b})
			errA, errB = refusal(t, sa, errA), refusal(t, sb, errB)
			if errB == nil || !strings.Contains(errB.Error(), tt.wantB) {
				t.Errorf("passive: got %v, want %q", errB, tt.wantB)
			}
			if errA == nil || !strings.Contains(errA.Error(), tt.wantA) {
				t.Errorf("active: got %v, want %q", errA, tt.wantA)
			}
		})
	}
}

// refusal is why there is no session. One side may believe that there is one until
// it hears of the other's decision.
func refusal(t *testing.T, s convergence.Session, err error) error {
	t.Helper()
	if s == nil {
		return err
	}
	<-s.Done()
	closeNow(t, s)
	return s.Err()
}

func withAdmit(s Security, admit func(Peer) error) Security {
	s.Admit = admit
	return s
}

func TestTLSPrefer(t *testing.T) {
	l := newLab(t)
	prefer := l.require(t, "ipn:1.0")
	prefer.TLS = TLSPrefer
	for _, tt := range []struct {
		name string
		peer Security
		want bool
	}{{"with a peer that has it", l.require(t, "ipn:2.0"), true}, {"with one that has not", Security{}, false}} {
		t.Run(tt.name, func(t *testing.T) {
			a, b := tcpPipe(t)
			var seen Peer
			sa, sb, errA, errB := meet(t, a, b, Config{NodeID: "ipn:1.0", Security: withAdmit(prefer, func(p Peer) error { seen = p; return nil })},
				Config{NodeID: "ipn:2.0", Security: tt.peer})
			if err := errors.Join(errA, errB); err != nil {
				t.Fatal(err)
			}
			if want := (Peer{NodeID: "ipn:2.0", Proven: tt.want, Secured: tt.want}); seen != want || proven(sa) != tt.want || proven(sb) != tt.want {
				t.Errorf("peer is %+v, want %+v; proven here %t, there %t", seen, want, proven(sa), proven(sb))
			}
			closeNow(t, sa, sb)
		})
	}
}

// Certificates of hosts prove no node, and are taken if that is enough.
func TestTLSHostIdentity(t *testing.T) {
	l := newLab(t)
	// No authority that knows bundles: its certificates name endpoints at most.
	host := func(names nodecert.Names) Security {
		names.Node = "ipn:9.9"
		return Security{TLS: TLSRequire, Credentials: l.credentials(t, names), CanonicalNode: nodesOnly, HostIdentity: true}
	}
	here := nodecert.Names{IPs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}}
	strict := host(here)
	strict.HostIdentity = false
	for _, tt := range []struct {
		name string
		a, b Security
		want string // in the error of the passive side
	}{
		{"both by address", host(here), host(here), ""},
		{"by another address", host(nodecert.Names{IPs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}), host(here), "neither the node nor the host"},
		{"a node is asked for", host(here), strict, "names no node"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, b := tcpPipe(t)
			sa, sb, errA, errB := meet(t, a, b, Config{NodeID: "ipn:1.0", Security: tt.a}, Config{NodeID: "ipn:2.0", Security: tt.b})
			if (errB == nil) != (tt.want == "") || errB != nil && !strings.Contains(errB.Error(), tt.want) {
				t.Errorf("got %v, want %q", errB, tt.want)
			}
			if errA == nil && errB == nil {
				if proven(sa) || proven(sb) {
					t.Error("a host proved a node")
				}
				closeNow(t, sa, sb)
			}
		})
	}
}

// nodesOnly knows ipn node IDs by their service number.
func nodesOnly(id string) (string, error) {
	if !strings.HasSuffix(id, ".0") {
		return "", errors.New("no node ID")
	}
	return id, nil
}

// The name that is dialled is told to the peer and held against its certificate.
func TestTLSDialByName(t *testing.T) {
	l := newLab(t)
	named := func(host string) Security {
		return Security{
			TLS: TLSRequire, CanonicalNode: nodesOnly, HostIdentity: true,
			Credentials: l.credentials(t, nodecert.Names{Node: "ipn:9.9", Hosts: []string{host}, IPs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}),
		}
	}
	for _, tt := range []struct {
		host string
		fail bool
	}{{"localhost", false}, {"other.example", true}} {
		listener := listen(t, Config{NodeID: "ipn:2.0", Security: named(tt.host)})
		_, port, err := net.SplitHostPort(listener.Addr())
		if err != nil {
			t.Fatal(err)
		}
		// We show a node, so that only the peer is in question.
		ours := Security{TLS: TLSRequire, CanonicalNode: nodesOnly, HostIdentity: true, Credentials: l.credentials(t, nodecert.Names{Node: "ipn:1.0"})}
		s, err := NewDialer(Config{NodeID: "ipn:1.0", Security: ours}).Dial(t.Context(), net.JoinHostPort("localhost", port))
		if (err != nil) != tt.fail {
			t.Errorf("certificate of %s: got %v", tt.host, err)
		}
		if s != nil {
			closeNow(t, s)
		}
	}
}

// What ends a handshake ends the connection, and holds nobody up.
func TestTLSHandshakeFails(t *testing.T) {
	l := newLab(t)
	listener := listen(t, Config{NodeID: "ipn:2.0", ContactTimeout: 200 * time.Millisecond, Security: l.require(t, "ipn:2.0")})
	for name, say := range map[string]string{
		"plain TCPCL": "\x07\x00\x1e", "rubbish": "GET / HTTP/1.1\r\n\r\n", "nothing": "",
	} {
		t.Run(name, func(t *testing.T) {
			nc := dialRaw(t, listener)
			if _, err := nc.Write([]byte("dtn!\x04\x01" + say)); err != nil {
				t.Fatal(err)
			}
			header := make([]byte, contactHeaderLength)
			if _, err := io.ReadFull(nc, header); err != nil || string(header) != "dtn!\x04\x01" {
				t.Fatalf("heard %q, %v; want a contact header", header, err)
			}
			wantClosed(t, nc)
		})
	}
	// TLS 1.2 has no place here.
	nc := dialRaw(t, listener)
	if _, err := nc.Write([]byte("dtn!\x04\x01")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(nc, make([]byte, contactHeaderLength)); err != nil {
		t.Fatal(err)
	}
	old := tls.Client(nc, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
	if err := old.Handshake(); err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("TLS 1.2: got %v, want a complaint about the version", err)
	}
	// A client without a certificate hears of it at its first read.
	bare := dialRaw(t, listener)
	if _, err := bare.Write([]byte("dtn!\x04\x01")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(bare, make([]byte, contactHeaderLength)); err != nil {
		t.Fatal(err)
	}
	anonymous := tls.Client(bare, &tls.Config{InsecureSkipVerify: true})
	if _, err := anonymous.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "certificate required") {
		t.Errorf("no certificate: got %v, want a complaint", err)
	}
}

// Credentials are taken anew for each session.
func TestTLSCredentialsAreReplaced(t *testing.T) {
	old, next := newLab(t), newLab(t)
	current := old.credentials(t, nodecert.Names{Node: "ipn:2.0"})
	server := Security{TLS: TLSRequire, Credentials: func() *nodecert.Credentials { return current() }}
	for _, l := range []*lab{old, next} {
		current = l.credentials(t, nodecert.Names{Node: "ipn:2.0"})
		a, b := tcpPipe(t)
		sa, sb, errA, errB := meet(t, a, b, Config{NodeID: "ipn:1.0", Security: l.require(t, "ipn:1.0")}, Config{NodeID: "ipn:2.0", Security: server})
		if err := errors.Join(errA, errB); err != nil {
			t.Fatal(err)
		}
		closeNow(t, sa, sb)
	}
}
