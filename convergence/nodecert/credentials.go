package nodecert

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"time"
)

// Credentials are what a node shows to peers and what it believes theirs by.
type Credentials struct {
	// Certificate is the node's own chain, without the root, and its key.
	Certificate tls.Certificate
	// Roots are the authorities whose certificates are believed.
	Roots *x509.CertPool
}

// ReadCredentials reads the chain of a node's certificates, the key of the first,
// and the files of trusted authorities. The key may be of any kind that TLS 1.3 has;
// nobody but the owner of its file may read it.
func ReadCredentials(certFile, keyFile string, caFiles []string) (*Credentials, error) {
	certificate, err := readPair(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	c := &Credentials{Certificate: certificate, Roots: x509.NewCertPool()}
	for _, file := range caFiles {
		roots, err := ReadCerts(file)
		if err != nil {
			return nil, err
		}
		for _, root := range roots {
			if !root.IsCA {
				return nil, fmt.Errorf("%s: the certificate of %q is not one of an authority", file, root.Subject)
			}
			c.Roots.AddCert(root)
		}
	}
	return c, nil
}

// Check verifies the credentials as a peer would who believes the same authorities,
// and returns what it would learn.
func (c *Credentials) Check(now time.Time) (*Peer, error) {
	chain := make([]*x509.Certificate, len(c.Certificate.Certificate))
	for i, der := range c.Certificate.Certificate {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("own certificate: %w", err)
		}
		chain[i] = cert
	}
	peer, err := Verify(chain, c.Roots, now)
	if err != nil {
		return nil, fmt.Errorf("own certificate: %w", err)
	}
	return peer, nil
}
