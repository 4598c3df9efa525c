package nodecert

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"time"
)

// maxCommonName is the longest common name, RFC 5280 appendix A.1.
const maxCommonName = 64

// backdate is how far before its making a certificate begins to be valid: clocks of
// nodes differ.
const backdate = time.Hour

// An Identity is a certificate and the key that it belongs to.
type Identity struct {
	Key  crypto.Signer
	Cert *x509.Certificate
}

// Names are what a node certificate proves: the node, and where it can be reached.
// Only Node is required.
type Names struct {
	Node  string // node ID, such as "ipn:2.0"
	Hosts []string
	IPs   []netip.Addr
}

// NewCA makes an authority that signs itself, valid from now on until the given
// time. Keys are on the curve P-256, which every implementation of TLS 1.3 has (RFC
// 8446 section 9.1).
func NewCA(name string, now, until time.Time) (*Identity, error) {
	return issue(nil, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-backdate), NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	})
}

// NewNode makes a certificate of a node and its key, signed by ca and valid from now
// on until the given time, but no longer than ca.
func NewNode(ca *Identity, n Names, now, until time.Time) (*Identity, error) {
	if n.Node == "" {
		return nil, errors.New("make node certificate: it needs a node ID")
	}
	value, err := encodeNames([]string{n.Node}, n.Hosts, n.IPs)
	if err != nil {
		return nil, fmt.Errorf("make node certificate: %w", err)
	}
	if !ca.Cert.IsCA {
		return nil, fmt.Errorf("make node certificate: %q is no authority", ca.Cert.Subject)
	}
	if until.After(ca.Cert.NotAfter) {
		until = ca.Cert.NotAfter
	}
	san := pkix.Extension{Id: oidSubjectAltName(), Value: value}
	var subject pkix.Name
	if len(n.Node) <= maxCommonName {
		subject.CommonName = n.Node
	} else {
		san.Critical = true // RFC 5280 section 4.2.1.6
	}
	return issue(ca, &x509.Certificate{
		Subject: subject, NotBefore: now.Add(-backdate), NotAfter: until,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		// The two besides ours are asked for by some implementations of TLS.
		ExtKeyUsage:        []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		UnknownExtKeyUsage: []asn1.ObjectIdentifier{oidBundleSecurity()},
		ExtraExtensions:    []pkix.Extension{san},
	})
}

// issue makes a key and signs its certificate by ca, or by itself when there is none.
func issue(ca *Identity, template *x509.Certificate) (*Identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("make serial number: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("make certificate: %w", err)
	}
	id := sha256.Sum256(public) // RFC 7093 section 2, with all of the key's info
	template.SerialNumber, template.SubjectKeyId = serial.Add(serial, big.NewInt(1)), id[:20]
	parent, signer := template, crypto.Signer(key)
	if ca != nil {
		parent, signer = ca.Cert, ca.Key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		return nil, fmt.Errorf("make certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read the certificate that was made: %w", err)
	}
	return &Identity{Key: key, Cert: cert}, nil
}
