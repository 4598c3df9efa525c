package nodecert

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var (
	today = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	later = today.AddDate(1, 0, 0)
)

func newCA(t testing.TB) *Identity {
	t.Helper()
	ca, err := NewCA("lab", today, today.AddDate(10, 0, 0))
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func newNode(t testing.TB, ca *Identity, n Names) *Identity {
	t.Helper()
	id, err := NewNode(ca, n, today, later)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func rootsOf(ca *Identity) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.Cert)
	return pool
}

// canonical takes ipn node IDs alone, with numbers in any form.
func canonical(id string) (string, error) {
	number, ipn := strings.CutPrefix(strings.ToLower(id), "ipn:")
	number, node := strings.CutSuffix(number, ".0")
	if !ipn || !node {
		return "", errors.New("no node ID")
	}
	return "ipn:" + strings.TrimLeft(number, "0"), nil
}

// The example of RFC 9174 appendix C.
func TestBundleEIDExample(t *testing.T) {
	const want = "a01c06082b0601050507080ba010160e64746e3a2f2f6578616d706c652f"
	value, err := encodeNames([]string{"dtn://example/"}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(value[2:]); got != want {
		t.Errorf("encoded %s, want %s", got, want)
	}
	nodes, err := parseNodes(value)
	if err != nil || len(nodes) != 1 || nodes[0] != "dtn://example/" {
		t.Errorf("read %q, %v", nodes, err)
	}
	for n := range value {
		if _, err := parseNodes(value[:n]); !errors.Is(err, errSAN) {
			t.Errorf("%d of %d bytes: got %v, want %v", n, len(value), err, errSAN)
		}
	}
	if _, err := encodeNames([]string{"dtn://münchen/"}, nil, nil); err == nil {
		t.Error("an EID that is not ASCII was encoded")
	}
}

func TestVerify(t *testing.T) {
	ca, other := newCA(t), newCA(t)
	node := newNode(t, ca, Names{Node: "ipn:2.0"})
	long := newNode(t, ca, Names{Node: "dtn://" + strings.Repeat("n", 100) + "/"})
	if long.Cert.Subject.String() != "" {
		t.Errorf("a node ID that is no common name became %q", long.Cert.Subject)
	}
	for name, tt := range map[string]struct {
		leaf *x509.Certificate
		now  time.Time
		fail string // in the error, empty for none
	}{
		"good":                  {node.Cert, today, ""},
		"empty subject":         {long.Cert, today, ""},
		"made on a later clock": {node.Cert, today.Add(-time.Minute), ""},
		"too early":             {node.Cert, today.AddDate(0, 0, -1), "expired or is not yet valid"},
		"expired":               {node.Cert, later.Add(time.Second), "expired or is not yet valid"},
		"of another authority":  {newNode(t, other, Names{Node: "ipn:2.0"}).Cert, today, "unknown authority"},
		"of the authority":      {ca.Cert, today, "no digitalSignature"},
		"for web servers":       {odd(t, ca, func(c *x509.Certificate) { c.UnknownExtKeyUsage = nil }), today, "no id-kp-bundleSecurity"},
		"for any purpose":       {odd(t, ca, func(c *x509.Certificate) { c.UnknownExtKeyUsage, c.ExtKeyUsage = nil, nil }), today, ""},
		"for encryption":        {odd(t, ca, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }), today, "no digitalSignature"},
		"names are broken": {odd(t, ca, func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: oidSubjectAltName(), Value: []byte{0x30, 4, 0xa0, 2, 6, 0}}}
		}), today, errSAN.Error()},
		"something else is critical": {odd(t, ca, func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}})
		}), today, "unhandled critical extension"},
	} {
		_, err := Verify([]*x509.Certificate{tt.leaf}, rootsOf(ca), tt.now)
		if (err == nil) != (tt.fail == "") || err != nil && !strings.Contains(err.Error(), tt.fail) {
			t.Errorf("%s: got %v, want %q", name, err, tt.fail)
		}
	}
	if _, err := Verify(nil, rootsOf(ca), today); err == nil {
		t.Error("no certificate at all is believed")
	}
	old := *node.Cert
	old.Version = 1
	if _, err := Verify([]*x509.Certificate{&old}, rootsOf(ca), today); !errors.Is(err, ErrProfile) {
		t.Errorf("version 1: got %v, want %v", err, ErrProfile)
	}
}

// odd is a node certificate that is made otherwise than ours are.
func odd(t *testing.T, ca *Identity, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	value, err := encodeNames([]string{"ipn:2.0"}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: today, NotAfter: later,
		ExtKeyUsage:        []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		UnknownExtKeyUsage: []asn1.ObjectIdentifier{oidBundleSecurity()},
		ExtraExtensions:    []pkix.Extension{{Id: oidSubjectAltName(), Value: value}},
	}
	change(template)
	der, err := x509.CreateCertificate(rand.Reader, template, ca.Cert, key.Public(), ca.Key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestPeer(t *testing.T) {
	ca := newCA(t)
	ip := netip.MustParseAddr("192.0.2.7")
	verified := func(leaf *x509.Certificate) *Peer {
		t.Helper()
		p, err := Verify([]*x509.Certificate{leaf}, rootsOf(ca), today)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	full := verified(newNode(t, ca, Names{Node: "ipn:2.0", Hosts: []string{"sat.example"}, IPs: []netip.Addr{ip}}).Cert)
	none := verified(odd(t, ca, func(c *x509.Certificate) { c.ExtraExtensions = nil }))
	endpoint := verified(newNode(t, ca, Names{Node: "ipn:2.7"}).Cert)
	if got := full.String(); got != "ipn:2.0, sat.example, 192.0.2.7" {
		t.Errorf("names are %q", got)
	}
	for _, tt := range []struct {
		peer *Peer
		id   string
		want Match
	}{
		{full, "ipn:2.0", Success},
		{full, "IPN:002.0", Success},
		{full, "ipn:3.0", Failure},
		{full, "", Failure},
		{full, "mailto:x", Failure},
		{none, "ipn:2.0", Absent},
		{endpoint, "ipn:2.0", Absent}, // an endpoint is no node ID
		{endpoint, "ipn:2.7", Absent}, // whoever calls himself by it
	} {
		if got := tt.peer.Node(tt.id, canonical); got != tt.want {
			t.Errorf("%s: node %q: got %d, want %d", tt.peer, tt.id, got, tt.want)
		}
	}
	for _, tt := range []struct {
		peer    *Peer
		dialled string
		address string
		want    Match
	}{
		{full, "sat.example", "192.0.2.1", Success},
		{full, "SAT.example", "192.0.2.1", Success},
		{full, "", "192.0.2.7", Success},
		{full, "", "::ffff:192.0.2.7", Success},
		{full, "other.example", "192.0.2.1", Failure},
		{full, "", "192.0.2.1", Failure},
		{none, "sat.example", "192.0.2.7", Absent},
	} {
		if got := tt.peer.Host(tt.dialled, netip.MustParseAddr(tt.address)); got != tt.want {
			t.Errorf("%s: host %q at %s: got %d, want %d", tt.peer, tt.dialled, tt.address, got, tt.want)
		}
	}
	if got := full.Host("", netip.Addr{}); got != Failure {
		t.Errorf("an unknown address: got %d, want %d", got, Failure)
	}
}

// Our certificates have what RFC 9174 section 4.4.2 asks for.
func TestProfile(t *testing.T) {
	ca := newCA(t)
	node := newNode(t, ca, Names{Node: "ipn:2.0", Hosts: []string{"sat.example"}})
	c := node.Cert
	switch {
	case c.Version != 3, c.IsCA, len(c.SubjectKeyId) == 0, !bytes.Equal(c.AuthorityKeyId, ca.Cert.SubjectKeyId),
		c.KeyUsage != x509.KeyUsageDigitalSignature,
		len(c.UnknownExtKeyUsage) != 1 || !c.UnknownExtKeyUsage[0].Equal(oidBundleSecurity()),
		c.NotAfter != later, c.Subject.CommonName != "ipn:2.0":
		t.Errorf("certificate is %+v", c)
	}
	if !ca.Cert.IsCA || !ca.Cert.MaxPathLenZero || len(ca.Cert.SubjectKeyId) == 0 {
		t.Errorf("authority is %+v", ca.Cert)
	}
	far, err := NewNode(ca, Names{Node: "ipn:3.0"}, today, today.AddDate(100, 0, 0))
	if err != nil || far.Cert.NotAfter != ca.Cert.NotAfter {
		t.Errorf("a certificate outlives its authority: %v", err)
	}
	if _, err := NewNode(node, Names{Node: "ipn:3.0"}, today, later); err == nil {
		t.Error("a node signed a certificate")
	}
	if _, err := NewNode(ca, Names{}, today, later); err == nil {
		t.Error("a certificate without a node ID was made")
	}
}

func write(t *testing.T, name string, text []byte, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, text, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFiles(t *testing.T) {
	ca := newCA(t)
	node, stranger := newNode(t, ca, Names{Node: "ipn:2.0"}), newNode(t, ca, Names{Node: "ipn:3.0"})
	key, err := node.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile := write(t, "node.crt", node.CertPEM(), 0o644), write(t, "node.key", key, 0o600)
	caFile := write(t, "ca.crt", ca.CertPEM(), 0o644)
	c, err := ReadCredentials(certFile, keyFile, []string{caFile})
	if err != nil {
		t.Fatal(err)
	}
	if p, err := c.Check(today); err != nil || p.Node("ipn:2.0", canonical) != Success {
		t.Errorf("own certificate: %v, %v", p, err)
	}
	if _, err := c.Check(later.AddDate(0, 0, 1)); err == nil {
		t.Error("an expired certificate passes")
	}
	if id, err := ReadIdentity(certFile, keyFile); err != nil || !id.Cert.Equal(node.Cert) {
		t.Errorf("read %v, %v", id, err)
	}
	for name, tt := range map[string]struct{ cert, key, ca, want string }{
		"key for all to read":   {certFile, write(t, "k", key, 0o644), caFile, "chmod 600"},
		"key of another":        {write(t, "c", stranger.CertPEM(), 0o644), keyFile, caFile, "does not match"},
		"no key":                {certFile, write(t, "k", node.CertPEM(), 0o600), caFile, ErrPEM.Error()},
		"no certificate":        {keyFile, keyFile, caFile, ErrPEM.Error()},
		"missing":               {certFile + "x", keyFile, caFile, "no such file"},
		"authority is a node":   {certFile, keyFile, certFile, "not one of an authority"},
		"authority is a key":    {certFile, keyFile, keyFile, ErrPEM.Error()},
		"authority is rubbish":  {certFile, keyFile, write(t, "c", []byte("rubbish"), 0o644), ErrPEM.Error()},
		"authority is too long": {certFile, keyFile, write(t, "c", bytes.Repeat(ca.CertPEM(), 3000), 0o644), "more than"},
		"too many authorities":  {certFile, keyFile, write(t, "c", bytes.Repeat(ca.CertPEM(), 300), 0o644), "more than 256"},
	} {
		if _, err := ReadCredentials(tt.cert, tt.key, []string{tt.ca}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
}

// A node ID is an IA5String (RFC 9174 appendix B), and no string of another type.
func TestNodeIDOfAnotherStringType(t *testing.T) {
	der, err := encodeNames([]string{"dtn://example/"}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.LastIndexByte(der, asn1.TagIA5String)
	for _, tag := range []byte{asn1.TagUTF8String, asn1.TagPrintableString, asn1.TagT61String, asn1.TagGeneralString, asn1.TagBMPString} {
		other := bytes.Clone(der)
		other[at] = tag
		if nodes, err := parseNodes(other); !errors.Is(err, errSAN) {
			t.Errorf("tag %d: read %q, %v", tag, nodes, err)
		}
	}
	if nodes, err := parseNodes(der); err != nil || len(nodes) != 1 {
		t.Errorf("tag %d: read %q, %v", asn1.TagIA5String, nodes, err)
	}
}

func FuzzNames(f *testing.F) {
	for _, nodes := range [][]string{nil, {"ipn:2.0"}, {"dtn://example/", "ipn:1.0"}} {
		value, err := encodeNames(nodes, []string{"a.example"}, []netip.Addr{netip.MustParseAddr("::1")})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		nodes, err := parseNodes(der)
		if err != nil {
			return
		}
		// What was read can be written and reads the same.
		again, err := encodeNames(nodes, nil, nil)
		if err != nil {
			t.Fatalf("%q: %v", nodes, err)
		}
		if second, err := parseNodes(again); err != nil || len(second) != len(nodes) {
			t.Fatalf("%q became %q, %v", nodes, second, err)
		}
	})
}
