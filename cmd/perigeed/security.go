package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"perigee/bundle"
	"perigee/convergence/nodecert"
	"perigee/convergence/tcpcl"
)

// Policies on TLS of listeners and links.
const (
	tlsOff     = "off"
	tlsPrefer  = "prefer"
	tlsRequire = "require"
)

func tlsPolicies() []string { return []string{tlsOff, tlsPrefer, tlsRequire} }

// What a neighbour must prove.
const (
	identityNode = "node" // its node ID
	identityHost = "host" // that, or the host or address at which it is reached
)

// tlsConfig is the table [tls].
type tlsConfig struct {
	Certificate string   `toml:"certificate"` // path of this node's certificate and what stands above it; none
	Key         string   `toml:"key"`         // path of its private key, for nobody but the owner to read
	CA          []string `toml:"ca"`          // paths of the authorities that are believed
	Identity    string   `toml:"identity"`    // what neighbours must prove: node or host; node
}

// given tells whether there are certificates, complete or not.
func (t *tlsConfig) given() bool { return t.Certificate != "" || t.Key != "" || len(t.CA) > 0 }

// paths are the files that are named, to be made absolute.
func (t *tlsConfig) paths() []*string {
	paths := []*string{&t.Certificate, &t.Key}
	for i := range t.CA {
		paths = append(paths, &t.CA[i])
	}
	return paths
}

// defaultTLS is the policy of a layer where none is written: TLS wherever it can be.
func (c *config) defaultTLS(layer string) string {
	if layer == layerTCPCL && c.TLS.given() {
		return tlsRequire
	}
	return tlsOff
}

func (t *tlsConfig) read() (*nodecert.Credentials, error) {
	return nodecert.ReadCredentials(t.Certificate, t.Key, t.CA)
}

// validateTLS reports certificates and policies that cannot work. An expired
// certificate is none of them: other links than those that need it still work.
func (c *config) validateTLS(p *problems) {
	t := &c.TLS
	if t.Identity != identityNode && t.Identity != identityHost {
		p.add("tls.identity is %q; write %q or %q", t.Identity, identityNode, identityHost)
	}
	for i, l := range c.Listen {
		c.checkTLSPolicy(p, "listen["+strconv.Itoa(i)+"]", l.Layer, l.TLS)
	}
	for i, l := range c.Link {
		c.checkTLSPolicy(p, "link["+strconv.Itoa(i)+"]", l.Layer, l.TLS)
	}
	switch {
	case !t.given():
		return
	case t.Certificate == "" || t.Key == "" || len(t.CA) == 0:
		p.add("tls needs certificate, key and ca; perigee keys makes them")
		return
	case c.Node.Clock == clockNone:
		p.add("node.clock is %q, but certificates are judged by the date; write tls for nodes with a clock only", clockNone)
	}
	credentials, err := t.read()
	if err != nil {
		p.add("tls: %w", err)
		return
	}
	if err := c.checkOwn(credentials); err != nil && !expired(err) {
		p.add("tls.certificate: %w", err)
	}
}

func (c *config) checkTLSPolicy(p *problems, key, layer, policy string) {
	switch {
	case !slices.Contains(tlsPolicies(), policy):
		p.add("%s.tls is %q; write one of %q", key, policy, tlsPolicies())
	case policy != tlsOff && layer != layerTCPCL:
		p.add("%s.tls is %q, which layer %q does not have; write %q", key, policy, layer, tlsOff)
	case policy != tlsOff && !c.TLS.given():
		p.add("%s.tls is %q, but there are no certificates; name them in [tls], or write %q", key, policy, tlsOff)
	}
}

// checkOwn fails when neighbours would not believe this node.
func (c *config) checkOwn(credentials *nodecert.Credentials) error {
	peer, err := credentials.Check(time.Now())
	if err != nil {
		return err
	}
	switch peer.Node(c.Node.ID.String(), canonicalNode) {
	case nodecert.Failure:
		return fmt.Errorf("it names %s, and not node.id, which is %s", peer, c.Node.ID)
	case nodecert.Absent:
		if c.TLS.Identity == identityNode {
			return fmt.Errorf("it names no node, but %s; make one that names %s with perigee keys node", peer, c.Node.ID)
		}
	}
	return nil
}

// expired tells whether an error is about the time of a certificate alone.
func expired(err error) bool {
	var invalid x509.CertificateInvalidError
	return errors.As(err, &invalid) && invalid.Reason == x509.Expired
}

// canonicalNode is the one form of a node ID in which it is compared.
func canonicalNode(text string) (string, error) {
	id, err := bundle.ParseEID(text)
	if err != nil {
		return "", err
	}
	if id.IsNull() || id.Node() != id {
		return "", fmt.Errorf("%s is not a node", id)
	}
	return id.String(), nil
}

// loadCredentials reads the credentials, if there are any, for the sessions that are
// opened from now on. Those that cannot be used leave the old ones in force.
func (c *config) loadCredentials(log *slog.Logger) error {
	if !c.TLS.given() {
		return nil
	}
	credentials, err := c.TLS.read()
	if err != nil {
		return fmt.Errorf("reading the certificates (tls): %w", err)
	}
	switch err := c.checkOwn(credentials); {
	case err == nil:
	case expired(err):
		log.Warn("neighbours will not believe this node's certificate", "error", err)
	default:
		return fmt.Errorf("tls.certificate: %w", err)
	}
	c.credentials.Store(credentials)
	return nil
}

// secure makes sessions follow a policy.
func (c *config) secure(cfg tcpcl.Config, policy string) tcpcl.Config {
	cfg.Security = tcpcl.Security{
		Credentials: c.credentials.Load, HostIdentity: c.TLS.Identity == identityHost,
		CanonicalNode: canonicalNode, Admit: c.admit,
	}
	switch policy {
	case tlsPrefer:
		cfg.TLS = tcpcl.TLSPrefer
	case tlsRequire:
		cfg.TLS = tcpcl.TLSRequire
	}
	return cfg
}

// admit holds a neighbour to the policy of its link, also where it opened the session
// at a listener with a laxer one.
func (c *config) admit(p tcpcl.Peer) error {
	id, err := bundle.ParseEID(p.NodeID)
	if err != nil {
		return nil //nolint:nilerr // the node ends sessions with those who do not name themselves
	}
	for _, l := range c.Link {
		if l.Peer == id.Node() && l.TLS == tlsRequire && !p.Secured {
			return fmt.Errorf("the link with %s requires TLS", l.Peer)
		}
	}
	return nil
}
