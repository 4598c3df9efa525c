package nodecert

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"net/netip"
)

// oidSubjectAltName is id-ce-subjectAltName, RFC 5280 section 4.2.1.6.
func oidSubjectAltName() asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 5, 29, 17} }

// oidBundleEID is id-on-bundleEID, RFC 9174 appendix B.
func oidBundleEID() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 11}
}

// oidBundleSecurity is id-kp-bundleSecurity, RFC 9174 appendix B.
func oidBundleSecurity() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 35}
}

// Tags of the choices of GeneralName, RFC 5280 section 4.2.1.6.
const (
	tagOtherName = 0
	tagDNSName   = 2
	tagIPAddress = 7
)

// errSAN says that a subjectAltName is malformed.
var errSAN = errors.New("subjectAltName is malformed")

// bundleEID is an otherName that holds an EID. Its type is first, its value has a
// tag of its own.
type bundleEID struct {
	Type asn1.ObjectIdentifier
	EID  string `asn1:"ia5,explicit,tag:0"`
}

// anyOtherName is an otherName of any type. Its value keeps its tag.
type anyOtherName struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue
}

// encodeNames returns the value of a subjectAltName extension.
func encodeNames(nodes, dns []string, ips []netip.Addr) ([]byte, error) {
	var list []asn1.RawValue
	for _, node := range nodes {
		der, err := asn1.MarshalWithParams(bundleEID{Type: oidBundleEID(), EID: node}, "tag:0")
		if err != nil {
			return nil, fmt.Errorf("node ID %q cannot stand in a certificate: %w", node, err)
		}
		list = append(list, asn1.RawValue{FullBytes: der})
	}
	for _, name := range dns {
		list = append(list, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tagDNSName, Bytes: []byte(name)})
	}
	for _, ip := range ips {
		list = append(list, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tagIPAddress, Bytes: ip.Unmap().AsSlice()})
	}
	return asn1.Marshal(list)
}

// parseNodes reads the EIDs in the value of a subjectAltName extension. Entries of
// other kinds are passed over; package x509 knows those that matter.
func parseNodes(der []byte) ([]string, error) {
	var list []asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &list); err != nil || len(rest) > 0 {
		return nil, fmt.Errorf("%w: %w", errSAN, orTrailing(err))
	}
	var nodes []string
	for _, entry := range list {
		if entry.Class != asn1.ClassContextSpecific || entry.Tag != tagOtherName {
			continue
		}
		node, ok, err := parseOtherName(entry.FullBytes)
		if err != nil {
			return nil, err
		}
		if ok {
			nodes = append(nodes, node)
		}
	}
	return nodes, nil
}

// parseOtherName returns the EID in an otherName, and false for one of another type.
func parseOtherName(der []byte) (eid string, ok bool, err error) {
	var other anyOtherName
	if rest, err := asn1.UnmarshalWithParams(der, &other, "tag:0"); err != nil || len(rest) > 0 {
		return "", false, fmt.Errorf("%w: otherName: %w", errSAN, orTrailing(err))
	}
	if !other.Type.Equal(oidBundleEID()) {
		return "", false, nil
	}
	if rest, err := asn1.UnmarshalWithParams(other.Value.FullBytes, &eid, "ia5,explicit,tag:0"); err != nil || len(rest) > 0 {
		return "", false, fmt.Errorf("%w: BundleEID: %w", errSAN, orTrailing(err))
	}
	// Package asn1 takes strings of any type for one another.
	var text asn1.RawValue
	if _, err := asn1.Unmarshal(other.Value.Bytes, &text); err != nil || text.Tag != asn1.TagIA5String {
		return "", false, fmt.Errorf("%w: BundleEID: it is a string of tag %d, want an IA5String", errSAN, text.Tag)
	}
	return eid, true, nil
}

// orTrailing is err, or when there is none, that bytes are left.
func orTrailing(err error) error {
	if err != nil {
		return err
	}
	return errors.New("bytes behind its end")
}

// Nodes returns the EIDs that a certificate names.
func Nodes(cert *x509.Certificate) ([]string, error) {
	for _, extension := range cert.Extensions {
		if extension.Id.Equal(oidSubjectAltName()) {
			return parseNodes(extension.Value)
		}
	}
	return nil, nil
}
