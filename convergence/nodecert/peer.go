package nodecert

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// ErrProfile says that a certificate is not one for TCPCL, RFC 9174 section 4.4.2.
var ErrProfile = errors.New("certificate is not made for bundle nodes")

// A Match is the outcome of comparing a peer with one kind of name in its
// certificate, RFC 9174 section 4.4.4.
type Match uint8

// Outcomes.
const (
	Absent  Match = iota // the certificate has no such name
	Success              // one of its names is the peer's
	Failure              // it has such names, and none is the peer's
)

// A Peer is what a valid certificate says about the one who showed it.
type Peer struct {
	cert  *x509.Certificate
	nodes []string
}

// Verify checks the certificate that a peer has shown, the first of chain, against
// the roots: the path to one of them at the given time, and the profile. Others of
// the chain may stand between. It asks no one about revocation.
func Verify(chain []*x509.Certificate, roots *x509.CertPool, now time.Time) (*Peer, error) {
	if len(chain) == 0 {
		return nil, errors.New("peer has shown no certificate")
	}
	// Certificates may be shared with other connections.
	leaf := *chain[0]
	if leaf.Version != 3 {
		return nil, fmt.Errorf("%w: it has version %d, not 3", ErrProfile, leaf.Version)
	}
	nodes, err := Nodes(&leaf)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProfile, err)
	}
	// Package x509 does not know our names; of a certificate without a subject
	// their extension is critical (RFC 5280 section 4.2.1.6).
	leaf.UnhandledCriticalExtensions = slices.DeleteFunc(slices.Clone(leaf.UnhandledCriticalExtensions),
		func(id asn1.ObjectIdentifier) bool { return id.Equal(oidSubjectAltName()) })
	intermediates := x509.NewCertPool()
	for _, c := range chain[1:] {
		intermediates.AddCert(c)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}, // judged below
	}); err != nil {
		return nil, err
	}
	if err := checkUse(&leaf); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProfile, err)
	}
	return &Peer{cert: &leaf, nodes: nodes}, nil
}

// checkUse holds the purposes of a certificate, where it names any, against RFC
// 9174 sections 4.4.2 and 4.4.5.
func checkUse(leaf *x509.Certificate) error {
	purposes := len(leaf.ExtKeyUsage) + len(leaf.UnknownExtKeyUsage)
	bundles := slices.ContainsFunc(leaf.UnknownExtKeyUsage, oidBundleSecurity().Equal)
	switch {
	case purposes > 0 && !bundles:
		return errors.New("its extended key usage has no id-kp-bundleSecurity")
	case leaf.KeyUsage != 0 && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return errors.New("its key usage has no digitalSignature")
	}
	return nil
}

// Node compares a node ID with the NODE-IDs. Canonical turns a node ID into the one
// form in which it is compared, and fails for a text that is none: such names in a
// certificate count for nothing. An empty ID, of a peer that tells none, is none of
// those in a certificate.
func (p *Peer) Node(id string, canonical func(string) (string, error)) Match {
	want, err := canonical(id)
	known := err == nil && id != ""
	match := Absent
	for _, name := range p.nodes {
		node, err := canonical(name)
		switch {
		case err != nil:
		case known && node == want:
			return Success
		default:
			match = Failure
		}
	}
	return match
}

// Host compares the host that was dialled, empty when none was, and the address of
// the peer with the DNS-IDs and IPADDR-IDs.
func (p *Peer) Host(dialled string, address netip.Addr) Match {
	if len(p.cert.DNSNames) == 0 && len(p.cert.IPAddresses) == 0 {
		return Absent
	}
	for _, host := range []string{dialled, address.Unmap().WithZone("").String()} {
		if host != "" && p.cert.VerifyHostname(host) == nil {
			return Success
		}
	}
	return Failure
}

// String lists what the certificate names.
func (p *Peer) String() string {
	all := slices.Concat(p.nodes, p.cert.DNSNames)
	for _, ip := range p.cert.IPAddresses {
		all = append(all, ip.String())
	}
	if len(all) == 0 {
		return "nothing"
	}
	return strings.Join(all, ", ")
}
