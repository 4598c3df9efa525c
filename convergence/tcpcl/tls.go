package tcpcl

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"

	"perigee/convergence/nodecert"
)

// A TLSPolicy says whether sessions are secured.
type TLSPolicy uint8

// Policies. TLS is used when both sides offer it (RFC 9174 section 4.3).
const (
	TLSOff     TLSPolicy = iota // never offered
	TLSPrefer                   // used with peers that offer it
	TLSRequire                  // peers that do not offer it are refused
)

// A securedConn is TLS over a wire.
type securedConn struct {
	*tls.Conn
	wire *wire
}

// CloseWrite tells the peer that nothing more comes, by TLS and by TCP.
func (c *securedConn) CloseWrite() error {
	return errors.Join(c.Conn.CloseWrite(), c.wire.CloseWrite())
}

// secure shakes hands, the active side as the client, and learns from the peer's
// certificate whom it names (RFC 9174 section 4.4.3).
func (c *contact) secure(ctx context.Context) error {
	credentials := c.cfg.Credentials()
	config := &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Time:                   c.cfg.Time,
		Certificates:           []tls.Certificate{credentials.Certificate},
		SessionTicketsDisabled: true,
		// The peer's certificate is judged as one of a node, not of a web site.
		ClientAuth:         tls.RequireAnyClientCert,
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) (err error) {
			c.peer, err = nodecert.Verify(state.PeerCertificates, credentials.Roots, c.cfg.Time())
			return err
		},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &credentials.Certificate, nil
		},
	}
	var secured *tls.Conn
	if c.active {
		config.ServerName = c.host
		secured = tls.Client(c.wire, config)
	} else {
		secured = tls.Server(c.wire, config)
	}
	if err := secured.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("secure the connection: %w", err)
	}
	c.conn = &securedConn{secured, c.wire}
	c.machine.Secured()
	return nil
}

// authenticate judges the peer by the node ID that it announced (RFC 9174 section
// 4.4.4.3).
func (c *contact) authenticate(nodeID string) (proven bool, err error) {
	if c.peer != nil {
		switch c.peer.Node(nodeID, c.cfg.CanonicalNode) {
		case nodecert.Success:
			proven = true
		case nodecert.Failure:
			return false, fmt.Errorf("its certificate names %s", c.peer)
		case nodecert.Absent:
			if !c.cfg.HostIdentity {
				return false, fmt.Errorf("its certificate names no node, but %s", c.peer)
			}
			if c.peer.Host(c.host, c.address()) != nodecert.Success {
				return false, fmt.Errorf("its certificate names neither the node nor the host %s, but %s", c.wire.RemoteAddr(), c.peer)
			}
		}
	}
	if c.cfg.Admit != nil {
		err = c.cfg.Admit(Peer{NodeID: nodeID, Proven: proven, Secured: c.peer != nil})
	}
	return proven, err
}

// address is the peer's network address, zero when the transport has none.
func (c *contact) address() netip.Addr {
	ap, err := netip.ParseAddrPort(c.wire.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr()
}
